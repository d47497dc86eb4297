"""Figures of phase 3.4: change of attention by layer and section, and by head."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from common.handoffs.changes import AttentionDocument, AttentionMoved
from common.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, error_bars, new_figure, svg_bytes, whole_numbers

STYLES = {  # section -> colour, marker, line
    "first_token": (GREY, "x", ":"),
    "template": (PURPLE, "v", ":"),
    "description": (BLUE, "o", "-"),
    "tests": (ORANGE, "s", "--"),
    "marker": (GREEN, "^", "-."),
    "learned_sink": ("#8c564b", "+", ":"),
}


def all_figures(result: AttentionDocument, title: str) -> dict[str, bytes]:
    """Figures by file name; none of what was not steered."""
    moved = {name: entry for name, entry in result.directions.items() if isinstance(entry, AttentionMoved)}
    steered = {name: entry for name, entry in moved.items() if entry.moves}
    if not steered:
        return {}
    words = {section: result.section_words[section] for section in result.sections}
    return {"by_layer.svg": by_layer(steered, words, title), "by_head.svg": by_head(steered, words, title)}


def by_layer(directions: Mapping[str, AttentionMoved], sections: dict[str, str], title: str) -> bytes:
    """Change of the attention to each section, mean over the heads of a layer, with its interval over problems."""
    with new_figure(9, 0.6 + 2.6 * len(directions), n_rows=len(directions)) as (figure, axes):
        figure.suptitle(title, fontsize=9)
        for axis, (name, entry) in zip(_several(axes), directions.items(), strict=True):
            for number, (section, words) in enumerate(sections.items()):
                color, marker, line = STYLES[section]
                moves = [move for move in entry.pooled if move.section == section]
                changes = [move.change for move in moves]
                x = [move.layer + 0.06 * (number - 1.5) for move in moves]
                values, lengths = [100 * change.known for change in changes], error_bars(c.times(100) for c in changes)
                style = {"color": color, "marker": marker, "linestyle": line, "markersize": 4, "capsize": 2}
                axis.errorbar(x, values, yerr=lengths, label=words, **style)
            axis.axhline(0, color=GREY, linewidth=0.8)
            axis.set(xlabel="layer", ylabel="change of attention [points]", title=_heading(name, entry))
            whole_numbers(axis.xaxis)
            axis.legend(ncols=4, fontsize=7)
        return svg_bytes(figure, "attention-by-layer")


def by_head(directions: Mapping[str, AttentionMoved], sections: dict[str, str], title: str) -> bytes:
    """Change of the attention to each section, a cell for each layer and head; all panels share one scale."""
    largest = max(abs(move.change.known) for entry in directions.values() for move in entry.moves)
    scale = 100 * largest or 1.0
    n = len(directions)
    with new_figure(2.6 * len(sections), 0.6 + 2.6 * n, n_rows=n, n_columns=len(sections)) as (figure, axes):
        figure.suptitle(title, fontsize=9)
        places = [(name, section) for name in directions for section in sections]
        for axis, (name, section) in zip(axes, places, strict=True):
            moves = [move for move in directions[name].moves if move.section == section]
            layers = sorted({move.layer for move in moves})
            heads = max(move.head for move in moves) + 1
            cells = np.full((layers[-1] + 1 - layers[0], heads), np.nan)  # layers without attention stay empty
            for move in moves:
                cells[move.layer - layers[0], move.head] = 100 * move.change.known
            edges = np.arange(layers[0], layers[-1] + 2) - 0.5
            mesh = axis.pcolormesh(
                np.arange(heads + 1) - 0.5, edges, cells, cmap="PuOr", vmin=-scale, vmax=scale, rasterized=True
            )
            dots = [(move.head, move.layer) for move in moves if move.found]
            axis.plot(*zip(*dots, strict=True) if dots else ([], []), linestyle="none", marker=".", color="black")
            axis.set(xlabel="head", ylabel="layer", title=f"{name}\n{sections[section]}")
            for one in (axis.xaxis, axis.yaxis):
                whole_numbers(one)
        figure.colorbar(mesh, ax=axes, label="change of attention [points]", shrink=0.8)
        return svg_bytes(figure, "attention-by-head")


def _heading(name: str, entry: AttentionMoved) -> str:
    return f"{name}: {entry.coefficient:+g} mean norms at layer {entry.layer}, {entry.site}"


def _several(axes: Any) -> list[Any]:
    return axes if isinstance(axes, list) else [axes]
