"""Attribution graphs made up from a seed, with the form, ids and signs of real ones; their pages in a browser."""

import json
import random
from collections import Counter
from collections.abc import Callable, Iterator

import chromium
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from common.report.graphs.graph_document import (
    GraphDocument,
    GraphLink,
    GraphNode,
    LogitEffect,
    Origin,
    PruningSettings,
    TextExample,
    constant_node,
    contrast_node,
    error_node,
    latent_node,
    logit_node,
    token_node,
)
from common.report.graphs.page import graph_page

N_LAYERS, D_VOCAB = 4, 1000
HOSTILE = '</script><img src=x onerror="window.ran=1">\''
DESK = 1280
KEPT_AFTER_S = 5
TOKENS = ("<bos>", "The", " old", " farmers", " near", " the", " dog")


@pytest.fixture(scope="session")
def make_graph() -> Callable[..., GraphDocument]:
    return made_up


def made_up(
    slug: str = "farmers", tokens: tuple[str, ...] = TOKENS, latents: int = 3, fullest: int = 5, label: str = "plural"
) -> GraphDocument:
    """`latents` of each layer and position after the first, `fullest` of layer 2 at the last position."""
    draw = random.Random(ascii(slug))
    last = len(tokens) - 1
    nodes = [*_tokens(tokens), *(constant_node(layer) for layer in range(N_LAYERS))]
    nodes += _inner(draw, last, latents, fullest, label)
    nodes += [
        contrast_node(N_LAYERS, D_VOCAB, " are", " is", last),
        logit_node(N_LAYERS, 526, " are", last, probability=0.61803398875),
    ]
    return GraphDocument(
        slug=slug,
        model="organism",
        prompt="".join(tokens[1:]),
        tokens=tokens,
        n_layers=N_LAYERS,
        d_vocab=D_VOCAB,
        nodes=tuple(nodes),
        links=tuple(_links(draw, nodes)),
        pruning=PruningSettings(node_share=0.8, edge_share=0.98),
        origin=Origin(
            create_time_ms=1_790_000_000_000,
            creator_name="the tests",
            source_urls=("https://example.org/transcoders",),
            generator_version="1",
            generator_url="https://example.org/pva-sae",
        ),
        scores={"replacement": 0.83, "errors_direct_share": 0.4},
        verification={"strongest_edges_relative_max": 7.2e-7, "passed": True},
        settings={"max_latents": 7500, "chosen": "contrast"},
        sink_token="<pad>",
        notes=("The gates are kept as they are.",),
    )


def _tokens(tokens: tuple[str, ...]) -> Iterator[GraphNode]:
    return (token_node(100 + position, position, label=token) for position, token in enumerate(tokens))


def _inner(draw: random.Random, last: int, latents: int, fullest: int, label: str) -> list[GraphNode]:
    """Latents and errors; the share of each falls with its place, and `influence` adds the shares up."""
    cells = [(layer, position) for layer in range(N_LAYERS) for position in range(1, last + 1)]
    numbers = {cell: fullest if cell == (2, last) else latents for cell in cells}
    places = [(*cell, draw.randrange(500) * 50 + i) for cell, n in numbers.items() for i in range(n)]
    places += [(*cell, None) for cell in cells]
    draw.shuffle(places)
    shares = [1 / (rank + 3) for rank in range(len(places))]
    known = []
    for rank, (layer, position, latent) in enumerate(places):
        values = {
            "influence": 0.8 * sum(shares[: rank + 1]) / sum(shares),
            "signed_effect": draw.gauss(0, shares[rank]),
        }
        if latent is None:
            known.append(error_node(layer, position, **values))
        else:
            known.append(latent_node(layer, latent, position, draw.uniform(0.1, 9), **values, **_described(label)))
    return known


def _described(label: str) -> dict:
    return {
        "label": label,
        "examples": (TextExample("Two ", "dogs", " bark.", 8.25), TextExample("", "cats", " sleep")),
        "promotes": (LogitEffect(" are", 1.5), LogitEffect(" were", 1.25)),
        "suppresses": (LogitEffect(" is", -1.75),),
    }


