"""One or two graphs on a page: one HTML file that needs no network.

graph_view.js draws a graph and shows its details, graph_page.js has what the
graphs share, graph_page.html.j2 the rest.

Prompts and labels are untrusted: the template escapes them, the script sets them as text only, and the page's policy
allows no script but its own.
"""

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from common.errors import ConfigError
from common.report.graphs.graph_document import GraphDocument, GraphNode, LogitEffect, Scalar
from common.report.graphs.influence_of_links import influence_of_links
from common.report.page import STYLE as REPORT_STYLE
from common.report.page import compiled, policy
from common.words import any_value, title_of

HERE = Path(__file__).parent
TEMPLATE, STYLE, SCRIPTS = "graph_page.html.j2", "graph_page.css", ("graph_view.js", "graph_page.js")
_DIGITS = 6  # significant ones: more than a reader sees, and half the bytes


def graph_page(documents: Sequence[GraphDocument]) -> bytes:
    """The page's HTML in UTF-8; two graphs stand side by side. Raises: ConfigError for another number of them.

    Half a surrogate pair, which a tokenizer can give, is written as an escape.
    """
    if not 1 <= len(documents) <= 2:
        raise ConfigError(f"a page shows one or two graphs, not {len(documents)}\nGive one or two")
    script = "\n".join((HERE / name).read_text() for name in SCRIPTS)
    html = compiled(HERE / TEMPLATE, words=_value_words, title=title_of).render(
        documents=documents,
        created=[_day(document) for document in documents],
        data=Markup(_inlined([page_data(document) for document in documents])),
        largest=_largest_influence(documents),
        policy=policy(script),
        style=Markup((HERE.parent / REPORT_STYLE).read_text() + (HERE / STYLE).read_text()),
        script=Markup(script),
    )
    return html.encode("utf-8", "backslashreplace")


def page_data(document: GraphDocument) -> dict[str, Any]:
    """What the script draws. Links are source, target, weight and influence, nodes by their place; strongest first."""
    places = {node.id: place for place, node in enumerate(document.nodes)}
    influence = influence_of_links(document)
    links = [
        [places[link.source], places[link.target], _short(link.weight), _short(flows)]
        for link, flows in zip(document.links, influence, strict=True)
    ]
    return {
        "slug": document.slug,
        "layers": document.n_layers,
        "tokens": document.tokens,
        "nodes": [_node_data(node) for node in document.nodes],
        "links": sorted(links, key=lambda link: -link[3]),
    }


def _node_data(node: GraphNode) -> dict[str, Any]:
    return {
        "id": node.id,
        "kind": node.kind,
        "layer": node.layer,
        "position": node.position,
        "index": node.index,
        "label": node.label,
        "activation": _short(node.activation),
        "influence": node.influence,  # not shortened: the slider's end must not hide the last node
        "effect": _short(node.signed_effect),
        "probability": _short(node.probability),
        "examples": [[each.before, each.token, each.after, _short(each.activation)] for each in node.examples],
        "promotes": _effects(node.promotes),
        "suppresses": _effects(node.suppresses),
    }


def _effects(effects: Sequence[LogitEffect]) -> list[list[Any]]:
    return [[each.token, _short(each.effect)] for each in effects]


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def _inlined(value: Any) -> str:
    """JSON that no HTML parser takes for the end of its script element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _value_words(value: Scalar) -> str:
    """As everywhere in the report, but for what three decimals would round to nothing: errors of a verification."""
    is_small = isinstance(value, float) and 0 < abs(value) < 0.001
    return f"{value:.1e}" if is_small else any_value(value)


def _largest_influence(documents: Sequence[GraphDocument]) -> float:
    """Where the slider ends: all nodes are shown there."""
    known = [node.influence for document in documents for node in document.nodes if node.influence is not None]
    return max(known, default=1.0)


def _day(document: GraphDocument) -> str:
    return datetime.datetime.fromtimestamp(document.origin.create_time_ms / 1000, datetime.UTC).date().isoformat()
