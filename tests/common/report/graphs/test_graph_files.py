"""Covers the files of an attribution graph: its JSON and back, ids, what pages need, the schema, GraphML."""

import copy
import dataclasses
import io
import json
import math

import pytest
from support import SHARED

from common.errors import ConfigError, PipelineError
from common.report.graphs.graph_check import check_graph
from common.report.graphs.graph_document import (
    GraphLink,
    NodeKind,
    constant_node,
    contrast_node,
    error_node,
    latent_node,
    logit_node,
    token_node,
)
from common.report.graphs.graphml import to_graphml
from common.report.graphs.influence_of_links import influence_of_links, strongest_links
from common.report.graphs.neuronpedia import cantor_pair, from_neuronpedia, neuronpedia_bytes, to_neuronpedia

SCHEMA = SHARED / "circuits" / "graph-schema.json"
HOSTILE = '</script><img src=x onerror="window.ran=1">\'\n\t\x07\ud83d é'


@pytest.fixture
def graph(make_graph):
    return make_graph()


def test_a_graph_that_is_read_back_equals_the_one_that_was_written(make_graph):
    graph = make_graph(label=HOSTILE, tokens=("<bos>", HOSTILE, " (p=0.5)"))
    assert from_neuronpedia(json.loads(neuronpedia_bytes(graph, constants=True))) == graph


def test_without_constants_their_nodes_and_links_are_left_out_and_nothing_else(graph):
    back = from_neuronpedia(to_neuronpedia(graph))
    constants = {node.id for node in graph.nodes if node.kind is NodeKind.CONSTANT}
    assert len(constants) == 4
    assert back.nodes == tuple(node for node in graph.nodes if node.id not in constants)
    assert back.links == tuple(link for link in graph.links if link.source not in constants)
    assert 0 < len(back.links) < len(graph.links)


@pytest.mark.parametrize(
    ("node", "name", "js_name", "layer", "kind", "feature"),
    [
        (latent_node(3, 12, 5, 1.0), "3_12_5", "3_12-0", "3", "cross layer transcoder", 132),
        (error_node(0, 4), "0_-1_4", "0_-1-4", "0", "mlp reconstruction error", -1),
        (token_node(77, 2), "E_77_2", "E_77-2", "E", "embedding", 2),
        (constant_node(1), "1_bias_0", "1_bias-0", "1", "bias", None),
        (logit_node(4, 526, " are", 6, 0.25), "5_526_6", "L_526-6", "5", "logit", 526),
        (contrast_node(4, 1000, " is", " are", 6), "5_1000_6", "L_1000-6", "5", "logit", 1000),
    ],
)
def test_ids_are_those_that_the_pages_expect(graph, node, name, js_name, layer, kind, feature):
    written = to_neuronpedia(dataclasses.replace(graph, nodes=(node,), links=()), constants=True)["nodes"][0]
    found = [written[key] for key in ("node_id", "jsNodeId", "layer", "feature_type", "feature")]
    assert found == [name, js_name, layer, kind, feature] and node.id == name


def test_cantors_pair_counts_the_diagonals():
    pairs = [(layer, diagonal - layer) for diagonal in range(30) for layer in range(diagonal, -1, -1)]
    assert [cantor_pair(*pair) for pair in pairs] == list(range(len(pairs)))


def test_every_logit_says_its_probability_and_a_contrast_has_one_of_its_own(graph):
    logits = [node for node in to_neuronpedia(graph)["nodes"] if node["feature_type"] == "logit"]
    assert [node["clerp"] for node in logits] == ['Output " are" - " is" (p=1.000)', 'Output " are" (p=0.618)']
    assert logits[0]["feature"] >= graph.d_vocab > logits[1]["feature"]
    assert [node["is_target_logit"] for node in logits] == [True, False]
    assert [target.probability for target in graph.targets] == [1.0, 0.61803398875]


def test_the_metadata_say_who_made_it_with_what(graph):
    metadata = to_neuronpedia(graph)["metadata"]
    assert metadata["schema_version"] == 1 and metadata["scan"] == "organism"
    assert metadata["info"] == {
        "creator_name": "the tests",
        "source_urls": ["https://example.org/transcoders"],
        "generator": {"name": "PVA-SAE", "version": "1", "url": "https://example.org/pva-sae"},
        "create_time_ms": 1_790_000_000_000,
    }
    assert metadata["generation_settings"] == {"max_latents": 7500, "chosen": "contrast"}
    assert metadata["pruning_settings"] == {"node_threshold": 0.8, "edge_threshold": 0.98}


def test_the_file_is_compact_and_plain_ascii(graph):
    data = neuronpedia_bytes(graph)
    assert data.isascii() and b"\n" not in data and b'": ' not in data


def test_a_made_up_graph_has_nothing_wrong(graph):
    check_graph(to_neuronpedia(graph, constants=True))


def _same_id(graph):
    graph["nodes"].append(graph["nodes"][0])


def _unknown_node(graph):
    graph["links"][0]["source"] = "9_9_9"


def _same_link(graph):
    graph["links"].append(graph["links"][0])


def _no_probability(graph):
    graph["nodes"][-1]["clerp"] = 'Output " are"'


def _beyond_the_prompt(graph):
    graph["nodes"][0]["ctx_idx"] = 7


def _not_finite(graph):
    graph["links"][3]["weight"] = math.nan


def _not_finite_inside(graph):
    graph["metadata"]["scores"]["replacement"] = math.inf


def _too_much_influence(graph):
    graph["nodes"][-3]["influence"] = 1.5


