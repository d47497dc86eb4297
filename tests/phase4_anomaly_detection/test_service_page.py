"""Covers the service's page in a real Chromium: score, latents, refusals, token, verification, widths, colours."""

import json

import chromium
import httpx
import pytest
from axe import grave_findings
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from services import PATIENCE_S, TOKEN, serving, token_file
from small_detectors import prompts, shared_detector

from phase4_anomaly_detection import SAEAnomalyPipeline

pytestmark = pytest.mark.skipif(chromium.why_not() is not None, reason=str(chromium.why_not()))
PHONE, DESK = 360, 1200
READABLE = 4.5  # contrast of small text: WCAG 2.2, 1.4.3


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return shared_detector(tmp_path_factory)


@pytest.fixture(scope="module")
def alarming(detector):
    """A prompt that is to be verified, and what the API says of it."""
    pipeline = SAEAnomalyPipeline.load(detector, device="cpu", threads=1)
    for text, found in zip(prompts(), pipeline.detect(list(prompts())), strict=True):
        if found.route == "verify" and len(found.top_features) > 1:
            return text, found
    raise AssertionError("no prompt is alarming")


@pytest.fixture(scope="module")
def service(detector, tmp_path_factory):
    with serving(detector, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(detector, tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    with serving(detector, folder, "--token-file", token_file(folder), "--verify") as running:
        yield running


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    with chromium.browser(tmp_path_factory.mktemp("chromium")) as driver:
        yield driver


@pytest.fixture
def page(opened, service):
    show(opened, DESK)
    opened.get(service.url)
    wait(opened, lambda: "latents in layer" in text_of(opened, "about"))
    return opened


def show(driver, width, scheme="light"):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})


def wait(driver, condition):
    WebDriverWait(driver, PATIENCE_S, poll_frequency=0.05).until(lambda _: condition())


def text_of(driver, name: str) -> str:
    return driver.find_element(By.ID, name).text


def fill(driver, name: str, text: str) -> None:
    driver.execute_script("arguments[0].value = arguments[1]", driver.find_element(By.ID, name), text)


def check(driver, text: str) -> None:
    """Give the page a text, press the button, and wait for what it says."""
    fill(driver, "text", text)
    driver.find_element(By.ID, "send").click()
    wait(driver, lambda: driver.find_element(By.ID, "send").is_enabled())


def number(text: str) -> float:
    return float(text.replace("\N{MINUS SIGN}", "-"))


def test_it_shows_score_level_route_and_the_contributing_latents(page, alarming):
    code, expected = alarming
    check(page, code)
    assert text_of(page, "route").startswith("Verify.")
    facts = page.execute_script("""return Object.fromEntries([...document.querySelectorAll('#facts > div')]
        .map((pair) => [pair.querySelector('dt').innerText, pair.querySelector('dd').innerText]))""")
    assert number(facts["Score"]) == pytest.approx(expected.anomaly_score, abs=1e-4)
    assert number(facts["Threshold"]) == pytest.approx(expected.threshold, abs=1e-4)
    assert facts["Level"] == expected.level and facts["Tokens read"] == str(expected.n_tokens)
    rows = page.execute_script("""return [...document.querySelectorAll('#latents tbody tr')]
        .map((row) => [...row.cells].map((cell) => cell.innerText))""")
    names = [f"layer {entry['layer']}, latent {entry['latent']}" for entry in expected.top_features]
    assert [row[0] for row in rows] == names
    contributions = [entry["contribution"] for entry in expected.top_features]
    assert [number(row[1]) for row in rows] == pytest.approx(contributions, abs=1e-4)
    widths = page.execute_script(
        "return [...document.querySelectorAll('#latents i')].map((bar) => bar.getBoundingClientRect().width)"
    )
    assert widths == sorted(widths, reverse=True) and widths[0] > 20
    assert expected.verdict in text_of(page, "verdict")
    drawing = page.find_element(By.CSS_SELECTOR, "#scale svg")
    assert "Score" in drawing.get_attribute("aria-label") and drawing.size["width"] > 300
    assert page.execute_script("return document.activeElement.id") == "result"


