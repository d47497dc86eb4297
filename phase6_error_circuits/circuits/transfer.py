"""A circuit on pairs whose positions are others: another shape of its template, another template of its contrast.

Positions mean nothing there, so a latent is kept wherever it stands. An error is kept at the positions that have the
name at which the circuit has it (diff_first, end, ...), since errors stand at every position.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from common.handoffs.error_latent_circuits import RandomCircuits
from phase6_error_circuits.circuits.scoring import Scorer, of_random
from phase6_error_circuits.latents.cutting import Cut, pooled_cut
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import SplitArms

Latents = Mapping[int, set[int]]  # by layer


class PooledCircuit:
    """A circuit without positions; `named` are those of the shape on which it was found."""

    def __init__(self, circuit: Iterable[Node], layers: Sequence[int], named: Mapping[str, int]) -> None:
        names = defaultdict(set)
        for name, pos in named.items():
            names[pos].add(name)
        self.latents: dict[int, set[int]] = {layer: set() for layer in layers}
        self._errors: dict[int, set[str]] = {layer: set() for layer in layers}
        for node in circuit:
            if node.latent is None:
                self._errors[node.layer] |= names[node.pos]
            else:
                self.latents[node.layer].add(node.latent)

    def cut(self, arms: SplitArms, named: Mapping[str, int], latents: Latents | None = None) -> Cut:
        """The cut on pairs with other named positions; with other latents where they are given."""
        errors = {
            layer: {pos for name, pos in named.items() if name in names and pos >= 0}
            for layer, names in self._errors.items()
        }
        return pooled_cut(self.latents if latents is None else latents, errors, arms.n_pos, arms.device)

    def at_random(self, scorer: Scorer, named: Mapping[str, int], pool: Latents, n: int, seed: int) -> RandomCircuits:
        """As many latents of each layer, drawn from a pool, with the same errors."""
        generator, values = random.Random(seed), []
        for _ in range(n):
            drawn = {
                layer: {*generator.sample(sorted(pool[layer] | latents), len(latents))}
                for layer, latents in self.latents.items()
            }
            values.append(scorer.of_cut(lambda arms, drawn=drawn: self.cut(arms, named, drawn)).value)
        return of_random(values)