def _no_position(graph):
    del graph["nodes"][1]["ctx_idx"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (_no_position, "it has no 'ctx_idx'"),
        (_same_id, "2 nodes have the id E_100_0"),
        (_unknown_node, "names an unknown node 9_9_9"),
        (_same_link, "there are two links"),
        (_no_probability, r"holds no '\(p='"),
        (_beyond_the_prompt, "node E_100_0 is at position 7 of a prompt of 7 tokens"),
        (_not_finite, r"graph\.links\[3\]\.weight is nan"),
        (_not_finite_inside, r"graph\.metadata\.scores\.replacement is inf"),
        (_too_much_influence, "cumulative influence of 1.5"),
    ],
)
def test_what_pages_cannot_show_is_refused_by_name(graph, spoil, says):
    written = copy.deepcopy(to_neuronpedia(graph))
    spoil(written)
    with pytest.raises(PipelineError, match=says):
        check_graph(written)


def test_a_graph_that_pages_cannot_show_is_not_written(graph):
    twice = dataclasses.replace(graph, nodes=(*graph.nodes, graph.nodes[0]))
    with pytest.raises(PipelineError, match="the graph 'farmers' cannot be shown: 2 nodes"):
        neuronpedia_bytes(twice)


@pytest.mark.parametrize("wrong", [{}, {"metadata": {"slug": "x"}}, {"metadata": []}])
def test_other_json_is_no_graph_of_ours(wrong):
    with pytest.raises(ConfigError, match="is no graph that"):
        from_neuronpedia(wrong)


# The published schema ------------------------------------------------------------------------------------------------

TYPES = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "null": type(None)}


def faults(value, schema, place="graph"):
    """What a value has against a schema, of the rules that this one has: types, properties, required ones and items."""
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if isinstance(value, bool) or not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return [f"{place} is no {' or '.join(kinds)}: {value!r}"]
    if isinstance(value, list):
        return [
            fault for i, item in enumerate(value) for fault in faults(item, schema.get("items", {}), f"{place}[{i}]")
        ]
    found = []
    if isinstance(value, dict):
        found += [f"{place} has no {key}" for key in schema.get("required", []) if key not in value]
        for key, inner in schema.get("properties", {}).items():
            found += faults(value[key], inner, f"{place}.{key}") if key in value else []
    return found


@pytest.fixture(scope="module")
def schema():
    if not SCHEMA.is_file():
        pytest.skip(f"Neuronpedia's schema is not on this machine: {SCHEMA}")
    return json.loads(SCHEMA.read_text())


@pytest.mark.parametrize("constants", [False, True])
def test_the_json_fits_the_published_schema(graph, schema, constants):
    assert faults(json.loads(neuronpedia_bytes(graph, constants)), schema) == []


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda graph: graph.pop("qParams"), "graph has no qParams"),
        (lambda graph: graph["nodes"][2].pop("clerp"), "graph.nodes[2] has no clerp"),
        (lambda graph: graph["nodes"][1].update(feature="7"), "graph.nodes[1].feature is no integer or null: '7'"),
        (lambda graph: graph["links"][0].update(weight=None), "graph.links[0].weight is no number: None"),
    ],
)
def test_the_schema_sees_what_is_wrong(graph, schema, spoil, fault):
    written = copy.deepcopy(to_neuronpedia(graph))
    spoil(written)
    assert faults(written, schema) == [fault]


# GraphML and the influence of links ----------------------------------------------------------------------------------


def test_graphml_is_read_by_networkx_with_typed_values(make_graph):
    networkx = pytest.importorskip("networkx")
    graph = make_graph(label="<b>\x07\r&")
    read = networkx.read_graphml(io.BytesIO(to_graphml(graph)))
    assert read.is_directed() and {*read} == {node.id for node in graph.nodes}
    assert read.graph["slug"] == "farmers" and read.graph["logit_convention"] == graph.logit_convention
    for node in graph.nodes:
        values = read.nodes[node.id]
        assert (values["kind"], values["layer"], values["position"]) == (node.kind, node.layer, node.position)
        assert (values.get("influence"), values.get("activation")) == (node.influence, node.activation)
        assert values["token"] == graph.tokens[node.position]
    assert {values["label"] for _, values in read.nodes(data=True) if values["kind"] == "latent"} == {r"<b>\x07\r&"}
    weights = {(source, target): values["weight"] for source, target, values in read.edges(data=True)}
    assert weights == {(link.source, link.target): link.weight for link in graph.links}


def test_the_influence_of_a_link_is_its_share_of_what_flows_on(graph):
    low, mid, high = token_node(1, 0), latent_node(0, 1, 0, 1.0), latent_node(1, 2, 0, 1.0)
    target = logit_node(2, 5, "x", 0, probability=0.5)
    weights = [(low, mid, 2.0), (low, high, 3.0), (mid, high, -1.0), (high, target, 6.0), (mid, target, -2.0)]
    links = tuple(GraphLink(source.id, end.id, weight) for source, end, weight in weights)
    small = dataclasses.replace(graph, nodes=(low, mid, high, target), links=links, tokens=("a",))
    # into the target 0.5, of which 6/8 by `high`, which has 3/4 of its inputs from the token
    flows = [0.125 + 0.375 / 4, 0.375 * 3 / 4, 0.375 / 4, 0.375, 0.125]
    assert influence_of_links(small) == pytest.approx(flows)
    assert strongest_links(small)[0] == links[3]


def test_what_leaves_the_tokens_errors_and_constants_is_all_that_reaches_the_targets(graph):
    flows = dict(zip(graph.links, influence_of_links(graph), strict=True))
    targets = {target.id: target.probability for target in graph.targets}
    for name, probability in targets.items():
        assert sum(flow for link, flow in flows.items() if link.target == name) == pytest.approx(probability)
    explained = {link.target for link in graph.links}
    roots = sum(flow for link, flow in flows.items() if link.source not in explained)
    assert roots == pytest.approx(sum(targets.values()))
