"""What phase 6.2 patches, record by record: any of them can be computed by itself, in any process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from common.model.hooks import read_sites
from common.model.sites import ATTN_OUT, HEADS, MLP_OUT, RESID_POST, site_name
from phase6_error_circuits.patching.patches import DENOISING, DIRECTIONS, Effects, Patching, Place

NONE, FIRST_ORDER, HEAD = "none", "heads first order", "head"
RESID, ATTENTION, MLP = "resid_post", "attn_out", "mlp_out"
_KINDS = {ATTENTION: ATTN_OUT, MLP: MLP_OUT}
EVERYWHERE = -1  # in the tables, of a position


@dataclass(frozen=True)
class Job:
    """One record. `rank` is that of a head among the largest by first order, from 0."""

    shape: int
    direction: str
    part: str
    layer: int = -1
    rank: int = -1


def jobs_of(n_layers: int, layers: Sequence[int], n_shapes: int, n_heads: int) -> list[Job]:
    """Of the studied pairs everything in these layers, in both directions, and heads of all; of other shapes the stream
    at named positions."""
    others = [job for shape in range(1, n_shapes) for job in _other(shape, layers)]
    return [*_studied(n_layers, layers, n_heads), *others]


def _studied(n_layers: int, layers: Sequence[int], n_heads: int) -> Iterator[Job]:
    for direction in DIRECTIONS:
        yield Job(0, direction, NONE)
        for part in (RESID, ATTENTION, MLP):
            for layer in layers:
                yield Job(0, direction, part, layer)
        for layer in range(n_layers):
            yield Job(0, direction, FIRST_ORDER, layer)
        for rank in range(n_heads):
            yield Job(0, direction, HEAD, rank=rank)


def _other(shape: int, layers: Sequence[int]) -> Iterator[Job]:
    for direction in DIRECTIONS:
        yield Job(shape, direction, NONE)
    for layer in layers:
        yield Job(shape, DENOISING, RESID, layer)


@dataclass
class Done:
    """The columns of effects.parquet that a job fills in: what its effects are of, and the effects."""

    head: int
    layer: int
    positions: list[int]
    effects: Effects

    def as_row(self, job: Job) -> dict[str, object]:
        return {
            "shape": job.shape,
            "direction": job.direction,
            "part": job.part,
            "layer": self.layer,
            "head": self.head,
            "positions": self.positions,
            "effects": self.effects.ravel().tolist(),
        }


class Jobs:
    """Computes jobs on the pairs of one shape; what several of them need is computed once."""

    def __init__(self, patchings: dict[str, Patching], is_studied: bool) -> None:
        self._patchings, self._is_studied = patchings, is_studied
        self._first_order: dict[str, np.ndarray] = {}

    def done(self, job: Job) -> Done:
        patching = self._patchings[job.direction]
        if job.part == NONE:
            return Done(-1, -1, [EVERYWHERE], patching.unpatched())
        if job.part == FIRST_ORDER:
            effects = self._heads(job.direction)[job.layer]
            return Done(-1, job.layer, [*range(len(effects))], effects)
        if job.part == HEAD:
            layer, head = self._largest(job.direction, job.rank)
            return Done(head, layer, [EVERYWHERE], patching.branch(HEADS, layer, [Place(head=head)]))
        if job.part == RESID:
            return self._resid(patching, job.layer)
        positions = [*patching.arms.named_positions().values(), None]
        effects = patching.branch(_KINDS[job.part], job.layer, [Place(pos) for pos in positions])
        return Done(-1, job.layer, _in_prompt(patching, positions), effects)

    def _resid(self, patching: Patching, layer: int) -> Done:
        arms = patching.arms
        every = range(arms.replay.n_positions) if self._is_studied else arms.named_positions().values()
        positions: list[int | None] = [*every, None]
        effects = patching.resid(layer, [Place(pos) for pos in positions])
        return Done(-1, layer, _in_prompt(patching, positions), effects)

    def _heads(self, direction: str) -> np.ndarray:
        if direction not in self._first_order:
            self._first_order[direction] = self._patchings[direction].heads_first_order()
        return self._first_order[direction]

    def _largest(self, direction: str, rank: int) -> tuple[int, int]:
        """Layer and head of that rank, by the size of the mean first-order effect."""
        sizes = np.abs(self._heads(direction).mean(-1))
        layer, head = np.unravel_index(np.argsort(-sizes, axis=None, kind="stable")[rank], sizes.shape)
        return int(layer), int(head)


def check_sites(patching: Patching) -> None:
    """Raises: UnknownHookError where a block lacks a part that is patched: now, and not after hours."""
    model, n_layers = patching.arms.replay.model, patching.arms.replay.n_layers
    kinds = (RESID_POST, ATTN_OUT, MLP_OUT, HEADS)
    with read_sites(model, [site_name(layer, kind) for layer in range(n_layers) for kind in kinds], lambda *_: None):
        pass


def _in_prompt(patching: Patching, positions: Sequence[int | None]) -> list[int]:
    return [EVERYWHERE if pos is None else pos + patching.arms.offset for pos in positions]
