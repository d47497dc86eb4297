"""Figures of phase 6.3: how much of each layer runs through errors, and where the nodes stand."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.handoffs.error_attribution import AttributedShape
from common.plots import BLUE, GREY, ORANGE, PURPLE, new_figure, svg_bytes
from phase6_error_circuits.latents.nodes import KINDS

_STYLES = {"exact": (BLUE, "o"), "signed": (ORANGE, "s"), "absolute": (PURPLE, "^")}


def draw_errors(shapes: Sequence[AttributedShape]) -> bytes:
    """Share of the effect that errors carry, by layer, of the first shape of each contrast."""
    firsts = list({shape.contrast: shape for shape in reversed(shapes)}.values())[::-1]
    with new_figure(5.5, 1.2 + 2.1 * len(firsts), n_rows=len(firsts)) as (figure, axes):
        for axis, shape in zip(axes if len(firsts) > 1 else [axes], firsts, strict=True):
            layers = [one.layer for one in shape.layers]
            for name, (color, marker) in _STYLES.items():
                values = [getattr(one.errors, name) for one in shape.layers]
                known = [np.nan if value is None else value for value in values]
                axis.plot(layers, known, color=color, marker=marker, markersize=4, label=f"one layer, {name}")
            together = shape.error_share.share.value
            if together is not None:
                axis.axhline(together, color=GREY, linestyle="--", label="all layers, exact")
            axis.set(title=f"{shape.contrast}, {shape.template}", xlabel="layer", ylabel="share of the effect")
            axis.set_xticks(layers)
            axis.legend(fontsize=7)
        return svg_bytes(figure, "error_shares")


def draw_places(nodes: Sequence[dict[str, Any]], title: str) -> bytes:
    """Sum of the nodes of each layer at each position, of latents and of errors; `nodes` are rows of nodes.parquet."""
    layers = sorted({node["layer"] for node in nodes})
    places = {node["position"]: node["place"] for node in sorted(nodes, key=lambda node: node["position"])}
    columns = {pos: number for number, pos in enumerate(places)}
    with new_figure(3.5 + 0.28 * len(places), 1.8 + 0.5 * len(layers), n_rows=2) as (figure, axes):
        figure.suptitle(title, fontsize=9)
        for axis, kind in zip(axes, KINDS, strict=True):
            sums = np.zeros((len(layers), len(places)))
            for node in (node for node in nodes if node["kind"] == kind):
                sums[layers.index(node["layer"]), columns[node["position"]]] += node["ig"]
            most = max(float(np.abs(sums).max()), 1e-9)
            drawn = axis.imshow(sums, cmap="RdBu", vmin=-most, vmax=most, aspect="auto", origin="lower")
            axis.set_yticks(range(len(layers)), [str(layer) for layer in layers])
            axis.set_xticks(range(len(places)), places.values() if kind == KINDS[-1] else [""] * len(places))
            axis.tick_params(axis="x", rotation=90, labelsize=7)
            axis.set(ylabel=f"layer, {kind}s")
            figure.colorbar(drawn, ax=axis)
        return svg_bytes(figure, "places")
