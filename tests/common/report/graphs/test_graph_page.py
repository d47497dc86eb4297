"""Covers the page of graphs and the small drawing as files: what is escaped, refused and inlined, without a browser."""

import dataclasses
import json
import re
from xml.etree import ElementTree

import pages
import pytest

from common.errors import ConfigError
from common.report.graphs.graph_document import NodeKind
from common.report.graphs.influence_of_links import influence_of_links
from common.report.graphs.overview import overview
from common.report.graphs.page import graph_page, page_data

HOSTILE = '</script><img src=x onerror="window.ran=1"><!--<script>\''


@pytest.fixture(scope="module")
def hostile(make_graph):
    graph = make_graph(HOSTILE, tokens=("<bos>", HOSTILE, " dog"), label=HOSTILE)
    return dataclasses.replace(graph, notes=(HOSTILE,), sink_token=HOSTILE, scores={HOSTILE: HOSTILE})


def data_of(html):
    return json.loads(re.search('<script type="application/json" id="graphs">(.*?)</script>', html)[1])


def test_nothing_that_a_graph_says_becomes_an_element(hostile):
    html = graph_page([hostile]).decode()
    elements = [name for name, _ in pages.Reader(html).elements]
    assert elements.count("script") == 2 and "img" not in elements and "<!--" not in html
    assert HOSTILE in pages.words(html)


def test_what_is_inlined_is_read_back_as_it_was(hostile):
    (data,) = data_of(graph_page([hostile]).decode())
    assert data["tokens"] == list(hostile.tokens) and data["slug"] == HOSTILE
    assert {node["label"] for node in data["nodes"] if node["kind"] == "latent"} == {HOSTILE}


def test_links_are_inlined_by_the_places_of_their_nodes_the_strongest_first(make_graph):
    graph = make_graph()
    data = page_data(graph)
    ids = [node["id"] for node in data["nodes"]]
    weights = {(link.source, link.target): link.weight for link in graph.links}
    assert {(ids[s], ids[t]): weight for s, t, weight, _ in data["links"]} == pytest.approx(weights, rel=1e-5)
    influence = [link[3] for link in data["links"]]
    assert influence == sorted(influence, reverse=True)
    assert influence[0] == pytest.approx(max(influence_of_links(graph)), rel=1e-5)


def test_the_page_needs_no_network_and_its_policy_allows_its_script_alone(make_graph):
    html = graph_page([make_graph()]).decode()
    allowed = next(a for name, a in pages.Reader(html).elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in allowed["content"] and "script-src 'sha256-" in allowed["content"]
    links = [attributes.get("src") or attributes.get("href") for _, attributes in pages.Reader(html).elements]
    assert {link for link in links if link} == {"data:,", "#main"}


def test_scores_verification_settings_and_notes_stand_below_the_drawing(make_graph):
    words = pages.words(graph_page([make_graph()]).decode())
    assert "Replacement 0.830" in words and "Errors direct share 0.400" in words
    assert "Passed yes" in words and "Strongest edges relative max 7.2e-07" in words and "Max latents 7,500" in words
    assert "before the final cap, centred over the vocabulary" in words
    assert "<pad> was put before the prompt" in words and "The gates are kept as they are." in words


@pytest.mark.parametrize("n", [0, 3])
def test_a_page_shows_one_or_two_graphs(make_graph, n):
    with pytest.raises(ConfigError, match=f"one or two graphs, not {n}"):
        graph_page([make_graph()] * n)


def test_a_page_is_written_even_of_half_a_character(make_graph):
    page = graph_page([make_graph("half \ud83d", tokens=("<bos>", "\ud83d"))])
    assert len(page) > 10_000 and b"half \\ud83d" in page


def test_the_overview_has_the_nodes_of_largest_effect_and_the_strongest_links(make_graph):
    graph = make_graph(latents=6, fullest=20)
    svg = ElementTree.fromstring(overview(graph, n_nodes=30, n_links=50))
    inner = [node for node in graph.nodes if node.kind in (NodeKind.LATENT, NodeKind.ERROR)]
    inner.sort(key=lambda node: -abs(node.signed_effect))
    latents = [node for node in inner[:30] if node.kind is NodeKind.LATENT]
    assert len(svg.findall("circle")) == len(latents)
    assert len(svg.findall("rect")) == 30 - len(latents) + len(graph.tokens) + len(graph.targets)
    assert 10 < len(svg.findall(".//path")) <= 50
    places = [(circle.get("cx"), circle.get("cy")) for circle in svg.findall("circle")]
    assert len(set(places)) == len(places)


def test_the_overview_has_the_pages_colours_and_its_words_are_escaped(hostile):
    drawing = overview(hostile)
    svg = ElementTree.fromstring(drawing)
    styles = " ".join(element.get("style", "") for element in svg.iter())
    assert "var(--accent)" in styles and "var(--warn)" in styles and "#" not in styles
    assert "<img" not in drawing and HOSTILE in svg.get("aria-label")
    assert [element.text for element in svg.iter("text")][:6] == ["token", "0", "1", "2", "3", "logit"]


def test_the_overview_stays_within_its_frame(make_graph):
    svg = ElementTree.fromstring(overview(make_graph(fullest=40)))
    _, _, width, height = map(float, svg.get("viewBox").split())
    for circle in svg.findall("circle"):
        assert 0 < float(circle.get("cx")) < width and 0 < float(circle.get("cy")) < height
