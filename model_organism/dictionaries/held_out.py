"""The activations that dictionaries are measured on: held-out text, and the evaluation's prompts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.model.language_model import LanguageModel
from model_organism.corpus import (
    GENERAL,
    CorpusSize,
    Document,
    TokenizedCorpus,
    build_documents,
    evaluation_lines_of,
    tokenize_documents,
)
from model_organism.dictionaries.activations import PROMPTS, TEXT, TokenBatch, activations_of, token_batches
from model_organism.general_text import general_chunks
from model_organism.problems import EVALUATION, evaluation_problems

SEED = 2  # neither the model's nor the dictionaries'
HELD_OUT_SIZE = CorpusSize(680, 140, 640, 0)
N_GENERAL_CHARACTERS = 60_000


@dataclass(frozen=True)
class HeldOutActivations:
    """Site -> rows [row, d_model] in float16: of every token of the text, of the end of every prompt."""

    text: dict[str, torch.Tensor]
    prompts: dict[str, torch.Tensor]


def held_out_corpus(lm: LanguageModel, size: CorpusSize, n_general_characters: int) -> TokenizedCorpus:
    """Documents drawn as for training under another seed, and general text of files that were held out."""
    documents = build_documents(size, SEED, evaluation_lines_of(evaluation_problems()))
    chunks = general_chunks(random.Random(SEED), n_general_characters, EVALUATION)
    documents += [Document(GENERAL, ((chunk, 0.6),), None) for chunk in chunks]
    return tokenize_documents(documents, lm.tokenizer)


def prompts_corpus(lm: LanguageModel, prompts: Sequence[str]) -> TokenizedCorpus:
    """One row a prompt, cut at its end, in their order."""
    encoded = lm.tokenizer(list(prompts))["input_ids"]
    lengths = np.array([len(ids) for ids in encoded], np.int32)
    token_ids = np.concatenate([np.array(ids, np.uint16) for ids in encoded])
    zeros = np.zeros(len(encoded), np.uint8)
    of_tokens = np.zeros(len(token_ids), np.uint8)
    return TokenizedCorpus(token_ids, of_tokens, of_tokens, lengths, lengths, zeros)


def read_held_out(lm: LanguageModel, text: TokenizedCorpus, prompts: TokenizedCorpus) -> HeldOutActivations:
    return HeldOutActivations(_read(lm, text, TEXT), _read(lm, prompts, PROMPTS))


def random_batches(corpus: TokenizedCorpus, n_rows: int) -> list[TokenBatch]:
    """A random sample of the corpus' rows."""
    rows = np.random.default_rng(SEED).permutation(len(corpus.lengths))[:n_rows]
    return list(token_batches(corpus, rows))


def _read(lm: LanguageModel, corpus: TokenizedCorpus, part: str) -> dict[str, torch.Tensor]:
    """All sites of a part; rows in the order of the corpus where each row of it gives one."""
    order = np.argsort(corpus.lengths, kind="stable")
    found: dict[str, list[torch.Tensor]] = {}
    for batch in token_batches(corpus, np.arange(len(corpus.lengths))):
        for (kept, name), values in activations_of(lm, batch).items():
            if kept == part:
                found.setdefault(name, []).append(values.half())
    rows = {name: torch.cat(values) for name, values in found.items()}
    if part == PROMPTS:
        unsorted = torch.from_numpy(np.argsort(order))
        rows = {name: values[unsorted] for name, values in rows.items()}
    return rows
