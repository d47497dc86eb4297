"""Heat maps over tokens for the report: programs written out, each token shaded by what was measured at it.

No script, and the page's colours. Tokens are set one after the other and wrapped, so that a phone has room for them;
each is drawn as wide as its box, whatever the font of the reader has for its letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

from markupsafe import Markup

from common.words import number

WIDTH = 340  # units of the drawing, pixels at its natural width: a phone of 390 has room for it
STRONGEST = 0.5  # opacity of the largest value: letters on it can be read on light and on dark paper
_LETTER, _ROW, _LABEL, _GAP, _PAD = 6.6, 17, 15, 6, 1.5
_LONGEST_TOKEN, _LONGEST_LABEL = 24, 60
_INK, _QUIET, _SHADE = (f"var(--{name})" for name in ("ink", "quiet", "accent"))
_NEWLINE = "↵"  # as common/report/latents/tokens.py shows it


@dataclass(frozen=True)
class HeatLine:
    """A program: its tokens, blanks visible, a value of at least 0 at each, and what is said above them.

    `most` is the value with the strongest shade.
    """

    label: str
    tokens: Sequence[str]
    values: Sequence[float]
    most: float


@dataclass(frozen=True)
class _Box:
    text: str
    value: float
    x: float
    row: int
    width: float


def token_heat(lines: Sequence[HeatLine], words: str) -> Markup:
    """An inline SVG element; `words` say what it shows to whom it is read out."""
    laid_out = [[*_laid_out(line)] for line in lines]
    heights = [_LABEL + _ROW * (1 + max((box.row for box in boxes), default=0)) + _GAP for boxes in laid_out]
    style = f"width: {WIDTH}px; max-width: 100%; height: auto"
    box = {"viewBox": f"0 0 {WIDTH} {sum(heights)}", "role": "img", "aria-label": words, "style": style}
    svg = ElementTree.Element("svg", {"class": "token-heat", **box})
    top = 0.0
    for line, boxes, height in zip(lines, laid_out, heights, strict=True):
        _add_text(svg, 0, top + 11, _cut(line.label, _LONGEST_LABEL), f"font: 10px var(--sans); fill: {_QUIET}")
        peak = max(line.values, default=0.0)
        for one in boxes:
            _add_box(svg, one, top + _LABEL, line.most, is_peak=one.value == peak > 0)
        top += height
    return Markup(ElementTree.tostring(svg, encoding="unicode"))


def _laid_out(line: HeatLine) -> Iterator[_Box]:
    """Where each token stands: a new row where the last one is full, or ends a line of the program."""
    x, row = 0.0, 0
    for token, value in zip(line.tokens, line.values, strict=True):
        text = _cut(token, _LONGEST_TOKEN)
        width = max(len(text), 1) * _LETTER + 2 * _PAD
        if x and x + width > WIDTH:
            x, row = 0.0, row + 1
        yield _Box(text, value, x, row, width)
        x += width
        if _NEWLINE in token:
            x, row = 0.0, row + 1


def _add_box(svg: ElementTree.Element, one: _Box, top: float, most: float, is_peak: bool) -> None:
    y = top + one.row * _ROW
    if one.value > 0:
        shade = f"fill: {_SHADE}; fill-opacity: {STRONGEST * one.value / most:.3f}"
        shade += f"; stroke: {_INK}" if is_peak else ""
        place = {"x": f"{one.x:.1f}", "y": f"{y:.1f}", "width": f"{one.width:.1f}", "height": str(_ROW - 2)}
        rect = ElementTree.SubElement(svg, "rect", {**place, "style": shade})
        ElementTree.SubElement(rect, "title").text = number(one.value)
    if one.text:
        style = f"font: 11px var(--mono); fill: {_INK}"
        fitted = {"textLength": f"{len(one.text) * _LETTER:.1f}", "lengthAdjust": "spacingAndGlyphs"}
        _add_text(svg, one.x + _PAD, y + 11, one.text, style, **fitted)


def _add_text(svg: ElementTree.Element, x: float, y: float, text: str, style: str, **given: str) -> None:
    ElementTree.SubElement(svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "style": style, **given}).text = text


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
