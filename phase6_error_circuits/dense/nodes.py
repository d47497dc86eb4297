"""Heads and neurons as nodes, in one order: layer by layer, the heads at all positions, then the neurons.

A head is its part of what attention's last product reads, a neuron its number among what the MLP's last product reads.
Together they are all that a model writes into its stream, so nothing is left over as an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.random import Generator
from torch import Tensor

from common.model.sites import HEADS, NEURONS, site_name
from phase6_error_circuits.arms import Arms, width_of_a_head

HEAD, NEURON = "head", "neuron"
Mask = Bool[np.ndarray, " n_nodes"]


@dataclass(frozen=True)
class Part:
    """All heads, or all neurons, of one layer: `n_units` at each position, each `width` numbers wide."""

    kind: str
    layer: int
    n_units: int
    width: int

    @property
    def site(self) -> str:
        return site_name(self.layer, HEADS if self.kind == HEAD else NEURONS)


@dataclass(frozen=True)
class Node:
    """`pos` is that of the streams, without what all prompts share."""

    kind: str
    layer: int
    unit: int
    pos: int


@dataclass(frozen=True)
class Nodes:
    """All nodes of a model over prompts of one length; vectors of them are flat."""

    parts: tuple[Part, ...]
    n_positions: int

    @property
    def sizes(self) -> list[int]:
        return [self.n_positions * part.n_units for part in self.parts]

    @property
    def n(self) -> int:
        return sum(self.sizes)

    @property
    def sites(self) -> list[str]:
        return [part.site for part in self.parts]

    def split(self, flat: np.ndarray) -> Iterator[tuple[Part, np.ndarray]]:
        """By part, the values of its nodes, [pos, unit]."""
        ends = np.cumsum(self.sizes)[:-1]
        for part, values in zip(self.parts, np.split(flat, ends), strict=True):
            yield part, values.reshape(self.n_positions, part.n_units)

    def node(self, index: int) -> Node:
        for part, size in zip(self.parts, self.sizes, strict=True):
            if index < size:
                pos, unit = divmod(index, part.n_units)
                return Node(part.kind, part.layer, unit, pos)
            index -= size
        raise IndexError(index)

    def n_heads(self, mask: Mask) -> int:
        """How many heads are among the nodes of a mask."""
        return sum(int(of_part.sum()) for part, of_part in self.split(mask) if part.kind == HEAD)

    def of_values(self, mask: Mask, device: torch.device) -> list[Bool[Tensor, "pos width"]]:
        """By part, which of the numbers that the model computes belong to the nodes of a mask."""
        values = []
        for part, of_part in self.split(mask):
            values.append(torch.from_numpy(of_part).to(device).repeat_interleave(part.width, dim=1))
        return values

    def alike(self, mask: Mask, among: Mask, rng: Generator) -> Mask:
        """As many random nodes of every layer, kind and position as the mask has, `among` those that may be drawn."""
        drawn = []
        for (_, wanted), (_, pool) in zip(self.split(mask), self.split(among), strict=True):
            chosen = np.zeros_like(wanted)
            for pos in np.flatnonzero(wanted.any(1)):
                units = np.flatnonzero(pool[pos])
                chosen[pos, rng.choice(units, size=int(wanted[pos].sum()), replace=False)] = True
            drawn.append(chosen.ravel())
        return np.concatenate(drawn)


def nodes_of(arms: Arms) -> Nodes:
    """Raises: UnknownHookError where a layer has no such part, as a mixture of experts has no neurons of its own."""
    one = arms.of_pairs(0, 1).clean
    sites = [(kind, layer) for layer in range(arms.replay.n_layers) for kind in (HEAD, NEURON)]
    names = [site_name(layer, HEADS if kind == HEAD else NEURONS) for kind, layer in sites]
    with torch.no_grad():
        _, values = one.run_keeping(one.embedded, names)
    parts = []
    for (kind, layer), value in zip(sites, values, strict=True):
        width = width_of_a_head(arms, value) if kind == HEAD else 1
        parts.append(Part(kind, layer, value.shape[-1] // width, width))
    return Nodes(tuple(parts), arms.replay.n_positions)


def summed(part: Part, products: Float[Tensor, "pairs pos numbers"]) -> Float[Tensor, "pos unit"]:
    """What the numbers of each node add up to, over all pairs."""
    return products.sum(0).unflatten(-1, (part.n_units, part.width)).sum(-1)
