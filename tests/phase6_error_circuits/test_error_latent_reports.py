"""Covers what phases 6.3 to 6.5 say on the report's page, of documents made by hand."""

import dataclasses
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from report_data import HOSTILE, write_run

from common.handoffs import ERROR_ATTRIBUTION, ERROR_LATENT_CIRCUITS, ERROR_NODES, ArtifactSchema
from common.handoffs.error_latent_circuits import ErrorLatentCircuitsDocument
from common.handoffs.estimates import Interval
from common.report.blocks import Drawing, Figure, Fold, Paragraph, Section, Table
from common.report.collect import FINISHED, Collected, PhaseResult
from common.runs.artifacts import Artifact
from common.runs.discovery import read_run
from phase6_error_circuits.attribution import report as attribution_report
from phase6_error_circuits.circuits import report as circuits_report
from phase6_error_circuits.circuits.figures import draw_curves
from phase6_error_circuits.nodes import report as nodes_report

NOBODY = Collected({"model": "toy", "dataset": "toy", "prompt": "plain", "sae": "toy"}, Path())


def result_of(schema: ArtifactSchema, data: Path) -> PhaseResult:
    run = read_run(write_run(data, schema, {}), schema)
    assert run is not None
    return PhaseResult(schema, FINISHED, Artifact(schema, run, ""))


@pytest.fixture
def attribution(tmp_path: Path) -> Section:
    return attribution_report.section(result_of(ERROR_ATTRIBUTION, tmp_path), NOBODY)


@pytest.fixture
def circuits(tmp_path: Path) -> Section:
    return circuits_report.section(result_of(ERROR_LATENT_CIRCUITS, tmp_path), NOBODY)


@pytest.fixture
def nodes(tmp_path: Path) -> Section:
    return nodes_report.section(result_of(ERROR_NODES, tmp_path), NOBODY)


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


def test_the_answer_says_how_many_latents_tell_an_error_and_names_the_strongest(nodes):
    assert nodes.answer.startswith(
        "On TypeError/SyntaxError 1 of 2 latents told of tells an error from the other error"
    )
    assert "0.03 of the 1 that could be tried would be expected to by chance (2.5 %)" in nodes.answer
    assert f"the strongest is 1/7, largest in programs that raise {HOSTILE} (AUROC within templates " in nodes.answer


def test_the_auroc_that_the_answer_quotes_is_the_one_by_which_a_latent_counts(tmp_path):
    """Pooled over templates a latent may tell errors that it does not tell within any."""
    told = result_of(ERROR_NODES, tmp_path).document()
    selective = told.latents[0].selective
    within = Interval(value=0.7, low=0.6, high=0.8)
    told.latents[0] = replace(told.latents[0], selective=replace(selective, within=within))
    assert nodes_report.answer(told).endswith("(AUROC within templates 0.70 (0.60 to 0.80)).")
    chance = Interval(value=0.5, low=0.4, high=0.6)
    told.latents[0] = replace(told.latents[0], selective=replace(selective, within=chance))
    assert " 0 of 2 latents told of tell an error" in nodes_report.answer(told)


def test_where_no_latent_tells_an_error_the_answer_says_so(tmp_path):
    phase = result_of(ERROR_NODES, tmp_path)
    told = phase.document()
    told.latents[0] = dataclasses.replace(told.latents[0], selective=None)
    answer = nodes_report.answer(told)
    assert "0 of 2 latents told of tell an error from the other error of its template on programs of other" in answer
    assert "strongest" not in answer


def test_nodes_are_counted_and_errors_are_said_to_have_no_latent(nodes):
    words = " ".join(block.text for block in nodes.blocks if isinstance(block, Paragraph))
    assert (
        "the 3 strongest of 100 nodes of the circuit that phase 6.4 found: 2 latents, and 1 error, which has no"
        in words
    )
    assert "1 of the latents has nearly all of its effect on one of 2 templates measured." in words
    rows = tables(nodes)["Strongest nodes"].rows
    assert [row[0].text for row in rows] == ["1/7", "1/8", "error of layer 1"] and rows[0][0].link is None
    assert [cell.text for cell in rows[2][4:6]] == ["30.0 %", "40.0 %"]


def test_of_one_template_measured_nothing_is_said_of_how_effects_spread(tmp_path):
    told = result_of(ERROR_NODES, tmp_path).document()
    latents = [replace(one, templates=one.templates[:1], spread=None) for one in told.latents]
    words = nodes_report.sentences(told.contrasts[0], latents)
    assert words[-1] == "With 1 template measured nothing is known of how their effects spread."


def test_every_latent_has_heat_maps_of_pairs_and_of_the_programs_in_which_it_fires_most(nodes):
    overview = [block for block in nodes.blocks if isinstance(block, Drawing)]
    folds = {block.title: block for block in nodes.blocks if isinstance(block, Fold)}
    drawn = [block.title for block in folds["Latent 1/7"].blocks if isinstance(block, Drawing)]
    assert len(overview) == 1 and [*folds] == ["Latent 1/7", "Latent 1/8"]
    assert drawn == ["Both programs of pairs, latent 1/7", "Programs in which it fires most, latent 1/7"]
    assert all("<script" not in str(block.svg) and "<img" not in str(block.svg) for block in overview)


def of_two_contrasts(tmp_path: Path) -> Section:
    """The document made by hand with a second contrast, that has the same latents; its pair has the second rank."""
    phase = result_of(ERROR_NODES, tmp_path)
    told, rows = phase.document(), phase.artifact.table("snippets.parquet")
    told.contrasts.append(replace(told.contrasts[0], contrast="KeyError/NameError"))
    seconds = [{**row, "contrast": "KeyError/NameError", "error": "NameError", "rank": 1} for row in rows]
    fake = SimpleNamespace(table=lambda _name: [*rows, *seconds])
    known = SimpleNamespace(document=lambda: told, artifact=fake, place=phase.place)
    return nodes_report.section(cast(PhaseResult, known), NOBODY)


def test_the_overview_of_each_contrast_shows_a_pair_of_its_own(tmp_path):
    drawn = [str(block.svg) for block in of_two_contrasts(tmp_path).blocks if isinstance(block, Drawing)]
    assert ["NameError" in svg for svg in drawn] == [False, True]


def test_folds_of_a_latent_that_two_contrasts_have_are_told_apart_by_their_ids(tmp_path):
    ids = [block.id for block in of_two_contrasts(tmp_path).blocks if isinstance(block, Fold)]
    assert len(ids) == len({*ids}) == 4 and "error-node-KeyError-NameError-1-7-seed" in ids
