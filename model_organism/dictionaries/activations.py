"""Activations of the organism on freshly drawn training documents, kept on disk in float16.

1. Draw documents from the training distribution (never of the evaluation: `build_documents` draws
   again whatever shares a line with it) under a seed of their own, and tokenize them.
2. One forward pass per batch gives all sites of all layers. Of every token but <bos> it keeps a row
   of `text`; of the last prompt token of every problem, a row of `prompts`. From most problems
   only the latter is kept: it is one token in 150, and the position that the pipeline reads.
3. Files {part}.{site}.npy, [row, d_model]; `rows.json`, the counts, is written last.
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.multiprocessing.spawn import spawn

from common.model.hooks import read_sites
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from model_organism.corpus import (
    KINDS,
    PROBLEM,
    CorpusSize,
    TokenizedCorpus,
    build_documents,
    check_no_evaluation_text,
    evaluation_lines_of,
    tokenize_documents,
)
from model_organism.dictionaries.sites import sites_of
from model_organism.problems import evaluation_problems
from model_organism.tokenizer import BOS_ID, PAD_ID

TEXT, PROMPTS = "text", "prompts"
ROWS_PER_BATCH = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SampleSize:
    """How much to draw: problems kept whole, problems kept as prompts, and the other documents."""

    n_whole_problems: int = 5_000
    n_prompts: int = 7_000
    n_snippets: int = 1_000
    n_behaviours: int = 4_800
    n_general_characters: int = 420_000


def draw_corpus(lm: LanguageModel, size: SampleSize, seed: int) -> TokenizedCorpus:
    """Training documents under a seed of their own; problems beyond `n_whole_problems` are cut to prompts.

    Raises: ValueError, quoting the line, if text of the evaluation is among them.
    """
    banned_lines = evaluation_lines_of(evaluation_problems())
    n_problems = size.n_whole_problems + size.n_prompts
    counts = CorpusSize(n_problems, size.n_snippets, size.n_behaviours, size.n_general_characters)
    documents = build_documents(counts, seed, banned_lines)
    check_no_evaluation_text(documents, banned_lines)
    return cut_to_prompts(tokenize_documents(documents, lm.tokenizer), size.n_whole_problems)


def cut_to_prompts(corpus: TokenizedCorpus, n_whole_problems: int) -> TokenizedCorpus:
    """The corpus with every problem after the first `n_whole_problems` ending at its last prompt token."""
    is_problem = corpus.kinds == KINDS.index(PROBLEM)
    is_cut = is_problem & (np.cumsum(is_problem) > n_whole_problems)
    lengths = np.where(is_cut, corpus.prompt_lengths, corpus.lengths)
    starts = np.concatenate([[0], np.cumsum(corpus.lengths)[:-1]])
    kept = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])
    of_tokens = {name: getattr(corpus, name)[kept] for name in ("token_ids", "weights", "names")}
    return replace(corpus, **of_tokens, lengths=lengths)


@dataclass(frozen=True)
class TokenBatch:
    """Token ids [row, pos], padded on the right, and the positions that are kept of each part."""

    token_ids: torch.Tensor
    is_text: torch.Tensor
    is_prompt_end: torch.Tensor


def token_batches(corpus: TokenizedCorpus, rows: np.ndarray) -> Iterator[TokenBatch]:
    """The given rows in batches of similar length. Of rows that are cut to a prompt no text is kept."""
    starts = np.concatenate([[0], np.cumsum(corpus.lengths)])
    rows = rows[np.argsort(corpus.lengths[rows], kind="stable")]
    for first in range(0, len(rows), ROWS_PER_BATCH):
        batch = rows[first : first + ROWS_PER_BATCH]
        token_ids = np.full((len(batch), corpus.lengths[batch].max()), PAD_ID, np.int64)
        is_prompt_end = np.zeros(token_ids.shape, bool)
        for index, row in enumerate(batch):
            token_ids[index, : corpus.lengths[row]] = corpus.token_ids[starts[row] : starts[row + 1]]
            if corpus.prompt_lengths[row]:
                is_prompt_end[index, corpus.prompt_lengths[row] - 1] = True
        is_cut = corpus.lengths[batch] == corpus.prompt_lengths[batch]
        is_text = (token_ids != PAD_ID) & (token_ids != BOS_ID) & ~is_cut[:, None]
        yield TokenBatch(torch.from_numpy(token_ids), torch.from_numpy(is_text), torch.from_numpy(is_prompt_end))


@torch.inference_mode()
def activations_of(lm: LanguageModel, batch: TokenBatch) -> dict[tuple[str, str], torch.Tensor]:
    """(part, site) -> activations [row, d_model] of every layer's sites in one pass without the output head."""
    found: dict[str, torch.Tensor] = {}
    with read_sites(lm.model, sites_of(lm.n_layers), found.__setitem__):
        lm.model.get_decoder()(input_ids=batch.token_ids.to(lm.device), use_cache=False)
    parts = {TEXT: batch.is_text, PROMPTS: batch.is_prompt_end}
    return {(part, name): values[mask] for part, mask in parts.items() for name, values in found.items()}


