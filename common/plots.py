"""Figures as PNG or SVG files: one size and style for all, drawn without a display."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, StrMethodFormatter

LAYOUT: Any = "constrained"  # which takes more than half of a figure's time
_DPI = 150
_STYLE: dict[Any, Any] = {"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}
_STYLE |= {"savefig.dpi": _DPI, "legend.frameon": False}


BLUE, ORANGE, GREEN, PURPLE, GREY = "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#7f7f7f"
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, "#8c564b", "#e377c2")  # of lines side by side
CORRECT, INCORRECT = "#0072b2", "#d55e00"  # told apart by colour-blind readers too


def error_bars(intervals: Iterable[Any]) -> list[list[float]]:
    """Lengths of error bars below and above, as matplotlib takes them; of estimates with `value`, `low` and `high`.

    A percentile interval may, for few problems, end beside its value: no length is below zero.
    """
    known = [*intervals]
    below = [max(0.0, each.value - each.low) for each in known]
    return [below, [max(0.0, each.high - each.value) for each in known]]


@contextmanager
def new_figure(
    width_inches: float = 5.0, height_inches: float = 3.2, n_rows: int = 1, n_columns: int = 1
) -> Iterator[tuple[Figure, Any]]:
    """A figure with one pair of axes, or a list of them, by rows; it is drawn and saved while the block is open."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width_inches, height_inches), layout=LAYOUT)
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
        yield figure, axes if len(axes) > 1 else axes[0]


def log_counts(axis: Any) -> None:
    """A logarithmic horizontal axis of counts, as 1,000: to set 10 with an exponent takes a parser of formulas."""
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.xaxis.set_minor_formatter(NullFormatter())


def whole_numbers(axis: Any) -> None:
    """Ticks at whole numbers alone, as of layers; one will do where there is but one layer."""
    axis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1, steps=[1, 2, 2.5, 5, 10]))


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    engine = figure.get_layout_engine()
    if engine is not None:  # laid out here, and once: `savefig` would first draw everything for nothing
        figure.set_dpi(_DPI)
        engine.execute(figure)
        figure.set_layout_engine(None)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg_bytes(figure: Figure, name: str) -> bytes:
    """The figure as an SVG file; text stays text. The same figure gives the same bytes, whose ids depend on `name`."""
    buffer = io.BytesIO()
    figure.set_dpi(_DPI)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        # As Figure.savefig does, which draws everything once more before, for nothing.
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
