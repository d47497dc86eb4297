"""Covers what the report says of directions that are subtracted, of equal counts, and of the positive control."""

from collections.abc import Callable
from typing import Any

import pytest
from documents import made
from pages import words
from report_data import build, collect, write_report

from common.handoffs import COEFFICIENTS, POSITIVE_CONTROL, STEERING
from common.handoffs.steering import AgainstControls
from common.report.blocks import Paragraph, Section, Table
from phase3_validation.orthogonalisation.findings import among_the_controls
from phase3_validation.positive_control.report import section as control_section
from phase3_validation.steering.dose_report import dose_section
from phase3_validation.steering.report import steering_section
from run import CATALOGUE

NAMES = ["split", "generations", "latents", "detection", "coefficients", "steering", "positive_control"]


def subtract(result: dict[str, Any]) -> None:
    result["directions"]["steer_correct"]["coefficient"] = -0.25


def section_of(tmp_path, make: Callable, handoff, **changes) -> Section:
    collected = collect(build(tmp_path, NAMES, changes=changes), {})
    return make(collected.finished(handoff), collected)


def what_it_did(section: Section) -> Table:
    return next(block for block in section.blocks if isinstance(block, Table) and block.title == "What steering did")


def test_a_direction_with_a_negative_coefficient_is_said_to_be_subtracted(tmp_path):
    section = section_of(tmp_path, steering_section, STEERING, **{"steering.json": subtract})
    assert "adding steer-incorrect (layer 3, latent 103) changes" in section.answer
    told = "subtracting steer-correct (layer 3, latent 103; the sign that did better in tuning) changes"
    assert told in section.answer
    table = what_it_did(section)
    under = {row[0].text: row[0].under for row in table.rows}
    assert under["steer-correct"] == "subtracted" and under["steer-incorrect"] == ""
    assert "Subtracted: with a negative coefficient, the sign that did better in tuning." in table.note
    text = words(write_report(CATALOGUE, tmp_path, out=tmp_path / "report.html").path.read_text())
    assert "What subtracting steer-correct changed" in text and "What adding steer-incorrect changed" in text


def test_the_chosen_dose_says_which_direction_is_subtracted(tmp_path):
    def subtract_in_tuning(result):
        result["directions"]["steer_correct"]["chosen"]["coefficient"] = -0.5

    section = section_of(tmp_path, dose_section, COEFFICIENTS, **{"coefficients.json": subtract_in_tuning})
    beside = {block.text: block.beside for block in section.blocks if block.kind == "heading"}
    told = "chosen: layer 3, coefficient −0.50, so it is subtracted (the sign that did better in tuning)"
    assert beside == {"steer-incorrect": "chosen: layer 3, coefficient +0.50", "steer-correct": told}


def test_directions_that_changed_the_same_counts_are_named_below_the_table(tmp_path):
    section = section_of(tmp_path, steering_section, STEERING)
    told = "Steer-incorrect and steer-correct changed exactly the same numbers of programs: each corrected 1 and"
    assert f"{told} corrupted 1." in what_it_did(section).note

    def differ(result):
        result["directions"]["steer_correct"]["effect"]["corruption"]["n"] = 2

    section = section_of(tmp_path / "other", steering_section, STEERING, **{"steering.json": differ})
    assert "the same numbers" not in what_it_did(section).note


def test_a_change_that_may_be_none_has_no_change_per_nat(tmp_path):
    def per_nat(result):
        for entry in result["directions"].values():
            entry["effect"]["net_change_per_nat"] = 2.05

    table = what_it_did(section_of(tmp_path, steering_section, STEERING, **{"steering.json": per_nat}))
    place = [column.title for column in table.columns].index("Per nat")
    cells = {row[0].text: row[place].text for row in table.rows}
    assert cells["steer-correct"] == "–"  # +4.1 (-0.9 to +9.1)
    assert cells["steer-incorrect"] == "+205.0"  # -8.2 (-13.2 to -3.2)


def test_the_positive_control_is_said_to_work_and_not_to_test_the_question(tmp_path):
    section = section_of(tmp_path, control_section, POSITIVE_CONTROL)
    heading, says = section.blocks[:2]
    assert heading.beside == "the control works" and isinstance(says, Paragraph) and says.tone == "verdict"
    assert says.text == (
        "The control works. 10 of 12 programs of one operation became programs of another (the best of 19 random "
        "directions: 1). It does not test whether correctness can be steered."
    )
    assert "raises the pass rate" not in section.answer and "the control works. It does not test" in section.answer

    def nothing(result):
        result["positive_control"]["verdict"] = "no measurable effect"

    section = section_of(tmp_path / "other", control_section, POSITIVE_CONTROL, **{"positive_control.json": nothing})
    assert section.blocks[0].beside == "it is not shown that the control works: no measurable effect"


@pytest.mark.parametrize(
    ("n", "rank", "wanted", "words_of_it"),
    [
        (10, 11, "raise", "higher than that of none of its 10 controls (rank 11 of 11), which decides: no support."),
        (10, 5, "lower", "lower than that of 6 of its 10 controls (rank 5 of 11), which decides: no support."),
        (
            10,
            1,
            "lower",
            "lower than that of all of its 10 controls (rank 1 of 11), which decides: support, but by",
        ),
        (19, 1, "raise", "higher than that of all of its 19 controls (rank 1 of 20), which decides: support."),
        (0, None, "raise", "cannot be ranked among its controls"),
    ],
)
def test_what_the_rank_among_the_controls_decides_is_said(n, rank, wanted, words_of_it):
    judged, unjudged = [{"net_change": 0.0}] * n, [{"net_change": None}]  # one that stands in no rank
    given = {"n": n + 1, "rank": rank, "each": judged + unjudged}
    assert words_of_it in among_the_controls(wanted, made(AgainstControls, given))
