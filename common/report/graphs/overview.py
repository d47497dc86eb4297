"""A small drawing of a graph for the report: layers by positions, the nodes that add or take most, their links.

It has no text of its own but tokens and layers, no script, and the page's colours.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from xml.etree import ElementTree

from markupsafe import Markup

from common.report.graphs.graph_document import GraphDocument, GraphLink, GraphNode, NodeKind
from common.report.graphs.influence_of_links import strongest_links

N_NODES, N_LINKS = 60, 120
_PITCH, _ROW, _GAP, _LETTER, _LEFT, _FOOT = 9, 20, 8, 5.4, 34, 16  # units of the drawing, pixels at its natural width
_LONGEST_TOKEN = 10
_ADDS, _TAKES, _QUIET, _INK, _PAPER = (f"var(--{name})" for name in ("accent", "warn", "quiet", "ink", "paper"))
_TEXT = f"font: 9px var(--mono); fill: {_QUIET}"


@dataclass(frozen=True)
class _Place:
    x: float
    y: float


def overview(document: GraphDocument, n_nodes: int = N_NODES, n_links: int = N_LINKS) -> Markup:
    """An inline SVG element with the `n_nodes` latents and errors of largest |signed effect|, all tokens and logits.

    Between them the `n_links` links with most influence.
    """
    shown = _shown(document, n_nodes)
    widths = _widths(document, shown)
    starts = [_LEFT + sum(widths[:position]) for position in range(len(widths))]
    width, height = _LEFT + sum(widths), (document.n_layers + 2) * _ROW + _FOOT
    places = _places(shown, starts, height - _FOOT)
    words = f"Attribution graph of {document.slug}: layers from below, positions from left"
    style = f"max-width: 100%; width: {width:.0f}px; height: auto"
    box = {"viewBox": f"0 0 {width:.0f} {height}", "role": "img", "aria-label": words, "style": style}
    svg = ElementTree.Element("svg", {"class": "graph-overview", **box})
    _add_words(svg, document, starts, height)
    links = (link for link in strongest_links(document) if {link.source, link.target} <= places.keys())
    _add_links(svg, islice(links, n_links), places)
    for node in shown:
        _add_node(svg, node, places[node.id])
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _shown(document: GraphDocument, n_nodes: int) -> list[GraphNode]:
    inner = [node for node in document.nodes if node.kind in (NodeKind.LATENT, NodeKind.ERROR)]
    inner.sort(key=lambda node: -abs(node.signed_effect or 0))
    return [node for node in document.nodes if node.kind in (NodeKind.TOKEN, NodeKind.LOGIT)] + inner[:n_nodes]


def _row(node: GraphNode) -> int:
    """Tokens below, then the layers, logits right above the last one."""
    if node.kind is NodeKind.TOKEN:
        return 0
    return node.layer if node.kind is NodeKind.LOGIT else node.layer + 1


def _widths(document: GraphDocument, shown: Iterable[GraphNode]) -> list[float]:
    """Of each position's column: room for its token, and for its fullest cell."""
    widths = [len(_token(token)) * _LETTER + _GAP for token in document.tokens]
    for (position, _), n in Counter((node.position, _row(node)) for node in shown).items():
        widths[position] = max(widths[position], n * _PITCH + _GAP)
    return widths


def _places(shown: Iterable[GraphNode], starts: list[float], bottom: float) -> dict[str, _Place]:
    taken: Counter[tuple[int, int]] = Counter()
    places = {}
    for node in shown:
        cell = node.position, _row(node)
        x = starts[node.position] + _GAP / 2 + (taken[cell] + 0.5) * _PITCH
        places[node.id] = _Place(x, bottom - (cell[1] + 0.5) * _ROW)
        taken[cell] += 1
    return places


def _token(token: str) -> str:
    text = token.replace("\n", "⏎").replace(" ", "·")
    return text if len(text) <= _LONGEST_TOKEN else text[: _LONGEST_TOKEN - 1] + "…"


def _add_words(svg: ElementTree.Element, document: GraphDocument, starts: list[float], height: float) -> None:
    rows = ["token", *map(str, range(document.n_layers)), "logit"]
    words = [(2.0, height - _FOOT - (row + 0.5) * _ROW + 3, text) for row, text in enumerate(rows)]
    words += [(start + _GAP / 2, height - 4, _token(text)) for start, text in zip(starts, document.tokens, strict=True)]
    group = ElementTree.SubElement(svg, "g", style=_TEXT)
    for x, y, text in words:
        ElementTree.SubElement(group, "text", x=f"{x:.1f}", y=f"{y:.1f}").text = text


def _add_links(svg: ElementTree.Element, links: Iterable[GraphLink], places: dict[str, _Place]) -> None:
    group = ElementTree.SubElement(svg, "g", style="fill: none; opacity: 0.35")
    for link in links:
        source, target = places[link.source], places[link.target]
        middle = f"{(source.y + target.y) / 2:.1f}"
        bend = f"{source.x:.1f} {middle} {target.x:.1f} {middle} {target.x:.1f} {target.y:.1f}"
        line = f"M{source.x:.1f} {source.y:.1f}C{bend}"
        ElementTree.SubElement(group, "path", d=line, style=f"stroke: {_ADDS if link.weight > 0 else _TAKES}")


def _add_node(svg: ElementTree.Element, node: GraphNode, place: _Place) -> None:
    effect = node.signed_effect or 0
    colour = _INK if node.kind is NodeKind.LOGIT else _ADDS if effect > 0 else _TAKES if effect < 0 else _QUIET
    if node.kind is NodeKind.LATENT:
        ElementTree.SubElement(
            svg, "circle", cx=f"{place.x:.1f}", cy=f"{place.y:.1f}", r="3.5", style=f"fill: {colour}"
        )
    else:
        style = f"fill: {_PAPER}; stroke: {colour}" if node.kind is NodeKind.ERROR else f"fill: {colour}"
        corner = {"x": f"{place.x - 3:.1f}", "y": f"{place.y - 3:.1f}"}
        ElementTree.SubElement(svg, "rect", {**corner, "width": "6", "height": "6", "style": style})
