"""Orders in which nodes come into a circuit, random circuits beside one, and what two nodes are alike in."""

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from phase6_error_circuits.circuits.config import ABSOLUTE, LAYERS, POSITIVE
from phase6_error_circuits.latents.nodes import Node

Key = tuple[int, str, int]


def ranked(importance: Mapping[Node, float], ranking: str) -> list[Node]:
    """Nodes in the order of a ranking, the first the most important.

    positive: those that support the clean answer, the largest first. absolute: all, by absolute value. layers: the
    positive ones, as many of each layer: the first of every layer, then the second of every layer.
    """
    if ranking == ABSOLUTE:
        return sorted(importance, key=lambda node: -abs(importance[node]))
    positive = sorted((node for node, value in importance.items() if value > 0), key=lambda node: -importance[node])
    if ranking == POSITIVE:
        return positive
    assert ranking == LAYERS, ranking
    seen: Counter[int] = Counter()
    places = {}
    for node in positive:
        places[node] = seen[node.layer]
        seen[node.layer] += 1
    return sorted(positive, key=lambda node: (places[node], -importance[node]))


def first_of_layers(nodes: Iterable[Node], n: int, layers: Iterable[int] | None = None) -> list[Node]:
    """The first `n` of each layer; of some layers where they are named."""
    wanted = None if layers is None else {*layers}
    seen: Counter[int] = Counter()
    first = []
    for node in nodes:
        if (wanted is None or node.layer in wanted) and seen[node.layer] < n:
            seen[node.layer] += 1
            first.append(node)
    return first


def random_circuit(circuit: Sequence[Node], candidates: Iterable[Node], generator: random.Random) -> list[Node]:
    """As many nodes of each layer, kind and position as the circuit has, drawn from the candidates.

    Of errors there is one at a position: theirs are drawn from all positions of the layer.
    """
    pools: defaultdict[Key, list[Node]] = defaultdict(list)
    for node in candidates:
        pools[_key(node)].append(node)
    wanted = Counter(_key(node) for node in circuit)
    return [node for key, n in sorted(wanted.items()) for node in generator.sample(pools[key], n)]


def _key(node: Node) -> Key:
    return node.layer, node.kind, -1 if node.is_error else node.pos
