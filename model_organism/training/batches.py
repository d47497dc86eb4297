"""Which rows make up each step's batch, a function of the seed and the step alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from model_organism.corpus import WEIGHT_UNITS, TokenizedCorpus

N_VALIDATION_ROWS = 300
SHUFFLE_CHUNK = 8192
LENGTH_JITTER = 4


@dataclass(frozen=True)
class Batch:
    """Token ids, loss weights and labels of names, [row, pos], padded on the right with 0; each row's prompt length."""

    token_ids: torch.Tensor
    weights: torch.Tensor
    names: torch.Tensor
    prompt_lengths: torch.Tensor


class BatchPlan:
    """The rows of one process: a fixed validation part, and an endless stream of training batches."""

    def __init__(self, corpus: TokenizedCorpus, tokens_per_batch: int, seed: int, rank: int, n_ranks: int) -> None:
        self.corpus = corpus
        self.tokens_per_batch = tokens_per_batch
        self.seed = seed + 1000 * rank
        self.offsets = np.concatenate([[0], np.cumsum(corpus.lengths)])
        order = np.random.default_rng(123).permutation(len(corpus.lengths))
        n_validation = min(N_VALIDATION_ROWS, len(order) // 10)
        self.validation_rows = order[:n_validation]
        self.training_rows = order[n_validation:][rank::n_ranks]

    def batches_from(self, step: int) -> Iterator[Batch]:
        """The training batches from the given step on, the same whether or not earlier ones were consumed."""
        for index, rows in enumerate(self._row_groups()):
            if index >= step:
                yield self.collate(rows)

    def collate(self, rows: np.ndarray) -> Batch:
        lengths = self.corpus.lengths[rows]
        token_ids = np.zeros((len(rows), lengths.max()), np.int64)
        weights = np.zeros(token_ids.shape, np.float32)
        names = np.zeros(token_ids.shape, np.uint8)
        for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            span = slice(self.offsets[row], self.offsets[row + 1])
            token_ids[index, :length] = self.corpus.token_ids[span]
            weights[index, :length] = self.corpus.weights[span] / WEIGHT_UNITS
            names[index, :length] = self.corpus.names[span]
        prompt_lengths = torch.from_numpy(self.corpus.prompt_lengths[rows].astype(np.int64))
        return Batch(torch.from_numpy(token_ids), torch.from_numpy(weights), torch.from_numpy(names), prompt_lengths)

    def _row_groups(self) -> Iterator[np.ndarray]:
        """Rows of similar length together, so that little is padding, the groups in random order."""
        rng = np.random.default_rng(self.seed)
        while True:
            shuffled = rng.permutation(self.training_rows)
            for start in range(0, len(shuffled), SHUFFLE_CHUNK):
                chunk = shuffled[start : start + SHUFFLE_CHUNK]
                jitter = rng.uniform(-LENGTH_JITTER, LENGTH_JITTER, len(chunk))
                groups = self._split_by_tokens(chunk[np.argsort(self.corpus.lengths[chunk] + jitter)])
                for index in rng.permutation(len(groups)):
                    yield np.array(groups[index])

    def _split_by_tokens(self, rows: np.ndarray) -> list[list[int]]:
        groups: list[list[int]] = []
        current: list[int] = []
        longest = 0
        for row in rows:
            length = self.corpus.lengths[row]
            if current and max(longest, length) * (len(current) + 1) > self.tokens_per_batch:
                groups.append(current)
                current, longest = [], 0
            current.append(row)
            longest = max(longest, length)
        return [*groups, current] if current else groups
