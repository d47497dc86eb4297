"""The files of each graph: JSON, GraphML, what was verified, and for some a page of their own."""

import datetime
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from common.files import json_bytes
from common.report.graphs.graph_document import GraphDocument
from common.report.graphs.graphml import to_graphml
from common.report.graphs.neuronpedia import from_neuronpedia, neuronpedia_bytes
from common.report.graphs.page import graph_page
from common.runs.artifacts import ArtifactWriter

GRAPH, GRAPHML, VERIFICATION, PAGE = "graph.json", "graph.graphml", "verification.json", "graph.html"


def write_graphs(out: ArtifactWriter, rows: Sequence[dict[str, Any]], n_pages: int) -> None:
    """A folder for each row of graphs.parquet; the first graphs of each behaviour get pages."""
    made_at = int(datetime.datetime.now(datetime.UTC).timestamp() * 1000)
    seen: Counter[str] = Counter()
    for row in rows:
        document, behaviour = document_of(row, made_at), row["behaviour"]
        seen[behaviour] += 1
        files = files_of(document, json.loads(row["verification"]), with_page=seen[behaviour] <= n_pages)
        for name, data in files.items():
            out.file(f"graphs/{document.slug}/{name}", data)


def document_of(row: dict[str, Any], made_at: int = 0) -> GraphDocument:
    """The graph of a row of graphs.parquet; `made_at` in milliseconds since 1970."""
    document = from_neuronpedia(json.loads(row["graph"]))
    return replace(document, origin=replace(document.origin, create_time_ms=made_at))


def files_of(document: GraphDocument, verification: dict[str, Any], *, with_page: bool) -> dict[str, bytes]:
    """By file name."""
    files = {
        GRAPH: neuronpedia_bytes(document),
        GRAPHML: to_graphml(document),
        VERIFICATION: json_bytes(verification),
    }
    if with_page:
        files[PAGE] = graph_page([document])
    return files
