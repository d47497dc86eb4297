"""Nodes: a latent at a position, or what a dictionary leaves unexplained there (the error); and what each is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from phase6_error_circuits.pair import ErrorPair

LATENT, ERROR = KINDS = ("latent", "error")
NO_LATENT = -1  # in a table: the node is an error


class Node(NamedTuple):
    """`latent` is None for the error of a layer at a position."""

    layer: int
    pos: int
    latent: int | None

    @property
    def is_error(self) -> bool:
        return self.latent is None

    @property
    def kind(self) -> str:
        return ERROR if self.is_error else LATENT


@dataclass(frozen=True, eq=False)
class Importance:
    """What every node of some layers adds to the metric, mean over pairs; positive supports the clean answer."""

    latents: Mapping[int, Float[Tensor, "pos d_sae"]]
    errors: Mapping[int, Float[Tensor, " pos"]]

    def of(self, node: Node) -> float:
        values = self.errors[node.layer] if node.latent is None else self.latents[node.layer][:, node.latent]
        return float(values[node.pos])

    def sum_of(self, layer: int) -> float:
        return float(self.latents[layer].sum() + self.errors[layer].sum())

    def largest(self) -> float:
        """The largest absolute value of all nodes."""
        return max(float(values.abs().max()) for part in (self.latents, self.errors) for values in part.values())

    def nodes(self) -> dict[Node, float]:
        """Every node that is not zero, the largest absolute value first."""
        value_of: dict[Node, float] = {}
        for layer, values in self.latents.items():
            places = values.nonzero()
            at = zip(places.tolist(), values[places[:, 0], places[:, 1]].tolist(), strict=True)
            value_of |= {Node(layer, pos, latent): value for (pos, latent), value in at}
            errors = self.errors[layer].tolist()
            value_of |= {Node(layer, pos, None): value for pos, value in enumerate(errors) if value}
        return dict(sorted(value_of.items(), key=lambda entry: -abs(entry[1])))


def mean_of(parts: Iterable[tuple[Importance, int]]) -> Importance:
    """The mean of means, each with the number of pairs that it is of."""
    known = [*parts]
    n = sum(of for _, of in known)

    def of(name: str) -> dict[int, Tensor]:
        layers = getattr(known[0][0], name)
        return {
            layer: torch.stack([getattr(one, name)[layer] * (k / n) for one, k in known]).sum(0) for layer in layers
        }

    return Importance(of("latents"), of("errors"))


def places_of(pair: ErrorPair) -> list[str]:
    """A name for each position that means the same in every pair of the shape: a named position, else its role.

    A role that several tokens have is numbered.
    """
    named: dict[int, str] = {}
    for name, pos in pair.positions.items():
        named.setdefault(pos, name)
    seen: Counter[str] = Counter()
    places = []
    for pos, role in enumerate(pair.roles):
        name = named.get(pos, role)
        seen[name] += 1
        places.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return places
