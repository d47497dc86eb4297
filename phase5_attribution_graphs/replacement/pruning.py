"""The part of a graph that is shown: nodes that hold most of the influence, and the edges between them.

1. Nodes with the largest influence are kept until they hold `node_share` of it; tokens and targets always.
2. Of the edges between them, weighted by the influence of what they enter, those are kept that hold `edge_share`.
3. Nodes that no longer lead anywhere, or latents that nothing leads to, are dropped, until none is left.

All of it is computed on the kept nodes alone: sorting the whole matrix takes longer than building it, and gives the
same. Source: circuit-tracer 0.5.0, prune_graph, whose result this equals.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.influence import influence, row_shares, totals
from phase5_attribution_graphs.settings import EDGE_SHARE, NODE_SHARE


@dataclass(frozen=True)
class Pruned:
    """`columns` that are kept, in order; `links` as (row, column) of the graph; `cumulative` influence of every column:
    of all nodes, the share that those as influential as it, or more, hold together."""

    columns: Int[Tensor, " kept"]
    links: Int[Tensor, "link 2"]
    cumulative: Float[Tensor, " column"]

    def latents(self, graph: Graph) -> Int[Tensor, " k"]:
        return self.columns[self.columns < graph.n_latents]


def prune(graph: Graph, node_share: float = NODE_SHARE, edge_share: float = EDGE_SHARE) -> Pruned:
    n, stop, n_tokens = graph.n_latents, graph.token_columns.stop, graph.n_pos
    reached = influence(graph)
    is_kept = reached >= _cut(reached, node_share)
    is_kept[-n_tokens:] = True
    columns = is_kept.nonzero()[:, 0]
    n_kept = int(is_kept[:n].sum())
    rows = torch.cat([columns[:n_kept], torch.arange(n, n + len(graph.weights))])
    edges = graph.edges[:, :stop][rows][:, columns]
    is_link, is_alive = _links(edges, graph.weights, n_kept, n_tokens, edge_share)
    row, column = is_link.nonzero(as_tuple=True)
    return Pruned(columns[is_alive], torch.stack([rows[row], columns[column]], 1), _cumulative(reached))


def _links(
    edges: Float[Tensor, "row kept"], weights: Tensor, n_latents: int, n_tokens: int, share: float
) -> tuple[Bool[Tensor, "row kept"], Bool[Tensor, " kept"]]:
    shares = row_shares(edges)
    start = (weights * shares[n_latents:]) @ edges[n_latents:].abs()
    of_columns = totals(edges[:n_latents], torch.arange(n_latents), shares[:n_latents], start, absolute=True)
    score = edges.abs() * (shares * torch.cat([of_columns[:n_latents], weights]))[:, None]
    is_link, is_alive = score >= _cut(score, share), torch.ones(edges.shape[1], dtype=torch.bool)
    while True:
        before = is_alive.clone()
        is_link[:, ~is_alive] = False
        is_link[:n_latents][~is_alive[:n_latents]] = False
        is_alive[:-n_tokens] &= is_link[:, :-n_tokens].any(0)
        is_alive[:n_latents] &= is_link[:n_latents].any(1)
        if torch.equal(before, is_alive):
            return is_link, is_alive


def _cut(values: Tensor, share: float) -> float:
    """The smallest value that is kept when the largest are kept until they make up `share` of the sum."""
    ranked = values.flatten().sort(descending=True).values
    index = int(torch.searchsorted(ranked.cumsum(0) / ranked.sum(), share))
    return float(ranked[min(index, len(ranked) - 1)])


def _cumulative(values: Float[Tensor, " column"]) -> Float[Tensor, " column"]:
    ranked = values.sort(descending=True)
    cumulative = torch.empty_like(values)
    cumulative[ranked.indices] = ranked.values.cumsum(0) / ranked.values.sum()
    return cumulative
