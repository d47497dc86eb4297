"""Rows of the tables of phase 6.4."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.handoffs.error_latent_circuits import ErrorLatentCircuit
from common.handoffs.estimates import Interval
from common.tables import TableRow
from phase6_error_circuits.circuits.config import POSITIVE
from phase6_error_circuits.circuits.ranking import ranked
from phase6_error_circuits.latents.nodes import NO_LATENT, Node
from phase6_error_circuits.latents.studied import StudiedShape


def node_of(values: Sequence[Any]) -> Node:
    """A node that was written as JSON."""
    layer, pos, latent = values
    return Node(layer, pos, latent)


def curve_rows(circuit: ErrorLatentCircuit) -> list[TableRow]:
    """Rows of curves.parquet."""
    known = {name: getattr(circuit, name) for name in ("contrast", "format", "template", "shape")}
    return [
        {
            **known,
            "split": curve.split,
            "ranking": curve.ranking,
            "ablation": curve.ablation,
            "error_nodes": curve.error_nodes,
            "size": point.size,
            "errors": point.errors,
            **_estimate("faithfulness", point.faithfulness),
            **_estimate("completeness", point.completeness),
            "random": point.random and point.random.mean,
            "random_largest": point.random and point.random.largest,
        }
        for curve in circuit.curves
        for point in curve.points
    ]


def circuit_rows(
    shape: StudiedShape, importance: Mapping[Node, float], mask: Iterable[Sequence[Any]]
) -> list[TableRow]:
    """Rows of circuit.parquet; `mask` has layer, position, latent and how far a node is open."""
    opened = {node_of(values[:3]): values[3] for values in mask}
    return [
        {
            **_shape(shape),
            "rank": rank,
            **node_columns(node, shape),
            "ig": importance[node],
            "mask": opened.get(node),
        }
        for rank, node in enumerate(ranked(importance, POSITIVE))
    ]


def edge_rows(shape: StudiedShape, links: Iterable[Sequence[Any]]) -> list[TableRow]:
    """Rows of edges.parquet."""
    rows = []
    for source, target, weight, skip, attention, mlp, *tried in links:
        ends = {
            f"{end}_{name}": value
            for end, values in (("source", source), ("target", target))
            for name, value in node_columns(node_of(values), shape).items()
        }
        parts = {"weight": weight, "skip": skip, "attention": attention, "mlp": mlp}
        rows.append({**_shape(shape), **ends, **parts, **dict(zip(("noising", "denoising"), tried, strict=True))})
    return rows


def node_columns(node: Node, shape: StudiedShape) -> TableRow:
    """What a table says of a node."""
    return {
        "layer": node.layer,
        "kind": node.kind,
        "latent": NO_LATENT if node.latent is None else node.latent,
        "position": node.pos + shape.example.code_start,
        "place": shape.places[node.pos],
    }


def _shape(shape: StudiedShape) -> TableRow:
    return {"contrast": shape.contrast, "template": shape.template, "shape": shape.shape}


def _estimate(name: str, estimate: Interval) -> TableRow:
    return {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
