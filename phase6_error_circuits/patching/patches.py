"""Put a part of one run into the other, and see how far the logit difference moves.

1. The residual stream: resid_post of a layer is changed at a position, and the blocks behind it run on (replay.py).
2. What attention or the MLP adds to the stream is changed where it is added: the block runs once more, and those
   behind it. A head is changed in what the attention's last product reads, at all positions.
3. To first order, a head's effect is the difference of its values times the gradient of the metric in the run that is
   patched: one pass back gives all heads.

4. What stands before a patch is as it was: positions from the patch on are run alone, patches of one position together.

Clean into corrupted is called denoising, corrupted into clean noising. Effects are positive where the part supports the
clean answer: m(patched) - m(corrupted), and m(clean) - m(patched).
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.model.hooks import change_sites, read_sites
from common.model.memory import FittingParts, batch_bytes
from common.model.replay import Replay
from common.model.sites import HEADS, site_name
from phase6_error_circuits.arms import Arm, Arms, width_of_a_head

DENOISING, NOISING = DIRECTIONS = ("denoising", "noising")
ALL = None  # every position
Effects = Float[np.ndarray, "places pairs"]


@dataclass(frozen=True)
class Place:
    """A position of the streams, or all of them; and a head, or the whole width."""

    pos: int | None = ALL
    head: int | None = None


@dataclass(frozen=True, eq=False)
class Patching:
    """Patches between the arms in one direction, `rows_together` prompts at a time."""

    arms: Arms
    direction: str
    rows_together: int
    log: logging.Logger

    @property
    def source(self) -> Arm:
        return self.arms.clean if self.direction == DENOISING else self.arms.corrupted

    @property
    def target(self) -> Arm:
        return self.arms.corrupted if self.direction == DENOISING else self.arms.clean

    @property
    def n_pairs(self) -> int:
        return len(self.arms.pairs)

    def unpatched(self) -> Effects:
        """The metric itself."""
        return self.target.metric[None].cpu().numpy().astype(float)

    @torch.no_grad()
    def resid(self, layer: int, places: Sequence[Place]) -> Effects:
        """Of the residual stream after a block, patched at each place by itself."""
        source, target = self.source.streams[layer], self.target.streams[layer]

        def patched(some: list[Place], replay: Replay, first: int) -> Effects:
            resid = target[:, first:].repeat(len(some), 1, 1)
            return self._moved(layer + 1, put(resid, source[:, first:], _behind(some, first)), replay)

        return self._in_parts(patched, places, [_differs(source, target, place) for place in places])

    @torch.no_grad()
    def branch(self, kind: str, layer: int, places: Sequence[Place]) -> Effects:
        """Of what attention, the MLP or single heads write in a block; `kind` is ATTN_OUT, MLP_OUT or HEADS.

        Raises: UnknownHookError where the block has no such part.
        """
        site = site_name(layer, kind)
        source, target = (values_at(arm, kind, layer) for arm in (self.source, self.target))
        d_head = width_of_a_head(self.arms, source) if kind == HEADS else 0

        def patched(some: list[Place], replay: Replay, first: int) -> Effects:
            def change(values: Tensor) -> Tensor:
                return put(values.clone(), source[:, first:], _behind(some, first), d_head)

            entering = self.target.entering(layer)[:, first:].repeat(len(some), 1, 1)
            with change_sites(replay.model, {site: change}):
                resid = replay.block(layer, entering)
            return self._moved(layer + 1, resid, replay)

        return self._in_parts(patched, places, [_differs(source, target, place, d_head) for place in places])

    def heads_first_order(self) -> Float[np.ndarray, "layers heads pairs"]:
        """Of each head at all positions, by the gradient in the run that is patched."""
        replay = self.arms.replay
        sites = [site_name(layer, HEADS) for layer in range(replay.n_layers)]
        with torch.enable_grad():
            embedded = self.target.embedded.detach().requires_grad_(True)
            metric, values = self.target.run_keeping(embedded, sites)
        gradients = torch.autograd.grad(metric.sum(), values)
        sign, effects = 1 if self.direction == DENOISING else -1, []
        for layer, (value, gradient) in enumerate(zip(values, gradients, strict=True)):
            difference = values_at(self.source, HEADS, layer) - value.detach()
            d_head = width_of_a_head(self.arms, difference)
            effect = (difference.float() * gradient.float()).unflatten(-1, (-1, d_head)).sum((1, 3))
            effects.append(sign * effect.T)
        return torch.stack(effects).cpu().numpy().astype(float)

    def _in_parts(self, patched: "Patched", places: Sequence[Place], differs: Sequence[bool]) -> Effects:
        """Effects at all places, in their order; of one position as many together as were asked for.

        A patch that puts the same numbers changes nothing, and is not run: so its effect is 0 to the last bit.
        """
        by_start: dict[int, list[int]] = {}
        for number in np.flatnonzero(differs).tolist():
            place = places[number]
            start = self.arms.first_difference if place.pos is None else place.pos
            by_start.setdefault(start, []).append(number)
        effects = np.zeros((len(places), self.n_pairs))
        for start, numbers in by_start.items():
            effects[numbers] = self._at_one_start(patched, [places[number] for number in numbers], start)
        return effects

    def _at_one_start(self, patched: "Patched", places: Sequence[Place], start: int) -> Effects:
        """Fewer places together where memory does not suffice."""
        replay, first = self.target.known.replay_from(start)
        fitting = FittingParts[Place, np.ndarray](
            lambda some: [*patched(some, replay, first)],
            size=lambda some: len(some) * self.n_pairs,
            # Every row has keys and values of what stands before, too.
            expected=lambda some: batch_bytes(
                replay.model, len(some) * self.n_pairs, replay.n_positions, replay.n_shared
            ),
            name=lambda _: f"a patch in {self.n_pairs} prompts of {replay.n_tokens} tokens",
            device=str(self.target.ids.device),
            log=self.log,
        )
        step = max(1, self.rows_together // self.n_pairs)
        parts = [places[first : first + step] for first in range(0, len(places), step)]
        return np.stack([effects for part in parts for effects in fitting(part)])

    def _moved(self, layer: int, resid: Tensor, replay: Replay) -> Effects:
        metric = self.target.metric_from(layer, resid, replay).reshape(-1, self.n_pairs)
        moved = metric - self.target.metric
        return (moved if self.direction == DENOISING else -moved).cpu().numpy().astype(float)


Patched = Callable[[list[Place], Replay, int], Effects]  # of places, run by what runs the positions from the last on


def _behind(places: Sequence[Place], first: int) -> list[Place]:
    """The same places in a stream that begins at the position `first`."""
    return [replace(place, pos=None if place.pos is None else place.pos - first) for place in places]


def put(values: Tensor, source: Tensor, places: Sequence[Place], d_head: int = 0) -> Tensor:
    """`values` [places * pairs, pos, width], with those of `source` [pairs, pos, width] at each place."""
    n = len(source)
    for number, place in enumerate(places):
        at, units = _indices(place, d_head)
        values[number * n : (number + 1) * n, at, units] = source[:, at, units]
    return values


def _differs(source: Tensor, target: Tensor, place: Place, d_head: int = 0) -> bool:
    at, units = _indices(place, d_head)
    return not torch.equal(source[:, at, units], target[:, at, units])


def _indices(place: Place, d_head: int) -> tuple[int | slice, slice]:
    """Of the position and of the numbers at it."""
    at = slice(None) if place.pos is None else place.pos
    return at, slice(None) if place.head is None else slice(place.head * d_head, (place.head + 1) * d_head)


@torch.no_grad()
def values_at(arm: Arm, kind: str, layer: int) -> Tensor:
    """What a run has at a site of one block."""
    values: dict[str, Tensor] = {}
    with read_sites(arm.replay.model, [site_name(layer, kind)], values.__setitem__):
        arm.replay.block(layer, arm.entering(layer))
    return values[site_name(layer, kind)]
