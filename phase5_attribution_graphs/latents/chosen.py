"""Which latents are described, and the table of the strongest ones that this rests on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.report.latents.tokens import token_words
from common.saes.dictionary import Latent
from common.tables import TableRow
from phase5_attribution_graphs.latents.prompts import NO_LATENT


@dataclass(frozen=True)
class Strongest:
    """The strongest latents of every prompt, [record, layer, pos, rank]; `positions` [record, pos] says where.

    What does not fire, and positions that a prompt does not have, hold NO_LATENT.
    """

    layers: Sequence[int]
    latents: np.ndarray
    activations: np.ndarray
    positions: np.ndarray

    def columns(self, prompts: Sequence[TableRow], tokenizer: Any) -> dict[str, np.ndarray | list]:
        """Columns of activations.parquet; `prompts` are rows of prompts.parquet, one for each record."""
        record, layer, pos, rank = (self.latents != NO_LATENT).nonzero()
        at = self.positions[record, pos]
        ids = [prompts[one]["token_ids"][place] for one, place in zip(record, at, strict=True)]
        words = {number: token_words(tokenizer, number) for number in set(ids)}
        return {
            "record": np.array([prompt["record"] for prompt in prompts])[record],
            "behaviour": [prompts[one]["behaviour"] for one in record],
            "split": [prompts[one]["split"] for one in record],
            "layer": np.array(self.layers)[layer],
            "pos": at.astype(np.int64),
            "token": [words[number] for number in ids],
            "latent": self.latents[record, layer, pos, rank].astype(np.int64),
            "activation": self.activations[record, layer, pos, rank].astype(np.float64),
            "rank": rank + 1,
        }

    def most_frequent(self, n: int) -> list[Latent]:
        """At most `n` latents, those that are among the strongest of most prompts; every layer has as many.

        A layer that has fewer leaves its places to the others.
        """
        by_layer = [self._ordered(place) for place in range(len(self.layers))]
        longest = max((len(latents) for latents in by_layer), default=0)
        turns = ((layer, own) for turn in range(longest) for layer, own in self._turn(by_layer, turn))
        return sorted(place for place, _ in zip(turns, range(n), strict=False))

    def _ordered(self, place: int) -> list[int]:
        """Latents of one layer, those of most prompts first, the lowest number of equals."""
        counts: Counter[int] = Counter()
        for record in self.latents[:, place]:
            counts.update(np.unique(record[record != NO_LATENT]).tolist())
        return sorted(counts, key=lambda latent: (-counts[latent], latent))

    def _turn(self, by_layer: Sequence[Sequence[int]], turn: int) -> list[Latent]:
        return [
            (layer, latents[turn]) for layer, latents in zip(self.layers, by_layer, strict=True) if turn < len(latents)
        ]


def latents_by_layer(chosen: Sequence[Latent]) -> Mapping[int, list[int]]:
    """Numbers of the latents of each layer that has some."""
    numbers_of: dict[int, list[int]] = {}
    for layer, latent in chosen:
        numbers_of.setdefault(layer, []).append(latent)
    return numbers_of
