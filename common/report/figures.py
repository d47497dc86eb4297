"""Figures of the phases as parts of the page: pictures as data URIs, each with a title and its axes.

A browser runs nothing that stands in a picture, and lets it load nothing.
"""

import base64
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from common.report.blocks import Block, Figure, Paragraph
from common.report.collect import PhaseResult
from common.words import direction_words, sentence_case, title_of

FIGURE_BYTES = 4_000_000  # of all figures together: the page is to stay below 5 MB
_POINTS_PER_PIXEL = 0.75
_DOTS_PER_PIXEL = 150 / 96  # of the PNG files of `common.plots`

Captions = Mapping[str, tuple[str, str]]  # pattern of a file's stem -> title, axes in words; in the order of the page


@dataclass(frozen=True)
class Caption:
    """A figure's title, its axes in words, and its place among those of its phase."""

    title: str
    axes: str
    place: int = 0


def caption_of(stem: str, captions: Captions) -> Caption:
    """The caption of a figure by its file's name without ending; a plain one where none is known.

    What a pattern's * stands for is a direction, which takes the place of {} in the title.
    """
    for place, (pattern, (title, axes)) in enumerate(captions.items()):
        if fnmatchcase(stem, pattern):
            title = sentence_case(title.format(direction_words(stem.removeprefix(pattern.rstrip("*")))))
            return Caption(title, axes, place)
    return Caption(title_of(stem), "Its axes are labelled in the drawing.", len(captions))


def figures_of(phase: PhaseResult, captions: Captions, pattern: str = "*") -> list[Block]:
    """Figures of a phase whose name without ending fits `pattern`, in the order of their captions, then by name.

    Words stand for one that cannot be shown.
    """
    files = [name for name in phase.manifest["files"] if fnmatchcase(name, f"figures/{pattern}.*")]
    files.sort(key=lambda file: (caption_of(PurePosixPath(file).stem, captions).place, file))
    return [_figure(phase, file, caption_of(PurePosixPath(file).stem, captions)) for file in files]


def _figure(phase: PhaseResult, file: str, known: Caption) -> Block:
    data, path = phase.artifact.file(file).read_bytes(), phase.artifact.path / file
    try:
        size = _SIZES[PurePosixPath(file).suffix](data)
    except KeyError:
        return Paragraph(f"{known.title}: a file of a kind that pages do not show, {path}.", "note")
    except ValueError as error:
        return Paragraph(f"{known.title}: not shown, because {path} is no drawing ({error}).", "note")
    return Figure(known.title, known.axes, str(path), *size, data_uri(data, PurePosixPath(file).suffix))


def within_budget(blocks: list[list[Block]], n_bytes: int = FIGURE_BYTES) -> None:
    """Put words in the place of the largest figures, until all that are left have at most `n_bytes` together."""
    places = [(part, i, block) for part in blocks for i, block in enumerate(part) if isinstance(block, Figure)]
    places.sort(key=lambda at: at[2].n_bytes)
    total = sum(figure.n_bytes for _, _, figure in places)
    while total > n_bytes:
        part, place, figure = places.pop()
        total -= figure.n_bytes
        size = f"{figure.n_bytes / 1e6:.1f} MB"
        where = f" It lies in {figure.path}." if figure.path else ""
        part[place] = Paragraph(f"{figure.title}: at {size} too large for this page.{where}", "note")


def drawn(title: str, caption: str, data: bytes) -> Figure:
    """A PNG file that was drawn for the page, as a part of it."""
    return Figure(title, caption, "", *_png_size(data), data_uri(data, ".png"))


def data_uri(data: bytes, suffix: str) -> str:
    kind = {".svg": "svg+xml", ".png": "png"}[suffix]
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _svg_size(data: bytes) -> tuple[int, int]:
    """Natural width and height of a drawing in CSS pixels. Raises: ValueError."""
    head = re.search(rb"<svg\b[^>]*>", data)
    sides = [head and re.search(rb"\s" + side + rb'="([\d.]+)(pt|px|)"', head[0]) for side in (b"width", b"height")]
    known = [round(float(one[1]) / (_POINTS_PER_PIXEL if one[2] == b"pt" else 1)) for one in sides if one]
    if len(known) < 2:
        raise ValueError("it is no SVG file with a width and a height")
    return known[0], known[1]


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height of a picture in CSS pixels. Raises: ValueError."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) < 24:
        raise ValueError("it is no PNG file")
    width, height = struct.unpack(">II", data[16:24])
    return round(width / _DOTS_PER_PIXEL), round(height / _DOTS_PER_PIXEL)


_SIZES = {".svg": _svg_size, ".png": _png_size}
