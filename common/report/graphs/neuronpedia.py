"""A graph as the JSON that Neuronpedia and circuit-tracer's page read, and back.

The schema is Neuronpedia's "Anthropic Attribution Graph" 1.0.0, which allows keys of one's own: with them a graph that
is read back equals the one that was written.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from common.errors import ConfigError
from common.report.graphs.graph_check import check_graph
from common.report.graphs.graph_document import (
    TOKEN_LAYER,
    GraphDocument,
    GraphLink,
    GraphNode,
    LogitEffect,
    NodeKind,
    Origin,
    PruningSettings,
    TextExample,
)

SCHEMA_VERSION = 1  # `feature` is the Cantor pair of layer and latent
FEATURE_TYPES = {
    NodeKind.LATENT: "cross layer transcoder",  # what the pages know; also for transcoders of single layers
    NodeKind.ERROR: "mlp reconstruction error",
    NodeKind.TOKEN: "embedding",
    NodeKind.CONSTANT: "bias",
    NodeKind.LOGIT: "logit",
}
_KINDS = {name: kind for kind, name in FEATURE_TYPES.items()}
_TOKEN_LAYER_NAME = "E"
_ERROR_FEATURE = -1
_BEFORE_PROBABILITY = " (p="


def neuronpedia_bytes(document: GraphDocument, constants: bool = False) -> bytes:
    """The file: compact JSON, which holds no more than ASCII. Raises: PipelineError when a page could not show it."""
    graph = to_neuronpedia(document, constants)
    check_graph(graph)
    return json.dumps(graph, separators=(",", ":"), allow_nan=False).encode()


def to_neuronpedia(document: GraphDocument, constants: bool = False) -> dict[str, Any]:
    """The graph as JSON values. Constants and their links are left out unless asked for: most pages know none."""
    nodes = [node for node in document.nodes if constants or node.kind is not NodeKind.CONSTANT]
    first, left_out = document.targets[:1], {node.id for node in document.nodes} - {node.id for node in nodes}
    return {
        "metadata": _metadata(document),
        "qParams": {"pinnedIds": [], "supernodes": [], "linkType": "both", "clickedId": "", "sg_pos": ""},
        "nodes": [_node(node, is_target=node in first) for node in nodes],
        "links": [asdict(link) for link in document.links if not {link.source, link.target} & left_out],
    }


def from_neuronpedia(graph: Mapping[str, Any]) -> GraphDocument:
    """The document that `to_neuronpedia` wrote.

    Raises: ConfigError when a key is missing, as in files that other programs wrote.
    """
    try:
        return _document(graph)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"this JSON is no graph that `to_neuronpedia` wrote: {type(error).__name__}: {error}\n"
            "Give a graph's JSON file that this program made"
        ) from error


def cantor_pair(layer: int, latent: int) -> int:
    """One whole number for two: Cantor's pairing function."""
    return (layer + latent) * (layer + latent + 1) // 2 + latent


def _metadata(document: GraphDocument) -> dict[str, Any]:
    origin, pruning = document.origin, document.pruning
    generator = {"name": origin.generator_name, "version": origin.generator_version, "url": origin.generator_url}
    return {
        "slug": document.slug,
        "scan": document.model,
        "prompt_tokens": list(document.tokens),
        "prompt": document.prompt,
        "node_threshold": pruning.node_share,
        "schema_version": SCHEMA_VERSION,
        "transcoder_list": [],  # which circuit-tracer's page expects
        "info": {
            "creator_name": origin.creator_name,
            "source_urls": list(origin.source_urls),
            "generator": generator,
            "create_time_ms": origin.create_time_ms,
        },
        "generation_settings": dict(document.settings),
        "pruning_settings": {"node_threshold": pruning.node_share, "edge_threshold": pruning.edge_share},
        "n_layers": document.n_layers,
        "d_vocab": document.d_vocab,
        "scores": dict(document.scores),
        "verification": dict(document.verification),
        "logit_convention": document.logit_convention,
        "sink_token": document.sink_token,
        "notes": list(document.notes),
    }


