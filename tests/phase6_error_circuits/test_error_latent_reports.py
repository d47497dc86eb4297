"""Covers what phases 6.3 and 6.4 say on the report's page, of documents made by hand."""

from dataclasses import replace
from pathlib import Path

import pytest
from report_data import HOSTILE, write_run

from common.handoffs import ERROR_ATTRIBUTION, ERROR_LATENT_CIRCUITS, Handoff
from common.handoffs.error_latent_circuits import ErrorLatentCircuitsDocument
from common.report.blocks import Figure, Section, Table
from common.report.collect import FINISHED, Collected, PhaseResult
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from phase6_error_circuits.attribution import report as attribution_report
from phase6_error_circuits.circuits import report as circuits_report
from phase6_error_circuits.circuits.figures import draw_curves

NOBODY = Collected({"model": "toy", "dataset": "toy", "prompt": "plain", "sae": "toy"}, Path())


def result_of(handoff: Handoff, data: Path) -> PhaseResult:
    run = read_run(write_run(data, handoff, {}), handoff)
    assert run is not None
    return PhaseResult(handoff, FINISHED, Artifact(handoff, run, ""))


@pytest.fixture
def attribution(tmp_path: Path) -> Section:
    return attribution_report.section(result_of(ERROR_ATTRIBUTION, tmp_path), NOBODY)


@pytest.fixture
def circuits(tmp_path: Path) -> Section:
    return circuits_report.section(result_of(ERROR_LATENT_CIRCUITS, tmp_path), NOBODY)


def tables(section: Section) -> dict[str, Table]:
    return {block.title: block for block in section.blocks if isinstance(block, Table)}


def test_dictionaries_of_another_model_and_loud_errors_are_warned_of(attribution):
    labels = [block.label for block in attribution.warnings]
    assert labels == ["Dictionaries of another model", "Most runs through errors"]


def test_the_answer_says_how_many_nodes_count_and_what_runs_through_errors(attribution):
    assert "40 of 5,000 nodes" in attribution.answer and "70.0 %" in attribution.answer


def test_a_link_that_is_no_web_page_is_not_made(attribution):
    top = tables(attribution)["Strongest latents of TypeError/SyntaxError"].rows[0]
    assert top[0].text == "1/7" and top[0].link is None


def test_each_section_has_its_figures_and_tables(attribution, circuits):
    assert sum(isinstance(block, Figure) for block in attribution.blocks) == 1
    assert {"What the nodes carry", f"Layers: TypeError/SyntaxError, {HOSTILE} (0)"} <= tables(attribution).keys()
    assert sum(isinstance(block, Figure) for block in circuits.blocks) == 1
    assert {"Faithfulness and completeness", "On other templates", "Learned masks"} <= tables(circuits).keys()


def test_the_answer_says_how_few_nodes_are_enough(circuits):
    assert circuits.answer.startswith("On TypeError/SyntaxError 100 of 5,000 nodes keep 0.80")


def test_where_nothing_is_enough_the_answer_says_so(tmp_path):
    phase = result_of(ERROR_LATENT_CIRCUITS, tmp_path)
    told: ErrorLatentCircuitsDocument = phase.document()
    told.circuits[0].enough.reverse()
    assert "no circuit keeps 0.8 of the effect" in circuits_report.answer(told)


def test_where_no_node_supports_the_answer_the_figure_is_drawn_all_the_same(tmp_path):
    """The only circuit is then the empty one, which no axis of logarithms has room for."""
    [told] = result_of(ERROR_LATENT_CIRCUITS, tmp_path).document().circuits
    points = [replace(told.curves[0].points[0], size=0, random=None)]
    empty = replace(told, curves=[replace(curve, points=points) for curve in told.curves])
    assert all(b"<svg" in draw_curves(circuit) for circuit in (told, empty))


def test_parts_of_edges_are_told_as_shares(circuits):
    assert "skip 0.70" in tables(circuits)["Circuits of edges, on held-out pairs"].note
