"""How much of the targets flows through each link: what decides which links are drawn, and how thick.

A link's weight alone does not: a large one may end in a node that hardly matters.
1. Each node's inputs are shares: |weight| over the sum of the |weights| of all links into it.
2. A target's influence is its probability. Any other node's is the sum over its outputs of share times influence of
   the output's node, the last layers first.
3. A link's influence is its share times the influence of the node that it ends in.
Source: Ameisen et al. 2025, "Circuit Tracing", transformer-circuits.pub; here on the links that pruning kept.
"""

from collections import defaultdict

from common.report.graphs.graph_document import GraphDocument, GraphLink


def influence_of_links(document: GraphDocument) -> list[float]:
    """For each link in the document's order, at least 0; those into one target sum to its probability."""
    layers = {node.id: node.layer for node in document.nodes}
    influence = defaultdict(float, {target.id: target.probability or 0.0 for target in document.targets})
    incoming: dict[str, list[tuple[int, GraphLink]]] = defaultdict(list)
    for place, link in enumerate(document.links):
        incoming[link.target].append((place, link))
    of_links = [0.0] * len(document.links)
    for target in sorted(incoming, key=lambda name: -layers[name]):
        whole = sum(abs(link.weight) for _, link in incoming[target])
        for place, link in incoming[target]:
            of_links[place] = influence[target] * abs(link.weight) / whole if whole else 0.0
            influence[link.source] += of_links[place]
    return of_links


def strongest_links(document: GraphDocument) -> list[GraphLink]:
    """All links, those with most influence first."""
    influence = influence_of_links(document)
    return [document.links[place] for place in sorted(range(len(influence)), key=lambda place: -influence[place])]
