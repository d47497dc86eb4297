"""What the pages that show a graph's JSON need beyond the published schema. They break, or mislead, without a word."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from common.errors import PipelineError

_MEND = "Make the file anew from the graph, or mend it there"


def check_graph(graph: dict[str, Any]) -> None:
    """Raises: PipelineError, naming the first thing that is wrong."""
    try:
        fault = next(_faults(graph), None)
    except KeyError as error:
        fault = f"it has no {error}"
    if fault:
        name = graph.get("metadata", {}).get("slug")
        raise PipelineError(f"the graph {name!r} cannot be shown: {fault}\n{_MEND}")


def _faults(graph: dict[str, Any]) -> Iterator[str]:
    nodes, n_tokens = graph["nodes"], len(graph["metadata"]["prompt_tokens"])
    for name, times in Counter(node["node_id"] for node in nodes).items():
        if times > 1:
            yield f"{times} nodes have the id {name}"
    for node in nodes:
        yield from _faults_of_node(node, n_tokens)
    yield from _faults_of_links(graph)
    yield from (f"{place} is {value}, not a finite number" for place, value in _not_finite(graph))


def _faults_of_node(node: dict[str, Any], n_tokens: int) -> Iterator[str]:
    name, position, influence = node["node_id"], node["ctx_idx"], node.get("influence")
    if not 0 <= position < n_tokens:
        yield f"node {name} is at position {position} of a prompt of {n_tokens} tokens"
    if node["feature_type"] == "logit" and "(p=" not in node["clerp"]:
        yield f"the label of logit {name} holds no '(p=', where pages look for its probability: {node['clerp']!r}"
    if influence is not None and not 0 <= influence <= 1 + 1e-6:  # a sum of shares may end a little above 1
        yield f"node {name} has a cumulative influence of {influence}, not 0 to 1"


def _faults_of_links(graph: dict[str, Any]) -> Iterator[str]:
    known = {node["node_id"] for node in graph["nodes"]}
    pairs: set[tuple[str, str]] = set()
    for link in graph["links"]:
        pair = link["source"], link["target"]
        yield from (f"a link {pair[0]} -> {pair[1]} names an unknown node {end}" for end in pair if end not in known)
        if pair in pairs:
            yield f"there are two links {pair[0]} -> {pair[1]}"
        pairs.add(pair)


def _not_finite(value: Any, place: str = "graph") -> Iterator[tuple[str, float]]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place, value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{place}.{key}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_finite(inner, f"{place}[{index}]")