def _links(draw: random.Random, nodes: list[GraphNode]) -> Iterator[GraphLink]:
    targets = [node for node in nodes if node.kind in ("latent", "logit")]
    sources = [node for node in nodes if node.kind != "logit"]
    for target in targets:
        for source in sources:
            if source.layer < target.layer and source.position <= target.position and draw.random() < 0.4:
                yield GraphLink(source.id, target.id, draw.gauss(0, 1))


def busiest(graph: GraphDocument, n: int) -> list[str]:
    """Latents with many links in and many out, of those that are still shown when the slider stands at 0.6."""
    inputs, outputs = Counter(link.target for link in graph.links), Counter(link.source for link in graph.links)
    latents = [node.id for node in graph.nodes if node.kind == "latent" and (node.influence or 0) <= 0.6]
    return sorted(latents, key=lambda name: -inputs[name] * outputs[name])[:n]


class Viewer:
    """A browser with a page of graphs, and what a reader does there and sees."""

    def __init__(self, driver):
        self.driver = driver
        self.run = driver.execute_script

    def show(self, path, width=DESK, scheme="light", place=""):
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})
        self.driver.get("about:blank")
        self.driver.get_log("performance"), self.driver.get_log("browser")
        self.driver.get(path.as_uri() + place)

    def complaints(self):
        entries = self.driver.get_log("browser")
        return [entry["message"] for entry in entries if entry["level"] in ("SEVERE", "WARNING")]

    def find(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def node(self, name):
        return self.find(f".node[data-id='{name}']")

    def classes(self, name):
        return self.node(name).get_attribute("class").split()

    def n_shown(self, graph=0):
        return len(self.all(".graph")[graph].find_elements(By.CSS_SELECTOR, ".node"))

    def n_links(self):
        return len(self.all(".link"))

    def count_said(self):
        return self.find(".count").text

    def slide(self, value):
        self.run(
            """const slider = document.querySelector('.threshold');
            slider.value = arguments[0]; slider.dispatchEvent(new Event('input'))""",
            value,
        )

    def press_at(self, element, *keys, held=None):
        """Press keys while an element has the focus; without keys, click it, perhaps with one held down."""
        actions = ActionChains(self.driver)
        if keys:
            self.run("arguments[0].focus()", element)
            actions.send_keys(*keys).perform()
            return
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        (actions.key_down(held).click(element).key_up(held) if held else actions.click(element)).perform()

    def until(self, condition):
        return WebDriverWait(self.driver, KEPT_AFTER_S, poll_frequency=0.05).until(lambda _: condition())

    def kept(self):
        """The selection in the address, once it has followed what the page shows."""
        followed = "return location.hash === PREFIX + encodeURIComponent(JSON.stringify(selection()))"
        self.until(lambda: self.run(followed))
        return json.loads(self.run("return decodeURIComponent(location.hash.slice('#selection='.length))"))


@pytest.fixture(scope="session")
def graph(make_graph) -> GraphDocument:
    """A graph with forty latents in one cell."""
    return make_graph(latents=4, fullest=40)


@pytest.fixture(scope="session")
def busy(graph) -> list[str]:
    """Five of its latents, with much to see."""
    return busiest(graph, 5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def one(graph, folder):
    path = folder / "one.html"
    path.write_bytes(graph_page([graph]))
    return path


@pytest.fixture(scope="module")
def two(graph, make_graph, folder):
    path = folder / "two.html"
    beside = make_graph("other", tokens=("<bos>", "A", HOSTILE), label=HOSTILE)
    path.write_bytes(graph_page([graph, beside]))
    return path


@pytest.fixture(scope="module")
def viewer(tmp_path_factory, folder):
    with chromium.browser(tmp_path_factory.mktemp("chromium")) as driver:
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)})
        yield Viewer(driver)
