"""Figures as PNG or SVG files: one size and style for all, drawn without a display."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.figure import Figure

_STYLE: dict[Any, Any] = {
    "font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False, "savefig.dpi": 150,
    "legend.frameon": False,
}  # fmt: skip


@contextmanager
def new_figure(
    width_inches: float = 5.0, height_inches: float = 3.2, n_rows: int = 1, n_columns: int = 1
) -> Iterator[tuple[Figure, Any]]:
    """A figure with one pair of axes, or a list of them, by rows; it is drawn and saved while the block is open."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width_inches, height_inches), layout="constrained")
        axes = figure.subplots(n_rows, n_columns, squeeze=False).ravel().tolist()
        yield figure, axes if len(axes) > 1 else axes[0]


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg_bytes(figure: Figure, name: str) -> bytes:
    """The figure as SVG to put into a page: its black is the page's text colour, its background the page's.

    Text stays text. Ids begin with `name`, so that several figures can share a page. The same figure gives
    the same bytes.
    """
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :]  # without the document's head, which has no place inside a page
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"#000000\b|\bblack\b", "currentColor", text)
    text = re.sub(r"<text\b", '<text fill="currentColor"', text)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", text)
    return text.encode()
