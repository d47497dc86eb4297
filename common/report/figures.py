"""Figures of the phases as parts of the page: SVG in place, PNG as data URIs, each with a title and its axes.

An SVG is taken apart and put together again from a short list of elements and attributes: a page that is passed
on must not run what somebody wrote into a drawing. Its ids are made unique on the page.
"""

import base64
import re
import struct
import xml.etree.ElementTree as ET
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from markupsafe import Markup

from common.report.blocks import Block, Figure, Paragraph
from common.report.captions import caption_of
from common.report.collect import PhaseResult

FIGURE_BYTES = 4_000_000  # of all figures together: the page is to stay below 5 MB
_SVG = "http://www.w3.org/2000/svg"
_ELEMENTS = frozenset(
    ["svg", "g", "defs", "use", "symbol", "clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient"]
    + ["stop", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "text", "tspan", "image"]
)
_DROPPED = frozenset(["metadata", "title", "desc"])  # the figure's caption says it, and a title would pop up
_POINTS_PER_PIXEL = 0.75
_STYLE_RULES = re.compile(r"\s*\*\s*\{([^{}]*)\}\s*")
_SAFE_IMAGE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/=\s]+")


class UnsafeDrawing(Exception):
    """An SVG holds something that a drawing does not need."""


def figures_of(phase: PhaseResult, pattern: str = "*") -> list[Block]:
    """Figures of a phase whose name without ending fits `pattern`, in the order of their captions, then by name.

    Words stand for one that cannot be shown.
    """
    files = [name for name in phase.manifest["files"] if fnmatchcase(name, f"figures/{pattern}.*")]
    files.sort(key=lambda file: (caption_of(phase.handoff.name, PurePosixPath(file).stem).place, file))
    return [_figure(phase, file) for file in files]


def _figure(phase: PhaseResult, file: str) -> Block:
    data, stem, path = phase.artifact.file(file).read_bytes(), PurePosixPath(file).stem, phase.artifact.path / file
    known = caption_of(phase.handoff.name, stem)
    title, caption = known.title, known.axes
    try:
        if file.endswith(".svg"):
            svg, width = inline_svg(data, f"{phase.handoff.name}-{stem}", f"{title}. {caption}")
            return Figure(title, caption, str(path), width, svg=svg)
        if file.endswith(".png"):
            return Figure(title, caption, str(path), _png_width(data), source=data_uri(data))
    except (ET.ParseError, UnsafeDrawing, struct.error, ValueError) as error:
        return Paragraph(f"{title}: not shown, because {path} is no plain drawing ({error}).", "note")
    return Paragraph(f"{title}: a file of a kind that pages do not show, {path}.", "note")


def within_budget(blocks: list[list[Block]], n_bytes: int = FIGURE_BYTES) -> None:
    """Put words in the place of the largest figures, until all that are left have at most `n_bytes` together."""
    places = [(part, i, block) for part in blocks for i, block in enumerate(part) if isinstance(block, Figure)]
    places.sort(key=lambda at: at[2].n_bytes)
    total = sum(figure.n_bytes for _, _, figure in places)
    while total > n_bytes:
        part, place, figure = places.pop()
        total -= figure.n_bytes
        size = f"{figure.n_bytes / 1e6:.1f} MB"
        part[place] = Paragraph(f"{figure.title}: at {size} too large for this page. It lies in {figure.path}.", "note")


def inline_svg(data: bytes, prefix: str, label: str) -> tuple[Markup, int]:
    """The drawing to put into a page, and its natural width in CSS pixels; every id begins with `prefix`.

    Raises: UnsafeDrawing; xml.etree.ElementTree.ParseError.
    """
    if b"<!" in data.replace(b"<!--", b""):
        raise UnsafeDrawing("it declares more than a drawing")
    root = ET.fromstring(data)
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", prefix)
    rules = _clean(root, prefix)
    width, height = _size(root)
    for name in ("width", "height", "id"):
        root.attrib.pop(name, None)
    root.attrib.setdefault("viewBox", f"0 0 {width} {height}")
    root.attrib |= {"role": "img", "aria-label": label, "style": rules}
    return Markup(ET.tostring(root, encoding="unicode")), round(width)


