"""Covers which pairs phases 6.3 and 6.4 look at (phase6_error_circuits/latents/studied.py), and the circuit's graph."""

import json
from types import SimpleNamespace

import pytest
from error_circuit_toys import random_pairs

from common.errors import ConfigError
from common.handoffs.error_attribution import PromotedToken, TopLatent
from common.report.graphs.neuronpedia import from_neuronpedia
from phase6_error_circuits.circuits.exporting import GRAPH, PAGE, circuit_graph, files_of
from phase6_error_circuits.latents.chosen import PASSING, STUDIED, Chosen, chosen_contrasts
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.studied import StudiedShape


def a_gate(studied: bool = True, **verdicts: str) -> SimpleNamespace:
    """By contrast PASS, WEAK or STOP, in the format seed."""
    from common.handoffs.error_gate import GateVerdict

    def one(verdict: str) -> SimpleNamespace:
        figures = SimpleNamespace(both_signs=SimpleNamespace(rate=SimpleNamespace(value=0.9)))
        together = SimpleNamespace(select=figures)
        return SimpleNamespace(verdict=GateVerdict[verdict], together=together, templates=["toy"])

    names = {name.replace("_", "/"): {"seed": one(verdict)} for name, verdict in verdicts.items()}
    first = SimpleNamespace(contrast=next(iter(names)), format="seed", templates=["toy"])
    return SimpleNamespace(studied=first if studied else None, contrasts=names)


def test_the_contrast_that_the_gate_chose_is_studied():
    gate = a_gate(Type_Syntax="PASS", Index_Key="PASS")
    assert chosen_contrasts(gate, (STUDIED,)) == [Chosen("Type/Syntax", "seed", ("toy",))]


def test_all_that_pass_are_those_that_go_on():
    gate = a_gate(Type_Syntax="PASS", Index_Key="WEAK", Value_Name="STOP")
    assert [one.contrast for one in chosen_contrasts(gate, (PASSING,))] == ["Type/Syntax", "Index/Key"]


def test_where_nothing_passes_there_is_nothing_to_explain():
    with pytest.raises(ConfigError, match="none of 1 contrasts(.|\n)*--force"):
        chosen_contrasts(a_gate(studied=False, Type_Syntax="STOP"), (STUDIED,))


def test_an_unknown_contrast_is_named_with_those_that_are_known():
    with pytest.raises(ConfigError, match="'Type/Sintax', which phase 6.1b does not know(.|\n)*Type/Syntax"):
        chosen_contrasts(a_gate(Type_Syntax="PASS"), ("Type/Sintax",))


def test_a_contrast_that_was_stopped_is_refused():
    with pytest.raises(ConfigError, match="does not tell these apart\nGive studied"):
        chosen_contrasts(a_gate(Type_Syntax="PASS", Value_Name="STOP"), ("Value/Name",))


def a_shape() -> StudiedShape:
    pairs = random_pairs(4)
    return StudiedShape("TypeError/SyntaxError", "seed", "toy", 0, pairs[:2], pairs[2:], [])


def test_positions_of_a_stream_count_from_the_code():
    shape = a_shape()
    assert shape.places == ["call", "left", "diff_first", "after_diff", "raise", "end"]
    assert shape.named == {"diff_first": 2, "diff_last": 2, "after_diff": 3, "code_end": 3, "raise": 4, "end": 5}


class Words:
    """A tokenizer of numbers."""

    def decode(self, ids: list[int]) -> str:
        return f" t{ids[0]}"

    def __len__(self) -> int:
        return 30


def a_graph(model: str = "toy"):
    told = {"place": "diff_first", "effect": 1.0, "share": 0.5, "noising": None, "denoising": None, "above_null": True}
    promotes = [PromotedToken(token=" TypeError", effect=2.0)]
    top = TopLatent(layer=0, latent=7, **told, templates={}, promotes=promotes, suppresses=[], url=None)
    nodes = {Node(0, 2, 7): 1.0, Node(1, 5, None): 0.5, Node(1, 5, 3): -0.5}
    links = [(Node(0, 2, 7), Node(1, 5, 3), 0.25), (Node(0, 0, 1), Node(1, 5, 3), 9.0)]
    scores = {"faithfulness": 0.8}
    return circuit_graph(a_shape(), Words(), model, (2, 1), nodes, links, 2.0, {(0, 7): top}, scores)


def test_a_circuit_is_a_graph_that_the_pages_can_show():
    graph = a_graph()
    files = files_of(graph)
    assert from_neuronpedia(json.loads(files[GRAPH])) == graph
    assert b"TypeError" in files[PAGE]


def test_a_page_does_not_say_where_the_model_lies(tmp_path):
    assert str(tmp_path).encode() not in b"".join(files_of(a_graph(str(tmp_path))).values())


def test_positions_in_the_graph_are_those_of_the_prompt():
    graph = a_graph()
    assert {node.position for node in graph.nodes} == {3, 6}
    assert len(graph.tokens) == 7 and graph.targets[0].position == 6


def test_weights_are_shares_of_the_effect_and_the_last_layer_leads_to_the_answer():
    graph = a_graph()
    target = graph.targets[0].id
    weights = {(link.source, link.target): link.weight for link in graph.links}
    assert weights == {("0_7_3", "1_3_6"): 0.125, ("1_-1_6", target): 0.25, ("1_3_6", target): -0.25}
    known = {node.id: node for node in graph.nodes}
    assert known["0_7_3"].label == "TypeError" and known["0_7_3"].signed_effect == 0.5
    assert known["0_7_3"].influence == pytest.approx(0.5) and known["1_3_6"].influence == pytest.approx(1.0)
