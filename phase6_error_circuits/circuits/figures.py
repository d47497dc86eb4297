"""Figures of phase 6.4: faithfulness over the size of a circuit, of nodes and of edges."""

import math
from collections.abc import Sequence
from typing import Any

from common.handoffs.error_latent_circuits import Curve, CurvePoint, EdgeCircuits, EdgePoint, ErrorLatentCircuit
from common.handoffs.estimates import Interval
from common.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, log_counts, new_figure, svg_bytes
from phase6_error_circuits.circuits.config import NODES, POSITIVE, RESAMPLE
from phase6_error_circuits.pair import REPORT, SELECT

COLORS = (BLUE, ORANGE, GREEN, PURPLE)


def draw_curves(circuit: ErrorLatentCircuit) -> bytes:
    """Left: the positive ranking on both splits, its complement and random circuits. Right: the other rankings."""
    resample = [curve for curve in circuit.curves if (curve.ablation, curve.error_nodes) == (RESAMPLE, NODES)]
    positive = {curve.split: curve for curve in resample if curve.ranking == POSITIVE}
    with new_figure(10, 3.6, n_columns=2) as (figure, (left, right)):
        figure.suptitle(f"{circuit.contrast}, {circuit.template}", fontsize=9)
        for split, color, label in ((REPORT, BLUE, "held-out pairs"), (SELECT, ORANGE, "selecting pairs")):
            if split in positive:
                _line(left, positive[split], color, f"circuit, {label}")
        if REPORT in positive:
            points = positive[REPORT].points
            sizes = [point.size for point in points]
            left.plot(sizes, [point.completeness.value for point in points], color=PURPLE, label="all but the circuit")
            _at_random(left, points, "random circuits")
        held_out = [curve for curve in resample if curve.split == REPORT]
        for color, curve in zip(COLORS, held_out, strict=False):
            _line(right, curve, color, f"{curve.ranking} ranking")
        for axis in (left, right):
            _axes(axis, "nodes")
        return svg_bytes(figure, "faithfulness")


def draw_edges(edges: EdgeCircuits, title: str) -> bytes:
    """Circuits of edges, and of random ones."""
    with new_figure(5.5, 3.4) as (figure, axis):
        figure.suptitle(title, fontsize=9)
        sizes = [point.size for point in edges.points]
        _band(axis, sizes, [point.faithfulness for point in edges.points], BLUE, "largest edges")
        _at_random(axis, edges.points, "random edges")
        if edges.node_circuit.value is not None:
            axis.axhline(edges.node_circuit.value, color=ORANGE, linestyle="--", label="circuit of the nodes")
        _axes(axis, "edges")
        return svg_bytes(figure, "edges")


def _line(axis: Any, curve: Curve, color: str, label: str) -> None:
    _band(axis, [point.size for point in curve.points], [point.faithfulness for point in curve.points], color, label)


def _at_random(axis: Any, points: Sequence[CurvePoint] | Sequence[EdgePoint], label: str) -> None:
    tried = [(point.size, point.random.mean) for point in points if point.random is not None]
    known = [(size, mean) for size, mean in tried if mean is not None]
    axis.plot(*zip(*known, strict=True) if known else ([], []), color=GREY, marker=".", label=label)


def _band(axis: Any, sizes: Sequence[int], estimates: Sequence[Interval], color: str, label: str) -> None:
    known = [(size, one) for size, one in zip(sizes, estimates, strict=True) if one.value is not None]
    places = [size for size, _ in known]
    axis.plot(places, [one.value for _, one in known], color=color, marker="o", markersize=3, label=label)
    axis.fill_between(places, [one.low for _, one in known], [one.high for _, one in known], color=color, alpha=0.15)


def _axes(axis: Any, of: str) -> None:
    has_sizes = math.isfinite(axis.dataLim.minposx)  # not where no node supports the answer: then all of them are 0
    axis.axhline(0, color=GREY, linewidth=0.6)
    axis.axhline(1, color=GREY, linewidth=0.6, linestyle=":")
    axis.set(xlabel=of, ylabel="share of the effect, 95 % interval")
    if has_sizes:
        log_counts(axis)
    axis.legend(fontsize=7)
