"""Faithfulness and completeness of a circuit, as ratios of means over pairs with a bootstrap.

faithfulness = (m(circuit alone) - m(nothing)) / (m(clean) - m(nothing)); completeness: the same with everything but the
circuit: near 0 where the circuit is all that matters. Nothing: every node has its other value.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.handoffs.error_latent_circuits import CurvePoint, RandomCircuits
from common.handoffs.estimates import Interval
from phase6_error_circuits.circuits.config import KEPT, NODES
from phase6_error_circuits.circuits.ranking import random_circuit
from phase6_error_circuits.latents.cutting import Cut, cut_of, kept, removed
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.shares import Bootstrap
from phase6_error_circuits.latents.split_arms import SplitArms, Values

RunFn = Callable[[SplitArms, Cut, Values], Tensor]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Scores circuits on some pairs, with one kind of values for the nodes outside."""

    batches: Sequence[SplitArms]
    bases: Sequence[Values]
    bootstrap: Bootstrap
    _known: dict[tuple[Any, ...], Tensor] = field(default_factory=dict)

    @property
    def layers(self) -> list[int]:
        return self.batches[0].dictionaries.layers

    @cached_property
    def clean(self) -> Tensor:
        """The metric of each pair when nothing is cut."""
        return torch.cat([arms.clean.metric for arms in self.batches])

    @cached_property
    def nothing(self) -> Tensor:
        """The metric of each pair when no node is left."""
        return self._metric(kept, [], self.layers)

    def share(self, metric: Tensor) -> Interval:
        """How much of what is lost without any node a metric has."""
        return self.bootstrap.ratio(metric - self.nothing, self.clean - self.nothing)

    def faithfulness(
        self, circuit: Sequence[Node], errors: str = NODES, layers: Sequence[int] | None = None
    ) -> Interval:
        """Of the circuit alone; where `layers` are named, all others are left whole."""
        every = self.layers if layers is None else layers
        return self.share(self._metric(kept, self._nodes(circuit, errors), every, errors == KEPT))

    def completeness(self, circuit: Sequence[Node], errors: str = NODES) -> Interval:
        """Of everything but the circuit. Errors that are all kept belong to it, errors that are not to the rest."""
        return self.share(self._metric(removed, self._nodes(circuit, errors), self.layers, errors == KEPT))

    def metric_without(self, circuit: Sequence[Node]) -> Tensor:
        """The metric of each pair when everything but these nodes is left."""
        return self._metric(removed, circuit, self.layers)

    def of_cut(self, cut_for: Callable[[SplitArms], Cut]) -> Interval:
        """Of a circuit that is no set of nodes."""
        both = zip(self.batches, self.bases, strict=True)
        with torch.no_grad():
            return self.share(torch.cat([kept(arms, cut_for(arms), base) for arms, base in both]))

    def point(self, circuit: Sequence[Node], errors: str, beside: RandomCircuits | None = None) -> CurvePoint:
        """All that a curve tells of one size."""
        n_errors = sum(node.is_error for node in circuit) if errors == NODES else 0
        return CurvePoint(
            size=len(circuit),
            errors=n_errors,
            faithfulness=self.faithfulness(circuit, errors),
            completeness=self.completeness(circuit, errors),
            random=beside,
        )

    def at_random(self, circuit: Sequence[Node], candidates: Sequence[Node], n: int, seed: int) -> RandomCircuits:
        """Faithfulness of random circuits like this one."""
        generator = random.Random(f"{seed} {len(circuit)}")
        return of_random([self.faithfulness(random_circuit(circuit, candidates, generator)).value for _ in range(n)])

    def _nodes(self, circuit: Sequence[Node], errors: str) -> Sequence[Node]:
        return without_errors(circuit, errors)

    def _metric(self, run: RunFn, circuit: Sequence[Node], layers: Sequence[int], every_error: bool = False) -> Tensor:
        """Of each pair. A circuit is a set: rankings that end in the same nodes are run once."""
        key = run, len(circuit), hash(frozenset(circuit)), tuple(layers), every_error
        if key not in self._known:
            self._known[key] = self._measured(run, circuit, layers, every_error)
        return self._known[key]

    @torch.no_grad()
    def _measured(self, run: RunFn, circuit: Sequence[Node], layers: Sequence[int], every_error: bool) -> Tensor:
        metrics = []
        for arms, base in zip(self.batches, self.bases, strict=True):
            cut = cut_of(circuit, layers, arms.n_pos, arms.device, every_error)
            metrics.append(run(arms, cut, base))
        return torch.cat(metrics)


def of_random(shares: Sequence[float | None]) -> RandomCircuits:
    """What is told of random circuits by the share that each of them keeps."""
    known = [value for value in shares if value is not None]
    mean, largest = (float(np.mean(known)), max(known)) if known else (None, None)
    return RandomCircuits(n=len(shares), mean=mean, largest=largest)


def without_errors(nodes: Sequence[Node], errors: str) -> list[Node]:
    """The nodes of which a circuit is made: where errors are kept or ablated as a whole, latents alone."""
    return [*nodes] if errors == NODES else [node for node in nodes if not node.is_error]


def sizes_of(sizes: Sequence[int], n: int) -> list[int]:
    """Those that are smaller than all `n` nodes, and all."""
    return [*sorted({size for size in sizes if 0 < size < n}), n]


def size_that_reaches(
    enough: float, sizes: Sequence[int], share_at: dict[int, float | None], measure: Callable[[int], float | None]
) -> int | None:
    """The smallest size with a share of `enough`, to a tenth: between the last size below and the first one above.

    None where no size reaches it. `share_at` has what is known, and is added to.
    """
    reaching = next((size for size in sizes if (share_at[size] or 0.0) >= enough), None)
    if reaching is None:
        return None
    low = max((size for size in sizes if size < reaching), default=0)
    while reaching - low > max(1, reaching // 10):
        middle = (low + reaching) // 2
        share_at[middle] = measure(middle)
        low, reaching = (low, middle) if (share_at[middle] or 0.0) >= enough else (middle, reaching)
    return reaching
