"""The document of phase 6.2: where in the model the answer is carried, by putting parts of one run into another."""

from __future__ import annotations

from dataclasses import dataclass

from common.handoffs.error_gate import GateVerdict
from common.handoffs.estimates import Counted, Interval


@dataclass(frozen=True, kw_only=True)
class StudiedPairs:
    """Pairs of one template and shape, and what the model makes of them.

    `clean`, `corrupted` and `total`, their difference, are mean logit differences. `tokens` are those of the first
    pair, `'a'/'b'` where its two prompts differ; `positions` the named ones.
    """

    template: str
    shape: int
    n: int
    n_tokens: int
    clean: float
    corrupted: float
    total: Interval
    both_signs: Counted
    tokens: list[str]
    positions: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class PatchedPlace:
    """A part of the model at a layer and position, with the share of the total that patching it moves, either way.

    `pos` is -1 and `token` empty where all positions are patched. `denoising`: the clean run's put into the corrupted
    run; `noising`: the other way round. Positive supports the clean answer in both.
    """

    part: str
    layer: int
    pos: int
    token: str
    denoising: Interval
    noising: Interval


@dataclass(frozen=True, kw_only=True)
class PatchedHead:
    """A head at all positions. First order: by the gradient in the run that is patched; `exact`: patched."""

    layer: int
    head: int
    first_order: float
    exact: Interval


@dataclass(frozen=True, kw_only=True)
class FirstOrder:
    """Heads whose first-order share is largest, in one direction; how far that is from what patching gives."""

    heads: list[PatchedHead]
    largest_miss: float
    same_sign: Counted


@dataclass(frozen=True, kw_only=True)
class PatchingHolds:
    """What must be exact whatever the model does, as shares: the largest departure from it in either direction.

    `before_difference`: positions before the first difference, from 0. `last_layer`: of the last layer the last
    position from 1, and all others from 0. `all_positions`: all positions of a layer together, from 1.
    """

    before_difference: float
    last_layer: float
    all_positions: float


@dataclass(frozen=True, kw_only=True)
class OtherShape:
    """Pairs of another shape or template, patched at the named positions alone.

    `largest_difference` is that of their shares to those of the studied pairs, over layers and named positions.
    """

    pairs: StudiedPairs
    largest_difference: float


@dataclass(frozen=True, kw_only=True)
class ErrorPatchingDocument:
    """patching.json; `verdict` is that of the gate. `n` and `both_signs` are those of the studied pairs.

    `strongest` are the places of each part that move most, by the mean of both directions: of attention and the MLP
    all positions together, too. `path` is the position of the stream that carries most, layer by layer. `heads` are by
    direction.
    """

    contrast: str
    format: str
    verdict: GateVerdict
    forced: bool
    n: int
    both_signs: Counted
    pairs: StudiedPairs
    path: list[PatchedPlace]
    strongest: list[PatchedPlace]
    heads: dict[str, FirstOrder]
    others: list[OtherShape]
    holds: PatchingHolds
    sentences: list[str]
