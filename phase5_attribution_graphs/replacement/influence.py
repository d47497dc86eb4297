"""How much each node of a graph matters to its targets: influence without a sign, and the signed effect.

- *Influence*: w (A + A^2 + ...), where A are absolute edges divided by their row's sum: the share of a target's inputs
  that comes from a node along all paths. It has no sign, so the most influential mix what raises and what lowers.
- *Signed effect*: C_s = edge(s, y) + sum over latents t of edge(s, t) C_t / a_t: what taking a node away takes from the
  target, gates and everything that is fixed as they are. Those of tokens, errors, constants and encoder biases add up
  to the target's value.

A latent's row reads earlier layers alone, so both are one pass over the rows, from the last to the first.

Source: circuit-tracer 0.5.0 (influence, replacement, completeness); Ameisen et al. 2025.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.handoffs.graphs import GraphScores
from phase5_attribution_graphs.replacement.graph import Graph

_ROWS_AT_ONCE = 256


def row_shares(edges: Float[Tensor, "row column"]) -> Float[Tensor, " row"]:
    """1 / the sum of each row's absolute edges."""
    sums = edges.new_empty(len(edges))
    for first, part in _absolute_parts(edges):
        sums[first : first + len(part)] = part.sum(1)
    return 1 / sums.clamp(min=1e-10)


def _absolute_parts(edges: Float[Tensor, "row column"]) -> Iterator[tuple[int, Tensor]]:
    """The first row of each part and its absolute edges, each in the same memory: pieces made anew lie scattered."""
    held = edges.new_empty(min(_ROWS_AT_ONCE, len(edges)), edges.shape[1])
    for first in range(0, len(edges), _ROWS_AT_ONCE):
        part = edges[first : first + _ROWS_AT_ONCE]
        yield first, torch.abs(part, out=held[: len(part)])


def totals(
    edges: Float[Tensor, "row column"],
    columns: Int[Tensor, " row"],
    factors: Float[Tensor, " row"],
    start: Float[Tensor, " column"],
    *,
    absolute: bool,
) -> Float[Tensor, " column"]:
    """start + what flows on through rows: each row hands on its own column's total times its factor.

    `columns` says which column a row's latent has; rows stand in the order of their columns, and reach earlier ones
    alone. Rows of one block may read each other: what they hand on among themselves is a triangle, and solved first.
    """
    total = start.clone()
    for last in range(len(edges), 0, -_ROWS_AT_ONCE):
        rows = slice(max(0, last - _ROWS_AT_ONCE), last)
        part = edges[rows].abs() if absolute else edges[rows]
        at, factor = columns[rows], factors[rows]
        among = torch.eye(len(at)) - factor[:, None] * part[:, at]
        reached = torch.linalg.solve_triangular(among, total[at][None], upper=False, left=False)[0]
        total += (reached * factor) @ part
    return total


def influence(graph: Graph, *, constants: bool = False) -> Float[Tensor, " column"]:
    """Of every column, summed over targets by their weights; constants are left out of all rows unless asked for."""
    n, stop = graph.n_latents, graph.edges.shape[1] if constants else graph.token_columns.stop
    edges = graph.edges[:, :stop]
    shares = row_shares(edges)
    start = (graph.weights * shares[n:]) @ edges[n:].abs()
    return totals(edges[:n], torch.arange(n), shares[:n], start, absolute=True)


def signed_effect(graph: Graph, target: int = 0) -> Float[Tensor, " column"]:
    """Of every column on one target, in units of its value."""
    n = graph.n_latents
    start = graph.edges[n + target]
    return totals(graph.edges[:n], torch.arange(n), 1 / graph.activation, start, absolute=False)


def scores(graph: Graph) -> GraphScores:
    n = graph.n_latents
    reached = influence(graph)
    errors, tokens = reached[graph.error_columns].sum(), reached[graph.token_columns].sum()
    open_share = 1 - _error_shares(graph)
    passing = torch.cat([reached[:n], graph.weights])
    explained = (open_share * passing).sum()
    with_constants = influence(graph, constants=True)
    roots = with_constants[n:].sum()
    value, effect = graph.values[n], signed_effect(graph)
    return GraphScores(
        replacement=float(tokens / (tokens + errors)),
        completeness=float((explained + errors + tokens) / (passing.sum() + errors + tokens)),
        completeness_of_nodes=float(explained / passing.sum()),
        errors_influence=float(with_constants[graph.error_columns].sum() / roots),
        constants_influence=float(with_constants[graph.constant_columns].sum() / roots),
        errors_direct=float(graph.edges[n, graph.error_columns].sum() / value),
        errors_signed=float(effect[graph.error_columns].sum() / value),
    )


def _error_shares(graph: Graph) -> Float[Tensor, " row"]:
    """The share of each row's absolute edges that comes from errors."""
    stop = graph.token_columns.stop
    shares = row_shares(graph.edges[:, :stop])
    return graph.edges[:, graph.error_columns].abs().sum(1) * shares
