"""What `run.py trace` tells of single edges, on request, as CSV: their heads, and weights that no prompt changes."""

import csv
import io

import torch

from phase5_attribution_graphs.graphs.explaining import Explained
from phase5_attribution_graphs.replacement.head_loadings import head_loadings
from phase5_attribution_graphs.replacement.virtual_weights import virtual_weights

HEAD_LOADINGS, VIRTUAL_WEIGHTS = "head_loadings.csv", "virtual_weights.csv"
BYPASS = "bypass"  # what runs past a layer's attention


def heads_of_edges(explained: Explained, n: int) -> bytes:
    """The `n` strongest edges shown, each at every layer between its ends: a row for each head and one for the rest."""
    graph, links = explained.graph, explained.pruned.links
    weights = graph.edges[links[:, 0], links[:, 1]].abs()
    rows = []
    for place in weights.argsort(descending=True)[:n].tolist():
        row, column = links[place].tolist()
        loadings = head_loadings(graph, explained.model, explained.targets, row, column)
        ends = [node_name(explained, column), _row_name(explained, row), loadings.edge]
        for number, layer in enumerate(loadings.layers):
            rows.append([*ends, layer, BYPASS, float(loadings.bypass[number])])
            rows += [[*ends, layer, head, value] for head, value in enumerate(loadings.heads[number].tolist())]
    return _csv(["source", "target", "edge", "layer", "head", "carries"], rows)


def weights_of_edges(explained: Explained) -> bytes:
    """Edges between latents that are shown: the virtual weight, and the part of the edge that it explains."""
    graph, kept = explained.graph, explained.pruned.latents(explained.graph)
    weights = virtual_weights(graph, explained.model, kept)
    place = torch.full((graph.edges.shape[1],), -1)
    place[kept] = torch.arange(len(kept))
    rows = []
    for row, column in explained.pruned.links.tolist():
        if row < graph.n_latents and column < graph.n_latents:
            target, source = int(place[row]), int(place[column])
            values = [float(one[target, source]) for one in (weights.edges, weights.direct, weights.virtual)]
            rows.append([node_name(explained, column), _row_name(explained, row), *values])
    return _csv(["source", "target", "edge", "direct_path", "virtual_weight"], rows)


def node_name(explained: Explained, column: int) -> str:
    """A source's name, as in graph.json."""
    graph = explained.graph
    if column < graph.n_latents:
        return f"{graph.layer[column]}_{graph.latent[column]}_{graph.pos[column]}"
    if column < graph.error_columns.stop:
        layer, pos = divmod(column - graph.n_latents, graph.n_pos)
        return f"{layer}_-1_{pos}"
    pos = column - graph.token_columns.start
    return f"E_{graph.tokens[pos]}_{pos}"


def _row_name(explained: Explained, row: int) -> str:
    n = explained.graph.n_latents
    return node_name(explained, row) if row < n else explained.targets[row - n].name


def _csv(columns: list[str], rows: list[list]) -> bytes:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return written.getvalue().encode()
