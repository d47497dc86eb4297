"""The document of phase 6.4b: heads and neurons that carry the answer together, with no dictionary."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from common.handoffs.error_gate import GateVerdict
from common.handoffs.error_patching import StudiedPairs
from common.handoffs.estimates import Counted, Interval

ENOUGH = 0.8  # held-out faithfulness that a circuit must reach; as far above 1, it is as little that of the model
FEW = 0.1  # of the nodes that differ: a circuit of more is no finding


class DenseVerdict(enum.StrEnum):
    """Is there a circuit of few heads and neurons that serves pairs it was not chosen on?"""

    FOUND = "few heads and neurons carry the answer on other pairs"
    NOT_FOUND = "no circuit of few heads and neurons carries the answer on other pairs"


@dataclass(frozen=True, kw_only=True)
class DenseCurves:
    """What circuits of each size keep of the total, on some pairs; lists are by size.

    `faithfulness`: only the circuit has the clean run's values. `completeness`: only what is outside of it has them.
    `random`: faithfulness of as many random nodes of each layer and kind, the mean over draws.
    """

    n: int
    total: Interval
    both_signs: Counted
    faithfulness: list[Interval]
    completeness: list[Interval]
    random: list[Interval]


@dataclass(frozen=True, kw_only=True)
class DenseNode:
    """A head or neuron at a position, with what it adds to the total by integrated gradients, as a share of it."""

    kind: str
    layer: int
    unit: int
    pos: int
    token: str
    importance: float


@dataclass(frozen=True, kw_only=True)
class DenseNulls:
    """The same ranking of null pairs, of two clean prompts: `n_above` nodes of the real pairs exceed their largest."""

    n: int
    largest: float
    n_above: int


@dataclass(frozen=True, kw_only=True)
class DifferenceDirection:
    """The mean difference clean - corrupted at a layer and named position, fitted on the pairs that select.

    Shares of the total of the held-out pairs that come back in the corrupted run: by each pair's own difference along
    that `direction`, and by its `whole` difference.
    """

    layer: int
    position: str
    direction: Interval
    whole: Interval


@dataclass(frozen=True, kw_only=True)
class ErrorDenseDocument:
    """dense.json; `verdict` is that of the circuit, `gate` that of phase 6.1b.

    `faithfulness`, `completeness` and `random` are those of `pairs`, on which nodes were chosen; lists are by `sizes`.
    `n_nodes` differ between the arms of some pair, of which `n_heads` are heads. `smallest_enough` is the least of the
    sizes that keeps 0.8 to 1.2 of the total of held-out pairs. `everything_kept` and `nothing_kept` are the largest
    departures of a pair's metric from that of the clean and of the corrupted run.
    """

    contrast: str
    format: str
    gate: GateVerdict
    forced: bool
    verdict: DenseVerdict
    n: int
    both_signs: Counted
    pairs: StudiedPairs
    n_nodes: int
    n_heads: int
    ranking: str
    sizes: list[int]
    faithfulness: list[Interval]
    completeness: list[Interval]
    random: list[Interval]
    held_out: DenseCurves
    smallest_enough: int | None
    everything_kept: float
    nothing_kept: float
    null_pairs: DenseNulls | None
    nodes: list[DenseNode]
    directions: list[DifferenceDirection]
    sentences: list[str]
