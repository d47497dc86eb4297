"""Which nodes stand in many graphs of one behaviour, beside graphs for shuffled answers.

A node is a latent at a role (roles.py). Of each: the share of graphs that show it, and its signed effect as a share of
what is explained, with bootstrap intervals over prompts. The null: the same prompts, each with the answers of another
prompt of its behaviour. What such a graph shows as often belongs to the prompts, not to the answer.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from common.evaluation.bootstrap import draws_of_problems, interval
from common.handoffs.graphs import FrequentNode

Node = tuple[int, int, str]  # layer, latent, role


@dataclass(frozen=True)
class ShownNodes:
    """Of one prompt: effects of the nodes shown, as shares of the value explained; and what its null graph shows."""

    effects: Mapping[Node, float]
    shuffled: frozenset[Node]


def frequent_nodes(
    graphs: Sequence[ShownNodes], min_frequency: float, n_resamples: int, seed: int
) -> list[FrequentNode]:
    """Those in at least that share of the graphs, the most frequent first."""
    count: dict[Node, int] = defaultdict(int)
    for graph in graphs:
        for node in graph.effects:
            count[node] += 1
    kept = [node for node, n in count.items() if n >= min_frequency * len(graphs)]
    draws = draws_of_problems(len(graphs), n_resamples, seed) / len(graphs)
    frequent = [_frequent(node, graphs, draws) for node in kept]
    return sorted(
        frequent, key=lambda one: (-one.frequency.known, -abs(one.effect.known), one.layer, one.latent, one.role)
    )


def _frequent(node: Node, graphs: Sequence[ShownNodes], draws: np.ndarray) -> FrequentNode:
    shown = np.array([node in graph.effects for graph in graphs], float)
    shuffled = np.array([node in graph.shuffled for graph in graphs], float)
    effects = np.array([graph.effects.get(node, 0.0) for graph in graphs])
    excess = interval((shown - shuffled).mean(), draws @ (shown - shuffled))
    layer, latent, role = node
    return FrequentNode(
        layer=layer,
        latent=latent,
        role=role,
        n=int(shown.sum()),
        frequency=interval(shown.mean(), draws @ shown),
        effect=interval(effects.mean(), draws @ effects),
        shuffled=float(shuffled.mean()),
        excess=excess,
        beyond_shuffled=bool(excess.low is not None and excess.low > 0),
    )


def as_row(behaviour: str, node: FrequentNode) -> dict[str, Any]:
    """A row of nodes.parquet."""
    row: dict[str, Any] = {"behaviour": behaviour, "layer": node.layer, "latent": node.latent, "role": node.role}
    row |= {"n": node.n, "shuffled": node.shuffled, "beyond_shuffled": node.beyond_shuffled}
    for name in ("frequency", "effect", "excess"):
        estimate = getattr(node, name)
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
    return row
