"""Figures of phase 6.2: shares as heat maps over layers, positions and heads."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.handoffs.error_patching import ErrorPatchingDocument
from common.plots import new_figure, svg_bytes, whole_numbers
from phase6_error_circuits.estimates import names_of_positions
from phase6_error_circuits.patching.jobs import ATTENTION, EVERYWHERE, FIRST_ORDER, MLP, RESID
from phase6_error_circuits.patching.patches import DENOISING, NOISING
from phase6_error_circuits.patching.results import Patched

CAPTIONS = {
    "residual_denoising": (
        "Residual stream, clean into corrupted",
        "Horizontal: token of the first pair, clean/corrupted where they differ, and its name. Vertical: layer. "
        "Colour: share of the total that comes back when the clean run's stream is put there.",
    ),
    "residual_noising": (
        "Residual stream, corrupted into clean",
        "The same axes. Colour: share of the total that is lost when the corrupted run's stream is put there.",
    ),
    "parts": (
        "Attention and MLP",
        "Horizontal: named positions, and all together. Vertical: layer. Colour: share that patching what attention "
        "or the MLP adds to the stream moves, either way.",
    ),
    "heads": (
        "Heads",
        "Horizontal: head. Vertical: layer. Colour: share at all positions, to first order, by the gradient in the run "
        "that is patched.",
    ),
    "other_shapes": (
        "Other shapes and templates",
        "Horizontal: named positions. Vertical: layer. Colour: share of the residual stream, clean into corrupted.",
    ),
}
_WAYS = {DENOISING: "clean into corrupted", NOISING: "corrupted into clean"}


def all_figures(document: ErrorPatchingDocument, studied: Patched, others: list[Patched]) -> Mapping[str, bytes]:
    """Figures by file name."""
    title = f"{document.contrast}, {document.format}, {studied.facts.template}, {document.n} pairs"
    drawn = {f"residual_{way}.svg": residual(studied, way, f"{title}; {words}") for way, words in _WAYS.items()}
    drawn |= {"parts.svg": parts(studied, title), "heads.svg": heads(studied, title)}
    return drawn | ({"other_shapes.svg": other_shapes([studied, *others], title)} if others else {})


def residual(studied: Patched, direction: str, title: str) -> bytes:
    """A cell for each layer and token."""
    cells, positions = studied.map(direction, RESID)
    labels = [_token(studied, pos) for pos in positions]
    with new_figure(1.6 + 0.3 * len(labels), 2.4 + 0.16 * len(cells)) as (figure, axis):
        mesh = _heat(axis, cells, labels, title)
        figure.colorbar(mesh, ax=axis, label="share of the total", shrink=0.8)
        return svg_bytes(figure, f"residual-{direction}")


def parts(studied: Patched, title: str) -> bytes:
    """Attention and MLP beside each other, both ways."""
    places = [(part, direction) for direction in _WAYS for part in (ATTENTION, MLP)]
    maps = [studied.map(direction, part) for part, direction in places]
    names = names_of_positions(studied.pairs[0])
    height, width = 2 * (1.8 + 0.16 * len(maps[0][0])), 2 * (1.4 + 0.4 * len(maps[0][1]))
    with new_figure(max(7.0, width), height, n_rows=2, n_columns=2) as (figure, axes):
        figure.suptitle(title, fontsize=9)
        for axis, (part, direction), (cells, positions) in zip(axes, places, maps, strict=True):
            labels = ["all" if pos == EVERYWHERE else names[pos] for pos in positions]
            mesh = _heat(axis, cells, labels, f"{part}, {_WAYS[direction]}")
        figure.colorbar(mesh, ax=axes, label="share of the total", shrink=0.6)
        return svg_bytes(figure, "parts")


def heads(studied: Patched, title: str) -> bytes:
    """First order, both ways."""
    maps = [studied.map(direction, FIRST_ORDER, column=1) for direction in _WAYS]
    size = 2 * (1.4 + 0.22 * len(maps[0][1])), 1.8 + 0.16 * len(maps[0][0])
    with new_figure(max(6.5, size[0]), size[1], n_columns=2) as (figure, axes):
        figure.suptitle(title, fontsize=9)
        for axis, direction, (cells, numbers) in zip(axes, _WAYS, maps, strict=True):
            mesh = _heat(axis, cells, [str(number) for number in numbers], _WAYS[direction])
            axis.set(xlabel="head")
        figure.colorbar(mesh, ax=axes, label="share of the total", shrink=0.8)
        return svg_bytes(figure, "heads")


def other_shapes(every: list[Patched], title: str) -> bytes:
    """The stream at named positions: of the studied pairs, and of each other shape."""
    n = len(every)
    with new_figure(1.2 + 2.2 * n, 2.8 + 0.16 * len(every[0].map(DENOISING, RESID)[0]), n_columns=n) as (figure, axes):
        figure.suptitle(title, fontsize=9)
        for axis, one in zip(axes, every, strict=True):
            cells, positions = one.map(DENOISING, RESID)
            names = names_of_positions(one.pairs[0])
            kept = [place for place, pos in enumerate(positions) if pos in names]
            labels = [names[positions[place]] for place in kept]
            mesh = _heat(axis, cells[:, kept], labels, f"{one.facts.template}, shape {one.facts.shape}")
        figure.colorbar(mesh, ax=axes, label="share of the total", shrink=0.8)
        return svg_bytes(figure, "other-shapes")


def _token(studied: Patched, pos: int) -> str:
    if pos == EVERYWHERE:
        return "all"
    name = names_of_positions(studied.pairs[0]).get(pos)
    label = studied.facts.tokens[pos].replace("$", r"\$")  # which would begin a formula
    return f"{label}  {name}" if name else label


def _heat(axis: Any, cells: np.ndarray, labels: list[str], title: str) -> Any:
    """Red is against the clean answer, blue for it; what lies beyond -1 and 1 has their colours."""
    layers = np.flatnonzero(~np.isnan(cells).all(1))  # of which any are patched
    cells, every = cells[layers], len(layers) == len(cells)
    n_layers, n_columns = cells.shape
    edges = np.arange(n_columns + 1) - 0.5, np.arange(n_layers + 1) - 0.5
    mesh = axis.pcolormesh(*edges, cells, cmap="RdBu", vmin=-1, vmax=1, rasterized=True)
    axis.set(ylabel="layer", title=title)
    axis.set_xticks(range(n_columns), labels, rotation=90, fontsize=7)
    if every:
        whole_numbers(axis.yaxis)
    else:
        axis.set_yticks(range(n_layers), [str(layer) for layer in layers], fontsize=7)
    return mesh
