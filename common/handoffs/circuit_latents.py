"""The document of phase 5.3: how well transcoders stand in for the MLPs of a model, on text and where prompts end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from common.handoffs.dictionaries import NeighbourFit, TextFit

WORSE_THAN_THE_MEAN = 1.0  # fraction of variance unexplained


@dataclass(frozen=True, kw_only=True)
class LastFit:
    """At the last position of n prompts: fraction of variance unexplained, about their own mean, and active latents.

    `fvu` is None where the prompts do not differ.
    """

    fvu: float | None
    l0: float
    n: int

    @property
    def is_worse_than_the_mean(self) -> bool:
        return self.fvu is not None and self.fvu > WORSE_THAN_THE_MEAN


@dataclass(frozen=True, kw_only=True)
class TranscoderFit:
    """One layer's transcoder. `text` leaves massive activations out of its FVU, `fvu_with_massive` does not.

    `neighbours`: the same transcoder in the place of the MLPs beside its own. `last` is of all prompts together,
    `behaviours` within each of them. `reads` is the site that it was trained on.
    """

    id: str
    reads: str
    n_latents: int
    has_skip: bool
    text: TextFit
    fvu_with_massive: float | None
    published_fvu: float | None
    published_l0: float | None
    neighbours: list[NeighbourFit]
    last: LastFit
    behaviours: dict[str, LastFit]

    @property
    def lost(self) -> list[str]:
        """Behaviours of which it reconstructs less, where their prompts end, than their mean would."""
        return [name for name, fit in self.behaviours.items() if fit.is_worse_than_the_mean]


@dataclass(frozen=True, kw_only=True)
class CircuitLatentsDocument:
    """circuit_latents.json; `layers` are those that have a transcoder, `without` the others.

    `prompts` are how many there are of each behaviour and split. `positions` and `top_k` say which latents
    activations.parquet holds; `n_described` of them have examples and effects. `text` is where the `n_documents`
    documents come from, `accepted` whether a bad fit would have been accepted.
    """

    transcoders: str
    positions: str
    top_k: int
    text: str
    n_documents: int
    n_described: int
    accepted: bool
    prompts: dict[str, dict[str, int]]
    layers: dict[str, TranscoderFit]
    without: list[int]

    def lost(self) -> Iterator[tuple[str, str, float]]:
        """Layer, behaviour and FVU wherever a transcoder is worse than the mean within a behaviour."""
        for layer, fit in self.layers.items():
            for behaviour in fit.lost:
                yield layer, behaviour, fit.behaviours[behaviour].fvu or 0.0
