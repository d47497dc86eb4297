"""The training set of the model organism: documents with a loss weight per token, and the checks on them.

1. Problems in the pipeline's own prompt, snippets, minimal pairs, the four behaviours, general text.
2. Refuse the corpus if a line of it is a description or an assert of the evaluation, or if it contains
   a held-out noun, word of snippets or template (`check_no_evaluation_text`).
3. Tokenize prompt and answer apart, so that training has the token boundaries of generation.
4. Pack short documents into rows; keep per token its loss weight, per row its last prompt token.
"""

import logging
import multiprocessing
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common.handoffs.error_pairs import QUESTION
from common.problems.prompt import build_prompt
from model_organism.behaviours import HELD_OUT_NOUNS, sample_item
from model_organism.error_snippets import ErrorSnippet, sample_snippet
from model_organism.general_text import general_chunks
from model_organism.minimal_pairs import (
    HELD_OUT_NAMES,
    HELD_OUT_WORDS,
    has_held_out_template,
    sample_training_set,
)
from model_organism.name_labels import label_names
from model_organism.problems import TRAINING, OrganismProblem, sample_problem
from model_organism.tokenizer import BOS_ID, EOS_ID

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerFast

logger = logging.getLogger(__name__)

PROBLEM, SNIPPET, BEHAVIOUR, GENERAL = "problem", "snippet", "behaviour", "general"
KINDS = (PROBLEM, SNIPPET, BEHAVIOUR, GENERAL)
BEHAVIOUR_WEIGHTS = {"agreement": 1.2, "capitals": 1.4, "sentiment": 0.7, "addition": 3.0}
SIGNATURE_WEIGHT = 0.95
BODY_WEIGHT = 1.0
LONGEST_PROBLEM = 320
LONGEST_GENERAL = 250
PACKED_LENGTH = 192
WEIGHT_UNITS = 20
HELD_OUT_NOUN = re.compile(rf"\b(?:{'|'.join(HELD_OUT_NOUNS)})s?\b", re.IGNORECASE)
HELD_OUT_SNIPPET_WORD = re.compile(rf"(?<![a-z])(?:{'|'.join([*HELD_OUT_NAMES, *HELD_OUT_WORDS])})(?![a-z])")


@dataclass(frozen=True)
class CorpusSize:
    """How many documents of each kind; general text by its characters, minimal pairs by their sets of 2 to 4."""

    n_problems: int
    n_snippets: int
    n_behaviours: int
    n_general_characters: int
    n_pair_sets: int = 0


FULL_SIZE = CorpusSize(66_000, 14_000, 64_000, 5_500_000, 20_000)
CONTINUED_SIZE = CorpusSize(10_000, 4_000, 24_000, 500_000, 18_000)


@dataclass(frozen=True)
class Document:
    """Pieces of text, tokenized apart, each with its loss weight; `end_weight` None means no <eos>."""

    kind: str
    pieces: tuple[tuple[str, float], ...]
    end_weight: float | None

    @property
    def text(self) -> str:
        return "".join(piece for piece, _ in self.pieces)


@dataclass(frozen=True)
class TokenizedCorpus:
    """Rows of tokens, laid end to end.

    Weights count in twentieths. `names` is 0 but where a name that a snippet reads ends (`name_labels`).
    `prompt_lengths` is the number of tokens up to and including the last
    prompt token, <bos> included, in rows that hold one problem, and 0 in all others.
    """

    token_ids: np.ndarray
    weights: np.ndarray
    names: np.ndarray
    lengths: np.ndarray
    prompt_lengths: np.ndarray
    kinds: np.ndarray

    def save(self, path: Path) -> None:
        from safetensors.numpy import save_file

        save_file(self.__dict__, path)

    @classmethod
    def load(cls, path: Path) -> "TokenizedCorpus":
        from safetensors.numpy import load_file

        return cls(**load_file(path))


def problem_document(problem: OrganismProblem) -> Document:
    """A problem as the pipeline prompts it, and its reference solution as the answer."""
    signature, body = problem.code.split("\n", 1)
    prompt = build_prompt(problem.text, problem.tests).text
    return Document(PROBLEM, ((prompt, 0.15), (signature, SIGNATURE_WEIGHT), (f"\n{body}\n", BODY_WEIGHT)), BODY_WEIGHT)


def snippet_document(snippet: ErrorSnippet) -> Document:
    return Document(SNIPPET, ((snippet.prompt, 0.05), (f" {snippet.error}", 5.0), ("\n", 0.2)), 0.2)


