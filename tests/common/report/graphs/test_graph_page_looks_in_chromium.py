"""Covers how the page of graphs looks in a real Chromium: nothing overlaps or sticks out, in light and dark; policy."""

import itertools

import chromium
import pytest
from axe import grave_findings

from common.report.graphs.overview import overview
from common.report.page import HERE, STYLE

pytestmark = pytest.mark.skipif(chromium.why_not() is not None, reason=str(chromium.why_not()))
PHONE, DESK = 390, 1280


@pytest.fixture
def opened(viewer, one):
    viewer.show(one)
    return viewer


def test_forty_latents_of_one_cell_do_not_overlap(opened, graph):
    last = len(graph.tokens) - 1
    boxes = opened.run(
        """return [...document.querySelectorAll('.node')].filter((e) => /^2_\\d+_/.test(e.dataset.id)
            && e.dataset.id.endsWith(arguments[0])).map((e) => e.getBoundingClientRect().toJSON())""",
        f"_{last}",
    )
    assert len(boxes) == 40 and len({round(box["y"]) for box in boxes}) == 1
    boxes.sort(key=lambda box: box["left"])
    assert all(one["right"] <= other["left"] for one, other in itertools.pairwise(boxes))


def test_no_two_nodes_overlap_anywhere(opened):
    boxes = opened.run("""return [...document.querySelectorAll('.node')]
        .map((e) => e.getBoundingClientRect().toJSON())""")
    for one, other in itertools.combinations(boxes, 2):
        apart_across = one["right"] <= other["left"] or other["right"] <= one["left"]
        assert apart_across or one["bottom"] <= other["top"] or other["bottom"] <= one["top"]


def test_tokens_stand_below_their_columns_without_running_into_each_other(opened, graph):
    boxes = opened.run("""return [...document.querySelectorAll('.nodes > text')]
        .map((e) => [e.textContent, e.getBoundingClientRect().toJSON()])""")
    assert [text for text, _ in boxes][:3] == ["constant", "<bos>", "The"] and len(boxes) == len(graph.tokens) + 1
    assert all(one["right"] <= other["left"] for (_, one), (_, other) in itertools.pairwise(boxes))


@pytest.mark.parametrize("pages", ["one", "two"])
@pytest.mark.parametrize("width", [PHONE, 768, DESK])
def test_the_page_does_not_scroll_sideways_and_the_drawing_does_in_its_own_box(viewer, request, pages, width):
    viewer.show(request.getfixturevalue(pages), width)
    assert viewer.run("return document.documentElement.scrollWidth") <= width
    sizes = viewer.run("""const box = document.querySelector('.canvas'); box.scrollLeft = 200;
        return [box.scrollWidth, box.clientWidth, box.scrollLeft]""")
    assert sizes[0] > sizes[1] and sizes[2] > 0
    rows = "return document.querySelector('.rows').getBoundingClientRect().left - "
    assert abs(viewer.run(rows + "document.querySelector('.canvas').getBoundingClientRect().left")) < 3


def rgb(text):
    numbers = text[text.index("(") + 1 : -1].replace("/", " ").replace(",", " ").split()
    return [float(number) for number in numbers[:3]]


def contrast(one, other):
    """WCAG's contrast ratio of two colours, 1 to 21."""
    lights = []
    for color in (one, other):
        channels = [c / 255 for c in rgb(color)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_and_nodes_can_be_seen_in_light_and_in_dark(viewer, one, busy, scheme):
    viewer.show(one, scheme=scheme)
    viewer.press_at(viewer.node(busy[0]))
    ground = viewer.run("return getComputedStyle(document.body).backgroundColor")
    assert (sum(rgb(ground)) > 600) == (scheme == "light")
    texts = viewer.run("""const opaque = (c) => c !== 'rgba(0, 0, 0, 0)';
        return [...document.querySelectorAll('main p, main h2, main h3, main dt, main dd, label, mark, .nodes > text')]
            .map((e) => {
                let under = e;
                while (!opaque(getComputedStyle(under).backgroundColor)) under = under.parentElement;
                const style = getComputedStyle(e), ground = getComputedStyle(under).backgroundColor;
                return [e.tagName === 'text' ? style.fill : style.color, ground]})""")
    assert len(texts) > 20 and all(contrast(*pair) >= 4.5 for pair in texts)
    strokes = viewer.run("""return [...document.querySelectorAll('.node > :first-child')].map((e) =>
        [getComputedStyle(e).fill, getComputedStyle(e).stroke])""")
    assert all(max(contrast(colour, ground) for colour in pair if "rgb" in colour) >= 3 for pair in strokes)


def test_the_policy_stops_a_script_that_got_in(viewer, one):
    viewer.show(one)
    viewer.run("""const script = document.createElement('script');
        script.textContent = 'window.ran = 3'; document.head.append(script)""")
    assert viewer.run("return window.ran") is None
    assert any("Content Security Policy" in message for message in viewer.complaints())


def test_the_overview_is_drawn_in_the_pages_colours(viewer, graph, folder):
    path = folder / "overview.html"
    path.write_text(f"<!doctype html><style>{(HERE / STYLE).read_text()}</style>{overview(graph)}")
    colours = []
    for scheme in ("light", "dark"):
        viewer.show(path, PHONE, scheme)
        assert viewer.run("return document.documentElement.scrollWidth") <= PHONE
        fills = "return [...document.querySelectorAll('circle')].map((e) => getComputedStyle(e).fill)"
        colours.append(set(viewer.run(fills)))
    assert all(len(found) == 2 for found in colours) and not colours[0] & colours[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(viewer, one, scheme):
    viewer.show(one, DESK, scheme)
    assert not grave_findings(viewer.driver)


def test_axe_finds_what_is_serious(viewer):
    """So that finding nothing says something."""
    viewer.driver.get("data:text/html,<html><body><img src='x'><input></body></html>")
    assert {finding.partition(":")[0] for finding in grave_findings(viewer.driver)} >= {"image-alt", "label"}