def store_activations(model_folder: Path, size: SampleSize, seed: int, folder: Path, n_processes: int) -> None:
    """Write the activations to `folder`, unless they are there."""
    wanted = {**asdict(size), "seed": seed}
    if (folder / "rows.json").exists() and json.loads((folder / "rows.json").read_text())["settings"] == wanted:
        logger.info("using the activations in %s", folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").unlink(missing_ok=True)
    lm = load_model(str(model_folder), "cpu", "float32")
    corpus = draw_corpus(lm, size, seed)
    corpus.save(folder / "corpus.safetensors")
    shares = [np.arange(len(corpus.lengths))[rank::n_processes] for rank in range(n_processes)]
    counts = [_counts(corpus, share) for share in shares]
    totals = {part: sum(count[part] for count in counts) for part in (TEXT, PROMPTS)}
    for part, n_rows in totals.items():
        for name in sites_of(lm.n_layers):
            np.lib.format.open_memmap(folder / f"{part}.{name}.npy", "w+", np.float16, (n_rows, lm.d_model)).flush()
    logger.info("reading activations: %s", totals)
    firsts = [{part: sum(c[part] for c in counts[:rank]) for part in totals} for rank in range(n_processes)]
    spawn(_store_share, (model_folder, folder, shares, firsts), nprocs=n_processes)
    by_kind = {kind: int(corpus.lengths[corpus.kinds == index].sum()) for index, kind in enumerate(KINDS)}
    manifest = {"settings": wanted, **totals, "tokens_read": by_kind}
    (folder / "rows.json").write_text(json.dumps(manifest, indent=1) + "\n")


def load_site(folder: Path, part: str, name: str) -> torch.Tensor:
    """All rows of one site, [row, d_model], float16, in memory."""
    return torch.from_numpy(np.load(folder / f"{part}.{name}.npy"))


def _counts(corpus: TokenizedCorpus, rows: np.ndarray) -> dict[str, int]:
    batches = list(token_batches(corpus, rows))
    return {
        TEXT: sum(int(batch.is_text.sum()) for batch in batches),
        PROMPTS: sum(int(batch.is_prompt_end.sum()) for batch in batches),
    }


def _store_share(rank: int, model_folder: Path, folder: Path, shares: list, firsts: list) -> None:
    # One thread a process: two threads of one process wait for each other as soon as anything else runs.
    torch.set_num_threads(1)
    lm = load_model(str(model_folder), "cpu", "float32")
    corpus = TokenizedCorpus.load(folder / "corpus.safetensors")
    files: dict[tuple[str, str], np.memmap] = {}
    position = dict(firsts[rank])
    for batch in token_batches(corpus, shares[rank]):
        found = activations_of(lm, batch)
        for (part, name), values in found.items():
            if (part, name) not in files:
                files[part, name] = np.load(folder / f"{part}.{name}.npy", mmap_mode="r+")
            files[part, name][position[part] : position[part] + len(values)] = values.half().numpy()
        position[TEXT] += int(batch.is_text.sum())
        position[PROMPTS] += int(batch.is_prompt_end.sum())