def _clean(root: ET.Element, prefix: str) -> str:
    """Take out or refuse what a drawing does not need; returns the style that held for all its parts."""
    if _name(root) != "svg":
        raise UnsafeDrawing(f"its outermost element is '{_name(root)}'")
    rules: list[str] = []
    for parent in list(root.iter()):
        for child in list(parent):
            if _name(child) in _DROPPED:
                parent.remove(child)
            elif _name(child) == "style":
                rules += _global_style(child.text or "")
                parent.remove(child)
    known: set[str] = set()
    for element in root.iter():
        if _name(element) not in _ELEMENTS:
            raise UnsafeDrawing(f"it holds '{_name(element)}'")
        element.tag = _name(element)
        if element.get("id") in known:  # the same picture again, which matplotlib names by its content
            del element.attrib["id"]
        known.add(element.get("id", ""))
        for name, value in list(element.attrib.items()):
            del element.attrib[name]  # a page knows neither namespaces nor any other prefix than "xlink"
            element.attrib["href" if name.endswith("}href") else name] = _attribute(name, value, prefix)
    return "; ".join(rules)


def _global_style(text: str) -> list[str]:
    """A style sheet is for the whole page, so only rules for all elements can stay: on the drawing itself."""
    if not all(map(_STYLE_RULES.fullmatch, re.findall(r"[^{}]*\{[^{}]*\}", text))) or "url" in text or "@" in text:
        raise UnsafeDrawing("it holds a style sheet")
    return [rule.strip().rstrip(";") for rule in re.findall(r"\{([^{}]*)\}", text)]


def _attribute(name: str, value: str, prefix: str) -> str:
    """The attribute's value on the page. Raises: UnsafeDrawing."""
    plain = name.rpartition("}")[2].lower()
    if plain.startswith("on"):
        raise UnsafeDrawing(f"it holds the attribute '{plain}'")
    if plain == "id":
        return f"{prefix}-{value}"
    if plain == "href":
        if value.startswith("#"):
            return f"#{prefix}-{value[1:]}"
        if _SAFE_IMAGE.fullmatch(value):
            return value
        raise UnsafeDrawing(f"it links to '{value[:40]}'")
    inner = re.sub(r"url\(\s*[\"']?#([^)\"']+)[\"']?\s*\)", "", value)
    if re.search(r"url\(|javascript:|expression\(|@import", inner, re.IGNORECASE):
        raise UnsafeDrawing(f"its attribute '{plain}' reaches outside")
    return re.sub(r"url\(\s*[\"']?#([^)\"']+)[\"']?\s*\)", rf"url(#{prefix}-\1)", value)


def _size(root: ET.Element) -> tuple[float, float]:
    """Width and height in CSS pixels."""
    box = [float(part) for part in root.get("viewBox", "").replace(",", " ").split()]
    sizes = []
    for name, from_box in (("width", 2), ("height", 3)):
        match = re.fullmatch(r"([\d.]+)(pt|px|)", root.get(name, ""))
        if match:
            sizes.append(float(match[1]) / (_POINTS_PER_PIXEL if match[2] == "pt" else 1))
        elif len(box) == 4:
            sizes.append(box[from_box])
        else:
            raise UnsafeDrawing("it has no size")
    return sizes[0], sizes[1]


def _png_width(data: bytes) -> int:
    """Width of a picture in CSS pixels, at the 150 dots per inch of `common.plots`."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        raise ValueError("it is no PNG file")
    return round(struct.unpack(">I", data[16:20])[0] * 96 / 150)


def data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _name(element: ET.Element) -> str:
    if not isinstance(element.tag, str):
        raise UnsafeDrawing("it holds a processing instruction")
    namespace, _, name = element.tag.rpartition("}")
    if namespace not in ("{" + _SVG, ""):
        raise UnsafeDrawing(f"it holds '{element.tag}'")
    return name