def test_it_loads_nothing_from_elsewhere_and_says_nothing_in_the_console(opened, service, alarming):
    opened.get("about:blank")
    opened.get_log("performance"), opened.get_log("browser")  # what the browser did when it started
    opened.get(service.url)
    check(opened, alarming[0])
    events = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    urls = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    own = {service.url, f"{service.url}health", f"{service.url}detect"}
    assert own == {url for url in urls if not url.startswith("data:")}
    assert not [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def test_its_policy_lets_nothing_else_in(page, service):
    policy = httpx.get(service.url, timeout=60).headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
    page.execute_script("""const script = document.createElement('script');
        script.textContent = 'window.ran = 3'; document.head.append(script)""")
    assert page.execute_script("return window.ran") is None
    page.get_log("browser")


def test_what_is_pasted_is_never_run(page):
    check(page, "<img src=x onerror='window.ran = 1'><script>window.ran = 2</script>")
    assert page.execute_script("return window.ran") is None


def test_nothing_to_check_and_a_refusal_are_said(page):
    page.find_element(By.ID, "send").click()
    assert "nothing to check" in text_of(page, "message")
    check(page, "x = 1\n" * 5_000)
    assert "too long" in text_of(page, "message") and not page.find_element(By.ID, "result").is_displayed()
    assert page.find_element(By.ID, "message").get_attribute("role") == "alert"
    check(page, "def f():\n    return 1")
    assert not page.find_element(By.ID, "message").is_displayed()


def test_of_a_text_of_another_kind_it_says_why_and_shows_no_number(page, alarming):
    assert "prompts" in text_of(page, "population")
    check(page, alarming[0])
    check(page, "def f():\n    return 1")
    assert text_of(page, "route").startswith("Abstain.") and "fitted on prompts" in text_of(page, "route")
    assert not any(page.find_element(By.ID, name).is_displayed() for name in ("scale", "facts", "latents"))
    check(page, alarming[0])
    assert page.find_element(By.ID, "facts").is_displayed()


def test_the_keyboard_is_enough(page):
    field = page.find_element(By.ID, "text")
    field.send_keys("def f(n):")
    field.send_keys(Keys.CONTROL, Keys.ENTER)
    wait(page, lambda: page.find_element(By.ID, "result").is_displayed())
    assert text_of(page, "route")


def test_it_asks_for_the_token_and_verifies(opened, guarded, alarming):
    code, _ = alarming
    show(opened, DESK)
    opened.get(guarded.url)
    wait(opened, lambda: opened.find_element(By.ID, "token").is_displayed())
    check(opened, code)
    assert "token" in text_of(opened, "message")
    opened.find_element(By.ID, "token").send_keys(TOKEN + Keys.TAB)
    wait(opened, lambda: opened.find_element(By.ID, "verifybox").is_displayed())
    opened.find_element(By.CSS_SELECTOR, "#verifybox summary").click()
    opened.find_element(By.ID, "verify").click()
    fill(opened, "tests", "assert no_such_function(1) == 2")
    check(opened, code)
    shown = text_of(opened, "checks")
    assert "Verification: failed" in shown and "syntax" in shown and "does not parse" in shown
    opened.get_log("browser")


@pytest.mark.parametrize("width", [PHONE, 390, 768, DESK])
def test_nothing_sticks_out_sideways(page, width, alarming):
    show(page, width)
    check(page, alarming[0])
    assert page.execute_script("return document.documentElement.scrollWidth") <= width
    small = page.execute_script("""return [...document.querySelectorAll('button, textarea')]
        .filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 44).map((e) => e.id)""")
    assert not small


def test_every_field_has_a_label_and_headings_are_in_order(page, alarming):
    check(page, alarming[0])
    unnamed = page.execute_script("""return [...document.querySelectorAll('input, textarea')]
        .filter((e) => e.labels.length !== 1 || e.labels[0].innerText.length + e.labels[0].textContent.length < 10)
        .map((e) => e.id)""")
    assert not unnamed
    levels = page.execute_script("return [...document.querySelectorAll('h1,h2,h3')].map((h) => Number(h.tagName[1]))")
    assert levels == [1, 2] and page.execute_script("return document.documentElement.lang") == "en"
    assert page.execute_script("return document.querySelectorAll('table caption').length") == 1


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two colours, 1 to 21."""
    lights = []
    for color in (one, other):
        channels = [float(part) / 255 for part in color[color.index("(") + 1 : -1].split(",")[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        lights.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(lights) + 0.05) / (min(lights) + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable(page, scheme, alarming):
    show(page, DESK, scheme)
    check(page, alarming[0])
    pairs = page.execute_script("""const opaque = (c) => c !== 'rgba(0, 0, 0, 0)' && c !== 'transparent';
        const texts = 'h1, h2, h2 span, p, label, dt, dd, th, td, caption, button, textarea';
        return [...document.querySelectorAll(texts)].filter((e) => e.checkVisibility()).map((e) => {
            let under = e;
            while (under && !opaque(getComputedStyle(under).backgroundColor)) under = under.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(under).backgroundColor, e.tagName + '.' + e.className]
        })""")
    assert len(pairs) > 25 and not [pair for pair in pairs if contrast(*pair[:2]) < READABLE]
    ground = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (contrast(ground, "rgb(255, 255, 255)") < 2) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_before_and_after_a_score(page, alarming, scheme):
    show(page, DESK, scheme)
    assert not grave_findings(page)
    check(page, alarming[0])
    assert not grave_findings(page)