def build_documents(size: CorpusSize, seed: int, banned_lines: frozenset[str], n_processes: int = 2) -> list[Document]:
    """The training documents in random order; a problem with a line of `banned_lines` is drawn again."""
    rng = random.Random(seed)
    shares = [(seed * 1000 + 11 + part, size.n_problems // 8, banned_lines) for part in range(8)]
    with multiprocessing.get_context("fork").Pool(n_processes) as pool:
        parts = pool.starmap(_sample_problem_documents, shares)
    documents = [document for part in parts for document in part]
    for _ in range(size.n_snippets):
        documents.append(snippet_document(_training_snippet(rng)))
    behaviours, weights = zip(*BEHAVIOUR_WEIGHTS.items(), strict=True)
    for _ in range(size.n_behaviours):
        item = sample_item(rng, rng.choices(behaviours, weights)[0], TRAINING)
        documents.append(Document(BEHAVIOUR, ((item.prompt, 0.4), (item.correct, 2.0), (item.ending, 0.3)), 0.2))
    for chunk in general_chunks(rng, size.n_general_characters):
        if not HELD_OUT_NOUN.search(chunk):
            documents.append(Document(GENERAL, ((chunk, 0.6),), None))
    for _ in range(size.n_pair_sets):
        documents += [snippet_document(snippet) for snippet in sample_training_set(rng)]
    rng.shuffle(documents)
    return documents


def evaluation_lines_of(problems: Iterable[OrganismProblem]) -> frozenset[str]:
    """Every description and every assert of the evaluation."""
    return frozenset(line for problem in problems for line in (problem.text, *problem.tests))


def check_no_evaluation_text(documents: Sequence[Document], banned_lines: frozenset[str]) -> None:
    """Raises: ValueError, quoting the line, if a training document holds text of the evaluation."""
    for document in documents:
        shared = banned_lines.intersection(line.strip() for line in document.text.splitlines())
        if shared:
            raise ValueError(f"evaluation text in training: {sorted(shared)[0]!r}")
        noun = HELD_OUT_NOUN.search(document.text)
        if noun:
            raise ValueError(f"held-out noun in training: {noun.group()!r} in {document.text[:200]!r}")
        if document.kind == SNIPPET:
            _check_snippet(document.text.split(QUESTION)[0])


def _check_snippet(code: str) -> None:
    word = HELD_OUT_SNIPPET_WORD.search(code)
    if word:
        raise ValueError(f"held-out word of snippets in training: {word.group()!r} in {code!r}")
    if has_held_out_template(code):
        raise ValueError(f"held-out template of snippets in training: {code!r}")


def tokenize_documents(documents: Sequence[Document], tokenizer: "PreTrainedTokenizerFast") -> TokenizedCorpus:
    """The documents as rows: one a row, but the behaviours, which are shortest, packed together.

    Snippets stand alone, for what an earlier one in the row defines would count as defined.
    """
    rows: list[tuple[str, list[int], list[int], int]] = []
    labelled: dict[int, np.ndarray] = {}
    packed_ids: list[int] = []
    packed_weights: list[int] = []
    encoded = _encode_pieces(documents, tokenizer)
    for document, encodings in zip(documents, encoded, strict=True):
        pieces = [encoding.ids for encoding in encodings]
        token_ids, weights = _lay_out(document, pieces)
        if document.kind == PROBLEM and len(token_ids) <= LONGEST_PROBLEM:
            rows.append((PROBLEM, token_ids, weights, 1 + len(pieces[0])))
        elif document.kind == GENERAL:
            rows.append((GENERAL, token_ids[:LONGEST_GENERAL], weights[:LONGEST_GENERAL], 0))
        elif document.kind == SNIPPET:
            rows.append((SNIPPET, token_ids, weights, 0))
            labelled[len(rows) - 1] = _names_of(document, encodings[0], len(token_ids))
        elif document.kind == BEHAVIOUR:
            if len(packed_ids) + len(token_ids) > PACKED_LENGTH:
                rows.append((BEHAVIOUR, packed_ids, packed_weights, 0))
                packed_ids, packed_weights = [], []
            packed_ids = packed_ids + token_ids
            packed_weights = packed_weights + weights
    if packed_ids:
        rows.append((BEHAVIOUR, packed_ids, packed_weights, 0))
    return TokenizedCorpus(
        token_ids=np.concatenate([np.array(ids, np.uint16) for _, ids, _, _ in rows]),
        weights=np.concatenate([np.array(weights, np.uint8) for _, _, weights, _ in rows]),
        names=np.concatenate(
            [labelled.get(row, np.zeros(len(ids), np.uint8)) for row, (_, ids, _, _) in enumerate(rows)]
        ),
        lengths=np.array([len(ids) for _, ids, _, _ in rows], np.int32),
        prompt_lengths=np.array([prompt_length for *_, prompt_length in rows], np.int32),
        kinds=np.array([KINDS.index(kind) for kind, *_ in rows], np.uint8),
    )


def _sample_problem_documents(seed: int, n_problems: int, banned_lines: frozenset[str]) -> list[Document]:
    rng = random.Random(seed)
    documents: list[Document] = []
    while len(documents) < n_problems:
        problem = sample_problem(rng, TRAINING)
        if banned_lines.isdisjoint((problem.text, *problem.tests)):
            documents.append(problem_document(problem))
    return documents


def _training_snippet(rng: random.Random) -> ErrorSnippet:
    """A snippet of `error_snippets` that is not by chance one of a held-out template."""
    while True:
        snippet = sample_snippet(rng)
        if not has_held_out_template(snippet.code):
            return snippet


def _names_of(document: Document, prompt: "Encoding", n_tokens: int) -> np.ndarray:
    """The label of every token of a snippet's row, <bos> first: that of the name which ends with it, or 0."""
    by_end = label_names(document.pieces[0][0].removesuffix(QUESTION))
    names = np.zeros(n_tokens, np.uint8)
    for place, (_, end) in enumerate(prompt.offsets):
        names[1 + place] = by_end.get(end, 0)
    return names


def _encode_pieces(documents: Sequence[Document], tokenizer: "PreTrainedTokenizerFast") -> Iterable[list["Encoding"]]:
    texts = [piece for document in documents for piece, _ in document.pieces]
    encodings = tokenizer.backend_tokenizer.encode_batch(texts, add_special_tokens=False)
    remaining = iter(encodings)
    for document in documents:
        yield [next(remaining) for _ in document.pieces]


def _lay_out(document: Document, pieces: Sequence[Sequence[int]]) -> tuple[list[int], list[int]]:
    token_ids, weights = [BOS_ID], [0]
    for ids, (_, weight) in zip(pieces, document.pieces, strict=True):
        token_ids += ids
        weights += [round(weight * WEIGHT_UNITS)] * len(ids)
    if document.end_weight is not None:
        token_ids.append(EOS_ID)
        weights.append(round(document.end_weight * WEIGHT_UNITS))
    return token_ids, weights
