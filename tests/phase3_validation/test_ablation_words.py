"""Covers what phase 3.7 says where a latent goes against the programs, or where a prompt leaves no function."""

from dataclasses import replace

import pytest
from documents import made
from report_data import build, collect

from common.handoffs import ABLATION
from common.handoffs.changes import AblationDocument
from common.handoffs.document import as_json
from common.handoffs.estimates import Interval
from common.report.blocks import Paragraph
from phase3_validation.ablation import words
from phase3_validation.ablation.report import section


def judged(change: dict, difference: dict, named: int = 90, direction: str = "predict_correct") -> AblationDocument:
    """What was found of 100 problems without their description."""
    positive = direction.partition("_")[2]
    under = {"n": 100, "named": {"n": 100, "of": 100}}
    return made(
        AblationDocument,
        {
            "ablations": {
                "none": under,
                "no_description": {**under, "named": {"n": named, "of": 100}, "difference": difference},
            },
            "directions": {
                direction: {"positive": positive, "ablations": {"none": {}, "no_description": {"change_in_sd": change}}}
            },
        },
    )


UP, DOWN = ({"value": 2.47, "low": 2.22, "high": 2.71}, {"value": -0.45, "low": -0.54, "high": -0.34})
DOWN_IN_SD, UP_IN_POINTS = (
    {"value": -0.21, "low": -0.36, "high": -0.08},
    {"value": 0.1, "low": 0.02, "high": 0.2},
)
BARE_UP = {"value": 2.47, "low": None, "high": None}
SMALL_UP = {"value": 0.9, "low": None, "high": None}
OPEN_UP = {"value": 2.0, "low": -0.1, "high": 4.0}


def test_a_latent_that_rises_where_the_pass_rate_falls_is_said_not_to_tell_success():
    assert words.against_the_programs(judged(UP, DOWN)) == [
        "The mean of predict-correct, which speaks for correct programs, goes the wrong way when the prompt is "
        "changed: without its description it rises by 2.47 standard deviations (2.22 to 2.71), while the pass rate "
        "falls by 45.0 points."
    ]
    (down,) = words.against_the_programs(judged(DOWN_IN_SD, UP_IN_POINTS))
    assert "it falls by 0.21 standard deviations (0.08 to 0.36), while the pass rate rises by 10.0 points" in down
    (bare,) = words.against_the_programs(judged(BARE_UP, DOWN))
    assert "rises by 2.47 standard deviations, while" in bare


@pytest.mark.parametrize(
    ("change", "difference", "direction"),
    [
        (UP, DOWN, "predict_incorrect"),  # it rises where more programs fail, as it should
        (UP, DOWN, "steer_correct"),  # predicts nothing
        (UP, {"value": 0.1, "low": 0.02, "high": 0.2}, "predict_correct"),
        (UP, {"value": -0.1, "low": -0.2, "high": 0.02}, "predict_correct"),
        (SMALL_UP, DOWN, "predict_correct"),
        (OPEN_UP, DOWN, "predict_correct"),
    ],
)
def test_nothing_is_said_of_a_latent_that_goes_with_the_programs_or_does_not_clearly_move(
    change, difference, direction
):
    assert words.against_the_programs(judged(change, difference, direction=direction)) == []


def test_where_few_programs_define_the_asked_function_the_pass_rate_is_said_to_measure_the_prompts_form():
    (sentence,) = words.form_of_the_prompt(judged(UP, DOWN, named=1))
    assert sentence.startswith("Most programs do not define the asked function without its description (1 of 100 do).")
    assert "the pass rate measures what the form of the prompt does" in sentence
    assert words.form_of_the_prompt(judged(UP, DOWN, named=74)) == []


def test_a_prompt_under_which_programs_are_of_other_functions_says_nothing_against_a_latent():
    assert words.against_the_programs(judged(UP, DOWN, named=1)) == []


def test_a_latent_that_two_directions_share_is_told_once():
    found = judged(UP, DOWN)
    entry = found.directions["predict_correct"]
    shared = replace(found, directions={"predict_correct": entry, "steer_correct": entry})
    told = [one for one in words.sentences(shared) if one.startswith("The latent of")]
    assert len(told) == 1 and told[0].startswith("The latent of predict_correct and steer_correct (layer 0, latent 0)")


def test_the_report_says_it_in_its_section_and_among_its_warnings(tmp_path):
    against = as_json(judged(UP, DOWN))
    collected = collect(build(tmp_path, changes={"prompt_ablation.json": lambda found: found.update(against)}), {})
    made_section = section(collected.finished(ABLATION), collected)
    (told,) = made_section.warnings
    assert told.label == "A latent moves against the programs" and "rises by 2.47 standard deviations" in told.text
    said = [block.text for block in made_section.blocks if isinstance(block, Paragraph)]
    assert told.text in said


def test_the_table_of_a_latent_has_its_auroc_for_its_own_label():
    found = judged(UP, DOWN)
    entry = found.directions["predict_correct"]
    under = {name: replace(one, auroc=Interval(0.3, 0.25, 0.36)) for name, one in entry.ablations.items()}
    result = replace(found, directions={"predict_correct": replace(entry, ablations=under)})
    table = words.tables(result)[1]
    assert table.columns[-1] == "AUROC for correct" and table.rows[0][-1] == "0.700 (0.640 to 0.750)"
