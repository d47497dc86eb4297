"""A circuit as a graph of phase 5's form, so that the same JSON and the same offline page serve: nodes and their edges.

The prompt is one of the pairs. A node's signed effect is its importance as a share of the whole effect, its influence
the share of all absolute importance that it and all stronger nodes have. Weights of links are shares of the effect too.
Nodes of the last layer with a dictionary have a link to the logit difference, of their own importance.
"""

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from common.handoffs.error_attribution import TopLatent
from common.model.registry import shown_name
from common.report.graphs.graph_document import (
    GraphDocument,
    GraphLink,
    GraphNode,
    LogitEffect,
    NodeKind,
    Origin,
    PruningSettings,
    contrast_node,
    error_node,
    token_node,
)
from common.report.graphs.graphml import to_graphml
from common.report.graphs.neuronpedia import neuronpedia_bytes
from common.report.graphs.page import graph_page
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.studied import StudiedShape

GRAPH, GRAPHML, PAGE = "graph.json", "graph.graphml", "graph.html"
N_NODES = 60  # of the ranking, where there are no edges
Known = Mapping[tuple[int, int], TopLatent]  # what phase 6.3 tells of the strongest latents


def circuit_graph(
    shape: StudiedShape,
    tokenizer: Any,
    model: str,
    layers: tuple[int, int],
    importance: Mapping[Node, float],
    links: Sequence[tuple[Node, Node, float]],
    effect: float,
    known: Known,
    scores: Mapping[str, float | None],
) -> GraphDocument:
    """The document; `layers` are how many the model has, and the last one with a dictionary."""
    example, (n_layers, last_layer) = shape.example, layers
    tokens = tuple(str(tokenizer.decode([token])) for token in example.clean_ids)
    end, d_vocab = len(tokens) - 1, len(tokenizer)
    right, wrong = (str(tokenizer.decode([token])) for token in example.answers)
    ranks = _cumulative(importance)
    nodes = {
        node: _graph_node(node, example.code_start, value / effect, ranks[node], known)
        for node, value in importance.items()
    }
    target = contrast_node(n_layers, d_vocab, right, wrong, end)
    used = sorted({node.position for node in nodes.values()})
    words = [token_node(example.clean_ids[pos], pos, label=tokens[pos]) for pos in used]
    drawn = [
        GraphLink(nodes[source].id, nodes[into].id, weight / effect)
        for source, into, weight in links
        if source in nodes and into in nodes
    ]
    drawn += [
        GraphLink(nodes[node].id, target.id, value / effect)
        for node, value in importance.items()
        if node.layer == last_layer
    ]
    return GraphDocument(
        slug=slug_of(shape),
        model=shown_name(model),
        prompt="".join(tokens),
        tokens=tokens,
        n_layers=n_layers,
        d_vocab=d_vocab,
        nodes=(*nodes.values(), *words, target),
        links=tuple(drawn),
        pruning=PruningSettings(1.0, 1.0),
        origin=Origin(create_time_ms=int(datetime.datetime.now(datetime.UTC).timestamp() * 1000)),
        scores=dict(scores),
        settings={"contrast": shape.contrast, "template": shape.template, "pairs": len(shape.select)},
        notes=(
            f"A circuit of {shape.contrast}, found on {len(shape.select)} pairs; the prompt is the first clean one.",
            "Effects and weights are means over these pairs, as shares of the whole effect on the logit difference.",
        ),
    )


def slug_of(shape: StudiedShape) -> str:
    return re.sub(r"[^\w-]+", "-", shape.contrast)


def files_of(document: GraphDocument) -> dict[str, bytes]:
    """By file name."""
    return {
        GRAPH: neuronpedia_bytes(document),
        GRAPHML: to_graphml(document),
        PAGE: graph_page([document]),
    }


def _cumulative(importance: Mapping[Node, float]) -> dict[Node, float]:
    whole, so_far, shares = sum(map(abs, importance.values())) or 1.0, 0.0, {}
    for node, value in sorted(importance.items(), key=lambda entry: -abs(entry[1])):
        so_far += abs(value) / whole
        shares[node] = min(so_far, 1.0)
    return shares


def _graph_node(node: Node, offset: int, effect: float, influence: float, known: Known) -> GraphNode:
    told: dict[str, Any] = {"signed_effect": effect, "influence": influence}
    if node.latent is None:
        return error_node(node.layer, node.pos + offset, **told)
    if top := known.get((node.layer, node.latent)):
        for name in ("promotes", "suppresses"):
            told[name] = tuple(LogitEffect(one.token, one.effect) for one in getattr(top, name) or ())
        told["label"] = " ".join(one.token.strip() for one in (top.promotes or ())[:3])
    return GraphNode(NodeKind.LATENT, node.layer, node.pos + offset, node.latent, **told)