def _node(node: GraphNode, is_target: bool) -> dict[str, Any]:
    return {
        "node_id": node.id,
        "feature": _feature(node),
        "layer": _TOKEN_LAYER_NAME if node.kind is NodeKind.TOKEN else str(node.layer),
        "ctx_idx": node.position,
        "feature_type": FEATURE_TYPES[node.kind],
        "jsNodeId": _js_node_id(node),
        "clerp": _clerp(node),
        "influence": node.influence,
        "activation": node.activation,
        "token_prob": node.probability or 0.0,
        "is_target_logit": is_target,
        "run_idx": 0,
        "reverse_ctx_idx": 0,
        "index": node.index,
        "signed_effect": node.signed_effect,
        "examples": [asdict(example) for example in node.examples],
        "promotes": [asdict(effect) for effect in node.promotes],
        "suppresses": [asdict(effect) for effect in node.suppresses],
    }


def _feature(node: GraphNode) -> int | None:
    match node.kind:
        case NodeKind.LATENT:
            return cantor_pair(node.layer, node.index or 0)
        case NodeKind.ERROR:
            return _ERROR_FEATURE
        case NodeKind.TOKEN:
            return node.position
        case NodeKind.LOGIT:
            return node.index
        case NodeKind.CONSTANT:
            return None


def _js_node_id(node: GraphNode) -> str:
    match node.kind:
        case NodeKind.LATENT:
            return f"{node.layer}_{node.index}-0"
        case NodeKind.ERROR:
            return f"{node.layer}_-1-{node.position}"
        case NodeKind.TOKEN:
            return f"E_{node.index}-{node.position}"
        case NodeKind.LOGIT:
            return f"L_{node.index}-{node.position}"
        case NodeKind.CONSTANT:
            return f"{node.layer}_bias-{node.position}"


def _clerp(node: GraphNode) -> str:
    """The label; of a logit with the probability, which the pages read out of it."""
    return (
        f"{node.label}{_BEFORE_PROBABILITY}{node.probability or 0:.3f})" if node.kind is NodeKind.LOGIT else node.label
    )


def _document(graph: Mapping[str, Any]) -> GraphDocument:
    metadata = graph["metadata"]
    info, pruning = metadata["info"], metadata["pruning_settings"]
    generator = info["generator"]
    return GraphDocument(
        slug=metadata["slug"],
        model=metadata["scan"],
        prompt=metadata["prompt"],
        tokens=tuple(metadata["prompt_tokens"]),
        n_layers=metadata["n_layers"],
        d_vocab=metadata["d_vocab"],
        nodes=tuple(map(_node_back, graph["nodes"])),
        links=tuple(GraphLink(link["source"], link["target"], link["weight"]) for link in graph["links"]),
        pruning=PruningSettings(pruning["node_threshold"], pruning["edge_threshold"]),
        origin=Origin(
            create_time_ms=info["create_time_ms"],
            creator_name=info["creator_name"],
            source_urls=tuple(info["source_urls"]),
            generator_name=generator["name"],
            generator_version=generator["version"],
            generator_url=generator["url"],
        ),
        scores=metadata["scores"],
        verification=metadata["verification"],
        settings=metadata["generation_settings"],
        logit_convention=metadata["logit_convention"],
        sink_token=metadata["sink_token"],
        notes=tuple(metadata["notes"]),
    )


def _node_back(entry: Mapping[str, Any]) -> GraphNode:
    kind = _KINDS[entry["feature_type"]]
    is_logit = kind is NodeKind.LOGIT
    return GraphNode(
        kind=kind,
        layer=TOKEN_LAYER if kind is NodeKind.TOKEN else int(entry["layer"]),
        position=entry["ctx_idx"],
        index=entry["index"],
        label=entry["clerp"].rpartition(_BEFORE_PROBABILITY)[0] if is_logit else entry["clerp"],
        activation=entry["activation"],
        influence=entry["influence"],
        signed_effect=entry["signed_effect"],
        probability=entry["token_prob"] if is_logit else None,
        examples=tuple(TextExample(**example) for example in entry["examples"]),
        promotes=tuple(LogitEffect(**effect) for effect in entry["promotes"]),
        suppresses=tuple(LogitEffect(**effect) for effect in entry["suppresses"]),
    )
