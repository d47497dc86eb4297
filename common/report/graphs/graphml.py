"""A graph as GraphML, for programs that know nothing of language models: networkx, Gephi, Cytoscape, yEd.

Keys are typed; what is not known has no entry. Examples and logit effects of latents are only in the JSON.
"""

import re
from typing import Any
from xml.etree import ElementTree

from common.report.graphs.graph_document import GraphDocument
from common.report.graphs.influence_of_links import influence_of_links

_NAMESPACE = "http://graphml.graphdrawing.org/xmlns"
_GRAPH_KEYS = {"slug": "string", "model": "string", "prompt": "string", "logit_convention": "string"}
_NODE_KEYS = {
    "kind": "string",
    "layer": "int",
    "position": "int",
    "token": "string",
    "index": "int",
    "label": "string",
    "activation": "double",
    "influence": "double",
    "signed_effect": "double",
    "probability": "double",
}
_LINK_KEYS = {"weight": "double", "influence": "double"}
_NOT_IN_XML = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2; \r is read as \n


def to_graphml(document: GraphDocument) -> bytes:
    """The file in UTF-8. Characters that XML cannot hold, as tokens of single bytes have, stand as `\\x07`."""
    root = ElementTree.Element("graphml", xmlns=_NAMESPACE)
    for domain, keys in (("graph", _GRAPH_KEYS), ("node", _NODE_KEYS), ("edge", _LINK_KEYS)):
        for name, kind in keys.items():
            described = {"id": f"{domain}_{name}", "for": domain, "attr.name": name, "attr.type": kind}
            ElementTree.SubElement(root, "key", described)
    graph = ElementTree.SubElement(root, "graph", id="graph", edgedefault="directed")
    _add_data(graph, "graph", {name: getattr(document, name) for name in _GRAPH_KEYS})
    for node in document.nodes:
        element = ElementTree.SubElement(graph, "node", id=node.id)
        values = vars(node) | {"token": document.tokens[node.position]}
        _add_data(element, "node", {name: values[name] for name in _NODE_KEYS})
    for link, influence in zip(document.links, influence_of_links(document), strict=True):
        element = ElementTree.SubElement(graph, "edge", source=link.source, target=link.target)
        _add_data(element, "edge", {"weight": link.weight, "influence": influence})
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _add_data(element: ElementTree.Element, domain: str, values: dict[str, Any]) -> None:
    for name, value in values.items():
        if value is not None:
            ElementTree.SubElement(element, "data", key=f"{domain}_{name}").text = _xml_text(value)


def _xml_text(value: Any) -> str:
    return _NOT_IN_XML.sub(lambda match: match[0].encode("unicode_escape").decode(), str(value))
