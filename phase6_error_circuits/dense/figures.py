"""Figures of phase 6.4b: circuits by size, and directions by layer."""

from collections.abc import Mapping
from typing import Any

from common.handoffs.error_dense import DenseCurves, ErrorDenseDocument
from common.plots import BLUE, COLOURS, GREY, ORANGE, error_bars, log_counts, new_figure, svg_bytes, whole_numbers

CAPTIONS = {
    "dense_circuits": (
        "Circuits of heads and neurons",
        "Horizontal: heads and neurons in the circuit, at positions. Vertical: share of the total, with 95 % intervals "
        "over pairs: of the circuit alone, of all but the circuit, and of as many random nodes.",
    ),
    "dense_directions": (
        "Mean differences as directions",
        "Horizontal: layer. Vertical: share of the total of held-out pairs that comes back along the mean difference "
        "of the pairs that select, by named position; dotted: with each pair's whole difference.",
    ),
}
_CURVES = {"faithfulness": (BLUE, "o"), "completeness": (ORANGE, "s"), "random": (GREY, "x")}


def all_figures(result: ErrorDenseDocument, select: DenseCurves) -> Mapping[str, bytes]:
    """Figures by file name."""
    title = f"{result.contrast}, {result.format}, {result.pairs.template}"
    drawn = {"dense_circuits.svg": circuits(result, select, title)}
    return drawn | ({"dense_directions.svg": directions(result, title)} if result.directions else {})


def circuits(result: ErrorDenseDocument, select: DenseCurves, title: str) -> bytes:
    with new_figure(9, 3.6, n_columns=2) as (figure, axes):
        figure.suptitle(title, fontsize=9)
        both = {"pairs that select": select, "held-out pairs": result.held_out}
        for axis, (name, one) in zip(axes, both.items(), strict=True):
            _draw_curves(axis, result.sizes, one)
            axis.set(title=f"{name}, {one.n}", xlabel="heads and neurons", ylabel="share of the total")
        axes[0].legend()
        return svg_bytes(figure, "dense-circuits")


def _draw_curves(axis: Any, sizes: list[int], one: DenseCurves) -> None:
    for name, (color, marker) in _CURVES.items():
        shares = getattr(one, name)
        values = [share.known for share in shares]
        style = {"color": color, "marker": marker, "markersize": 4, "capsize": 2, "label": name}
        axis.errorbar(sizes, values, yerr=error_bars(shares), **style)
    for level in (0, 1):
        axis.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
    log_counts(axis)


def directions(result: ErrorDenseDocument, title: str) -> bytes:
    positions = list(dict.fromkeys(one.position for one in result.directions))
    with new_figure(6, 3.6) as (figure, axis):
        for number, name in enumerate(positions):
            there = [one for one in result.directions if one.position == name]
            layers, color = [one.layer for one in there], COLOURS[number % len(COLOURS)]
            axis.plot(layers, [one.direction.known for one in there], color=color, marker="o", markersize=3, label=name)
            axis.plot(layers, [one.whole.known for one in there], color=color, linestyle=":")
        axis.axhline(0, color=GREY, linewidth=0.8)
        axis.set(title=title, xlabel="layer", ylabel="share of held-out total")
        whole_numbers(axis.xaxis)
        axis.legend()
        return svg_bytes(figure, "dense-directions")
