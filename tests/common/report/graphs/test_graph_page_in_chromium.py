"""Covers the page of graphs in a real Chromium: slider, links, details, pins, groups, and selections that are kept."""

import dataclasses
import json

import chromium
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from common.report.graphs.page import graph_page

pytestmark = pytest.mark.skipif(chromium.why_not() is not None, reason=str(chromium.why_not()))


@pytest.fixture
def opened(viewer, one):
    """The page of one graph as it opens, and afterwards a look at what the browser complained of."""
    viewer.show(one)
    yield viewer
    assert viewer.complaints() == []


def test_it_opens_with_all_nodes_without_a_request_or_a_complaint(viewer, one, graph):
    viewer.show(one)
    assert viewer.n_shown() == len(graph.nodes) and viewer.n_links() == 300
    assert viewer.count_said() == (
        f"{len(graph.nodes)} of {len(graph.nodes)} nodes; the strongest 300 of {len(graph.links):,} links are drawn"
    )
    events = [json.loads(entry["message"])["message"] for entry in viewer.driver.get_log("performance")]
    urls = {event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"}
    assert {url for url in urls if not url.startswith("data:")} == {one.as_uri()}
    assert viewer.complaints() == []


def test_the_slider_shows_the_nodes_up_to_its_influence(opened, graph):
    for threshold in (0.5, 0.2, 0.7):
        opened.slide(threshold)
        expected = [each for each in graph.nodes if each.influence is None or each.influence <= threshold]
        assert opened.n_shown() == len(expected) < len(graph.nodes)
        assert opened.count_said().startswith(f"{len(expected)} of {len(graph.nodes)} nodes")
        assert opened.find(".threshold-said").text == f"{threshold:.2f}"


def test_only_as_many_links_are_drawn_as_asked_for(opened):
    assert opened.n_links() == 300
    opened.run("""const most = document.querySelector('.most');
        most.value = '100'; most.dispatchEvent(new Event('change'))""")
    assert opened.n_links() == 100 and "the strongest 100 of" in opened.count_said()


def test_a_click_leaves_only_the_links_of_a_node_and_a_second_click_brings_all_back(opened, graph, busy):
    name = busy[0]
    own = [link for link in graph.links if name in (link.source, link.target)]
    opened.press_at(opened.node(name))
    assert opened.n_links() == len(own) and "selected" in opened.classes(name)
    assert f"the strongest {len(own)} of {len(own)} links" in opened.count_said()
    opened.press_at(opened.node(name))
    assert opened.n_links() == 300


def test_details_have_the_values_the_strongest_ends_examples_and_logit_effects(opened, graph, busy):
    name = busy[0]
    opened.press_at(opened.node(name))
    box = opened.find(".details")
    own = next(each for each in graph.nodes if each.id == name)
    says = box.text.replace("\N{MINUS SIGN}", "-")
    for value in (own.activation, own.influence, own.signed_effect):
        assert f"{value:.3f}" in says or f"{value:.1e}".replace("e-0", "e-") in says
    assert f"layer {own.layer}, latent {own.index}" in says and "plural" in says
    for side, end in (("input", "target"), ("output", "source")):
        links = [link for link in graph.links if getattr(link, end) == name]
        links.sort(key=lambda link: -abs(link.weight))
        listed = [each.text for each in box.find_elements(By.CSS_SELECTOR, f".{side} .weight")]
        weights = [float(text.replace("\N{MINUS SIGN}", "-")) for text in listed]
        assert weights == pytest.approx([link.weight for link in links[:10]], abs=6e-4) and len(weights) > 1
    assert [mark.text for mark in box.find_elements(By.TAG_NAME, "mark")] == ["dogs", "cats"]
    assert "·are +1.500, ·were +1.250" in says and "·is -1.750" in says


def test_an_end_in_the_details_leads_to_its_own_links(opened, graph, busy):
    name = busy[0]
    opened.press_at(opened.node(name))
    opened.find(".details .input button").click()
    strongest = max((link for link in graph.links if link.target == name), key=lambda link: abs(link.weight))
    assert "selected" in opened.classes(strongest.source) and "selected" not in opened.classes(name)


def test_the_mouse_over_a_node_shows_its_details(opened, graph, busy):
    first, second = busy[:2]
    for name in (first, second):
        element = opened.node(name)
        opened.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        ActionChains(opened.driver).move_to_element(element).perform()
        own = next(each for each in graph.nodes if each.id == name)
        assert f"latent {own.index}" in opened.find(".details").text


def test_shift_click_a_key_and_the_button_pin_and_the_slider_keeps_what_is_pinned(opened, graph):
    weakest = sorted((n for n in graph.nodes if n.kind == "latent"), key=lambda n: -n.influence)[:3]
    by_click, by_key, by_button = (each.id for each in weakest)
    opened.press_at(opened.node(by_click), held=Keys.SHIFT)
    opened.press_at(opened.node(by_key), "p")
    opened.press_at(opened.node(by_button))
    opened.find(".details .pin").click()
    opened.press_at(opened.node(by_button), Keys.ESCAPE)
    for name in (by_click, by_key, by_button):
        assert "pinned" in opened.classes(name) and opened.node(name).get_attribute("aria-pressed") == "true"
    opened.slide(0.1)
    assert all("pinned" in opened.classes(name) for name in (by_click, by_key, by_button))
    opened.press_at(opened.node(by_key), "p")
    assert not opened.all(f".node[data-id='{by_key}']")
    assert opened.find(".pins").text == "2 nodes pinned."


def test_arrow_keys_go_from_node_to_node_and_enter_selects(opened, graph):
    last = len(graph.tokens) - 1
    opened.press_at(opened.node("E_101_1"), Keys.ARROW_RIGHT)
    focused = "return document.activeElement.dataset.id"
    assert opened.run(focused) == "E_102_2"
    ActionChains(opened.driver).send_keys(Keys.ARROW_UP).perform()
    assert opened.run(focused).startswith("0_")
    for _ in range(10):
        ActionChains(opened.driver).send_keys(Keys.ARROW_UP).perform()
    assert opened.run(focused) == f"5_1000_{last}"
    ActionChains(opened.driver).send_keys(Keys.ENTER).perform()
    assert "selected" in opened.classes(f"5_1000_{last}")
    assert opened.n_links() == sum(link.target == f"5_1000_{last}" for link in graph.links)


def make_group(viewer, names, title):
    for name in names:
        viewer.press_at(viewer.node(name), "p")
    viewer.find(".make-group").click()
    viewer.driver.switch_to.active_element.send_keys(title)


def test_pinned_nodes_become_a_group_with_a_name_that_can_be_looked_at_and_dissolved(opened, graph, busy):
    names = busy
    make_group(opened, names[:3], "plural nouns")
    make_group(opened, names[3:], "verbs")
    listed = opened.all(".group-list input")
    assert [each.get_attribute("value") for each in listed] == ["plural nouns", "verbs"]
    effect = sum(each.signed_effect for each in graph.nodes if each.id in names[:3])
    says = opened.find(".group-list li").text.replace("\N{MINUS SIGN}", "-")
    assert f"3 nodes, signed effect {effect:+.3f}" in says
    assert "in plural nouns" in opened.node(names[0]).get_attribute("aria-label")
    between = sum(link.weight for link in graph.links if link.source in names[:3] and link.target in names[3:])
    sums = opened.find(".between").text.replace("\N{MINUS SIGN}", "-")
    assert between == 0 or f"plural nouns → verbs: {between:+.3f}" in sums
    opened.driver.find_element(By.XPATH, "//li[1]/button[text()='Its links']").click()
    assert opened.n_links() == sum(link.source in names[:3] or link.target in names[:3] for link in graph.links)
    opened.driver.find_element(By.XPATH, "//li[1]/button[text()='Dissolve']").click()
    (left,) = opened.all(".group-list input")
    assert left.get_attribute("value") == "verbs" and opened.node(names[4]).text == "1"


def test_the_address_brings_a_selection_back_after_a_reload(opened, busy):
    names = busy
    opened.slide(0.6)
    make_group(opened, names[:2], "</script> & nouns")
    opened.press_at(opened.node(names[2]), "p")
    opened.press_at(opened.node(names[3]))
    groups = [{"name": "</script> & nouns", "nodes": names[:2]}]
    expected = {"slug": "farmers", "selected": [names[3]], "pinned": [names[2]], "groups": groups}
    assert opened.kept() == {"influence": 0.6, "links": 300, "graphs": [expected]}
    before = opened.count_said()
    opened.driver.refresh()
    assert opened.count_said() == before and opened.kept()["graphs"] == [expected]
    assert "selected" in opened.classes(names[3]) and "pinned" in opened.classes(names[2])
    assert opened.find(".group-list input").get_attribute("value") == "</script> & nouns"
    assert float(opened.find(".threshold").get_attribute("value")) == 0.6


def test_a_selection_is_downloaded_as_a_file_and_loaded_from_it(opened, one, busy, folder):
    name = busy[0]
    opened.press_at(opened.node(name), "p")
    opened.find(".save").click()
    file = folder / "farmers-selection.json"
    opened.until(lambda: file.is_file() and file.stat().st_size)
    assert json.loads(file.read_text())["graphs"][0]["pinned"] == [name]
    opened.show(one)
    assert "pinned" not in opened.classes(name)
    opened.find(".load").send_keys(str(file))
    opened.until(lambda: opened.all(f".node.pinned[data-id='{name}']"))


@pytest.mark.parametrize("place", ["#selection=%E0%A4%A", "#selection=7", '#selection={"graphs":[{"slug":"x"}]}'])
def test_a_selection_of_something_else_is_refused_in_words(viewer, one, graph, place):
    viewer.show(one, place=place)
    assert "holds no selection of farmers" in viewer.find(".said").text
    assert viewer.n_shown() == len(graph.nodes) and viewer.complaints() == []


def test_two_graphs_stand_side_by_side_with_one_slider_and_selections_of_their_own(viewer, two, busy):
    viewer.show(two, width=1440)
    left, right = viewer.all(".graph")
    assert left.rect["y"] == right.rect["y"] and left.rect["x"] + left.rect["width"] <= right.rect["x"]
    assert left.find_element(By.TAG_NAME, "h2").text == 'farmers: Output " are" - " is", Output " are"'
    before = [viewer.n_shown(0), viewer.n_shown(1)]
    viewer.slide(0.6)
    assert all(viewer.n_shown(i) < n for i, n in enumerate(before))
    name = busy[0]
    viewer.press_at(viewer.node(name), "p")
    found = viewer.kept()["graphs"]
    assert [(each["slug"], each["pinned"]) for each in found] == [("farmers", [name]), ("other", [])]
    assert viewer.run("return window.ran") is None
    assert viewer.run("return document.images.length") == 0
    prompt = right.find_element(By.CSS_SELECTOR, ".prompt").text
    assert prompt.startswith("A</script><img src=x") and viewer.complaints() == []


def test_details_say_where_the_graph_beside_has_the_same_latent(viewer, graph, folder, busy):
    without = dataclasses.replace(graph, slug="without", nodes=graph.targets, links=())
    path = folder / "same.html"
    for beside, says in (
        (dataclasses.replace(graph, slug="again"), "In again\nat ·"),
        (without, "In without\nnot kept"),
    ):
        path.write_bytes(graph_page([graph, beside]))
        viewer.show(path)
        viewer.press_at(viewer.node(busy[0]))
        assert says in viewer.find(".details").text and viewer.complaints() == []
