"""A figure of the report as SVG and PDF; what phases draw as PNG files stays one, and is put into a PDF."""

import base64
import io
import re
from functools import cache
from xml.etree import ElementTree

from common.report.blocks import Drawing, Figure
from common.report.page import HERE, STYLE

_FAMILIES = {"mono": "monospace", "sans": "sans-serif", "serif": "serif"}


def files_of(figure: Figure | Drawing) -> dict[str, bytes]:
    """The content of its files by their ending: svg (or png) and pdf."""
    if isinstance(figure, Drawing):
        data, ending = _alone(str(figure.svg)), "svg"
    else:
        kind, _, content = figure.source.partition(";base64,")
        data, ending = base64.b64decode(content), "svg" if "svg" in kind else "png"
    return {ending: data, "pdf": _pdf_of_svg(data) if ending == "svg" else _pdf_of_png(data)}


def _alone(drawing: str) -> bytes:
    """A drawing of the page as a file: in the colours of its light theme, of its natural size."""
    colours = _light_theme()
    text = re.sub(r"var\(--(\w+)\)", lambda name: _FAMILIES.get(name[1]) or colours[name[1]], drawing)
    text = re.sub(r"font: (\S+px) ([\w-]+)", r"font-size: \1; font-family: \2", text)
    svg = ElementTree.fromstring(text)
    svg.attrib.pop("style", None)
    _, _, width, height = svg.attrib["viewBox"].split()
    svg.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "width": width, "height": height}
    return ElementTree.tostring(svg)


@cache
def _light_theme() -> dict[str, str]:
    style = (HERE / STYLE).read_text()
    return dict(re.findall(r"--(\w+):\s*([^;}]+)[;}]", style[: style.index("@media")]))


def _pdf_of_svg(svg: bytes) -> bytes:
    from reportlab.graphics import renderPDF
    from svglib.svglib import svg2rlg

    drawing = svg2rlg(io.BytesIO(svg))
    assert drawing is not None, "matplotlib or this program wrote it"
    out = io.BytesIO()
    renderPDF.drawToFile(drawing, out, invariant=1)
    return out.getvalue()


def _pdf_of_png(png: bytes) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(out, "PDF", resolution=150)
    return out.getvalue()
