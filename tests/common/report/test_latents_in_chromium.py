"""Covers the pages of latents in a real Chromium: a link opens the folded page, one page alone loads in silence."""

import json

import chromium
import latent_data
import pytest
from report_data import HOSTILE
from support import command

from common.report.document import write_reports
from run import CATALOGUE

pytestmark = pytest.mark.skipif(chromium.why_not() is not None, reason=str(chromium.why_not()))
PHONE, DESK = 360, 1200
FOLD = "const fold = document.querySelector('details.fold'); "


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return latent_data.latent_data(tmp_path_factory)


@pytest.fixture(scope="module")
def report(folder, tmp_path_factory):
    return write_reports(CATALOGUE, folder / "data", out=tmp_path_factory.mktemp("report") / "report.html")[0].path


@pytest.fixture(scope="module")
def page(folder, tmp_path_factory):
    """The page of a latent that fires on much text."""
    out = tmp_path_factory.mktemp("page") / "latent.html"
    latent = latent_data.densest(folder, 2)
    done = command("run.py", "latent", 2, latent, "--data-dir", folder / "data", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


def opened(browser, path, width=DESK, place=""):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get("about:blank")
    browser.get_log("performance"), browser.get_log("browser")
    browser.get(path.as_uri() + place)
    return browser


def test_the_link_of_a_selected_latent_opens_its_page_and_leads_there(browser, report):
    opened(browser, report)
    assert not browser.execute_script(FOLD + "return fold.open")
    browser.execute_script("document.querySelector('#selection a[href^=\"#latent-\"]').click()")
    top = "const box = document.querySelector(':target').getBoundingClientRect(); return [box.top, box.height]"
    assert browser.execute_script("return document.querySelector(':target').open")
    place, height = browser.execute_script(top)
    assert -5 <= place < 900 and height > 1000
    browser.execute_script("document.querySelector(':target').open = false")
    browser.execute_script("document.querySelector(`#selection a[href='${location.hash}']`).click()")
    assert browser.execute_script("return document.querySelector(':target').open")


def test_a_link_from_elsewhere_opens_the_page_too(browser, report):
    name = opened(browser, report).execute_script(FOLD + "return fold.id")
    assert opened(browser, report, place=f"#{name}").execute_script(FOLD + "return fold.open")


def test_a_page_loads_without_a_message_and_without_a_request_and_nothing_runs(browser, page):
    opened(browser, page)
    assert not [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith("data:")} == {page.as_uri()}
    text = browser.execute_script("return document.body.textContent")
    assert browser.execute_script("return window.ran") is None and HOSTILE[:30] in text


def test_the_contents_of_a_page_are_its_parts_and_each_token_is_marked(browser, page):
    opened(browser, page)
    links = browser.execute_script("return [...document.querySelectorAll('nav a')].map((a) => a.hash)")
    assert links == ["#what", "#prompts", "#text", "#logits", "#statistics"]
    marks = browser.execute_script("""return [...document.querySelectorAll('.passage')].map((passage) =>
        [passage.querySelectorAll('mark').length, passage.querySelector('mark').getBoundingClientRect().width > 0])""")
    assert len(marks) > 10 and all(mark == [1, True] for mark in marks)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_of_a_page_sticks_out_sideways(browser, page, width):
    opened(browser, page, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert not browser.execute_script("""return [...document.querySelectorAll('.passage, .measure, h4')]
        .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.outerHTML.slice(0, 80))""")
