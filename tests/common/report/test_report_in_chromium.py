"""Covers common/report in a real Chromium: no message, no request, figures, widths, sorting, colours, print, policy."""

import base64
import itertools
import json

import chromium
import pytest
import report_data
from axe import grave_findings
from report_data import write_report

from run import CATALOGUE

pytestmark = pytest.mark.skipif(chromium.why_not() is not None, reason=str(chromium.why_not()))
PHONE, DESK = 360, 1200
READABLE = 4.5  # contrast of small text: WCAG 2.2, 1.4.3


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return write_report(CATALOGUE, report_data.build(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="module")
def opened(report, tmp_path_factory):
    """The browser with the report; tests leave it as they found it."""
    with chromium.browser(tmp_path_factory.mktemp("chromium")) as driver:
        show(driver, DESK)
        driver.get(report.path.as_uri())
        yield driver


def show(driver, width, scheme="light", media="screen"):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})


@pytest.fixture
def page(opened):
    yield opened
    show(opened, DESK)
    opened.execute_script("for (const d of document.querySelectorAll('details')) d.open = false")


def test_it_loads_without_a_message_and_without_a_request(opened, report):
    opened.get("about:blank")
    opened.get_log("performance"), opened.get_log("browser")  # what the browser did when it started
    opened.get(report.path.as_uri())
    messages = [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert not messages
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert report.path.as_uri() in urls
    assert {url for url in urls if not url.startswith("data:")} == {report.path.as_uri()}


def test_nothing_that_the_data_say_runs(page):
    assert page.execute_script("return window.ran") is None
    assert page.execute_script("return [...document.images].every((i) => i.src.startsWith('data:image/'))")
    text = page.execute_script("return document.body.textContent")
    assert report_data.HOSTILE in text


def test_every_figure_is_visible_and_has_words_for_it(page, report):
    page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    figures = page.execute_script("""return [...document.querySelectorAll('figure.drawing')].map((figure) => {
        const drawing = figure.querySelector('img'), box = drawing.getBoundingClientRect();
        return {name: drawing.alt, width: box.width, height: box.height,
                caption: figure.querySelector('figcaption').innerText,
                loaded: drawing.naturalWidth > 0,
                visible: drawing.checkVisibility()}})""")
    files = [path for path in report.path.parent.glob("phase*/*/figures/*")]
    assert len(figures) == len(files) == 26
    assert all(f["width"] > 200 and f["height"] > 100 and f["visible"] and f["loaded"] for f in figures)
    assert all(len(f["name"]) > 20 and f["caption"] for f in figures)
    assert len({f["name"] for f in figures}) == len(figures)


def test_ids_are_unique(page):
    ids = page.execute_script("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids)) >= 15


@pytest.mark.parametrize("width", [PHONE, 390, 768, DESK])
def test_nothing_sticks_out_sideways(page, width):
    show(page, width)
    page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    too_wide = page.execute_script("""return [...document.querySelectorAll('main p, main dl, figcaption, h1, h2, nav')]
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))""")
    assert not too_wide


def test_a_wide_table_scrolls_in_its_own_place(page):
    show(page, PHONE)
    overflowing = page.execute_script("""const wide = [...document.querySelectorAll('.scroll')]
        .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth);
        wide[0].scrollLeft = 50; return [wide.length, wide[0].scrollLeft, wide[0].tabIndex]""")
    assert overflowing[0] > 3 and overflowing[1:] == [50, 0]


def column(page, title, name):
    """Texts of a column, and what its head says of the order."""
    return page.execute_script(
        """
        const table = [...document.querySelectorAll('.table')].find((t) => t.innerText.startsWith(arguments[0]))
            .querySelector('table');
        const head = [...table.tHead.rows[0].cells].find((cell) => cell.innerText.startsWith(arguments[1]));
        const cells = [...table.tBodies[0].rows].map((row) => row.cells[head.cellIndex].innerText)
            .map((text) => text.split('\\n')[0].trim());
        return [cells, head.getAttribute('aria-sort')]""",
        title,
        name,
    )


def press(page, title, name, key=None):
    """Click a column's head, or press a key on it."""
    page.execute_script(
        """
        const table = [...document.querySelectorAll('.table')].find((t) => t.innerText.startsWith(arguments[0]))
            .querySelector('table');
        [...table.tHead.rows[0].cells].find((cell) => cell.innerText.startsWith(arguments[1])).querySelector('button')
            [arguments[2] ? 'focus' : 'click']()""",
        title,
        name,
        bool(key),
    )
    if key:
        for kind in ("rawKeyDown", "char", "keyUp"):
            code = {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": 13, "text": "\r"}
            page.execute_cdp_cmd("Input.dispatchKeyEvent", code)


def test_a_column_sorts_by_its_numbers_up_and_down_and_the_unknown_stays_last(page):
    title, name = "What steering did", "Net change"
    assert column(page, title, name) == [["−8.2", "+2.0", "+4.1", "+2.0"], None]
    press(page, title, name)
    assert column(page, title, name) == [["−8.2", "+2.0", "+2.0", "+4.1"], "ascending"]
    press(page, title, name)
    assert column(page, title, name) == [["+4.1", "+2.0", "+2.0", "−8.2"], "descending"]
    press(page, title, "p of the change")
    assert column(page, title, "p of the change") == [["< 0.001", "< 0.001", "–", "–"], "ascending"]
    assert column(page, title, name)[1] is None


def test_a_column_sorts_by_a_key_and_words_sort_as_words(page):
    title, name = "What steering did", "Direction"
    press(page, title, name, key="Enter")
    found, order = column(page, title, name)
    assert order == "ascending" and found == sorted(found) and len(found) == 4


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


TEXTS = "p, dt, dd, li a, h1, h2, h3, h4, th, td, td small, .tag, figcaption, summary, pre code, ins, del, svg text, a"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(page, scheme):
    show(page, DESK, scheme)
    page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    pairs = page.execute_script(
        """const opaque = (c) => c !== 'rgba(0, 0, 0, 0)' && c !== 'transparent';
        return [...document.querySelectorAll(arguments[0])].map((e) => {
            let under = e;
            while (under && !opaque(getComputedStyle(under).backgroundColor)) under = under.parentElement;
            const style = getComputedStyle(e), svg = e.tagName === 'text';
            const ground = getComputedStyle(under).backgroundColor;
            return [svg ? style.fill : style.color, ground, e.tagName + '.' + e.className]
        })""",
        TEXTS,
    )
    kinds = {(text, ground, name): contrast(text, ground) for text, ground, name in pairs}
    assert len(pairs) > 300 and not {kind: c for kind, c in kinds.items() if c < READABLE}
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (sum(rgb(ground)) > 600) == (scheme == "light")


def test_each_entry_of_the_contents_leads_to_a_part_of_the_page(page):
    links = page.execute_script("return [...document.querySelectorAll('nav a')].map((a) => a.getAttribute('href'))")
    sections = page.execute_script("return [...document.querySelectorAll('main > section')].map((s) => '#' + s.id)")
    assert links == sections and len(links) == 18
    page.execute_script("[...document.querySelectorAll('nav a')].at(-1).click()")
    assert page.execute_script("return document.querySelector(':target').getBoundingClientRect().top") < 900


def test_the_contents_stay_in_sight_on_a_wide_screen_and_lie_above_on_a_phone(page):
    place = "const box = document.querySelector('nav').getBoundingClientRect(); return [box.top, box.width]"
    page.execute_script("scrollTo(0, 3000)")
    assert 0 <= page.execute_script(place)[0] < 100
    show(page, PHONE)
    page.execute_script("scrollTo(0, 3000)")
    assert page.execute_script(place)[0] < 0
    page.execute_script("scrollTo(0, 0)")


def test_paper_has_no_contents_light_colours_and_all_tables(page):
    show(page, 760, "dark", media="print")
    assert page.execute_script("return getComputedStyle(document.querySelector('nav')).display") == "none"
    assert rgb(page.execute_script("return getComputedStyle(document.body).color")) == [0, 0, 0]
    show(page, DESK)
    page.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert page.execute_script("return document.querySelectorAll('details:not([open])').length") == 0
    page.execute_script("dispatchEvent(new Event('afterprint'))")
    assert page.execute_script("return document.querySelectorAll('details[open]').length") == 0
    pdf = base64.b64decode(page.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})["data"])
    assert pdf.startswith(b"%PDF") and len(pdf) > 50_000


def test_the_policy_stops_scripts_and_requests_that_got_in(page, report):
    page.execute_script("""const script = document.createElement('script');
        script.textContent = 'window.ran = 3'; document.head.append(script);
        const image = new Image(); image.src = 'https://example.org/x.png'; document.body.append(image)""")
    refused = [entry["message"] for entry in page.get_log("browser") if "Content Security Policy" in entry["message"]]
    assert page.execute_script("return window.ran") is None and len(refused) >= 2
    page.get(report.path.as_uri())


def test_headings_are_in_order(page):
    levels = page.execute_script(
        "return [...document.querySelectorAll('h1,h2,h3,h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b <= a + 2 for a, b in itertools.pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(page, scheme):
    show(page, DESK, scheme)
    page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    assert not grave_findings(page)
