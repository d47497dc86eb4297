"""Covers what the report says of circuits: shares that say nothing, what is open, and how few nodes suffice."""

from typing import Any

import pytest
from report_data import build, collect

from common.handoffs import ERROR_DENSE, INTERVENTIONS
from phase5_attribution_graphs.interventions.report import section as circuits_section
from phase6_error_circuits.dense.report import section as dense_section


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    def widen(result: dict[str, Any]) -> None:
        for found in list(result["behaviours"].values())[1:]:
            found["sets"]["top_signed_effect"] |= {"share": {"value": 0.679, "low": -0.615, "high": 6.755}}

    def enough(result: dict[str, Any]) -> None:
        result |= {"verdict": "few heads and neurons carry the answer on other pairs", "smallest_enough": 300}

    changes = {"interventions.json": widen, "dense.json": enough}
    return collect(build(tmp_path_factory.mktemp("data"), changes=changes), {})


def test_a_share_whose_interval_is_wider_than_the_whole_is_not_determined(data):
    section = circuits_section(data.finished(INTERVENTIONS), data)
    assert "10 latents take a share of the logit difference that is not determined" in section.answer
    assert "675.5" not in section.answer and "agreement: 10 latents take 30.0 % (25.0 to 35.0) of the" in section.answer
    table = next(block for block in section.blocks if block.kind == "table")
    assert [row[7 - 1].text for row in table.rows] == ["30.0 %", "30.0 %", "not determined", "30.0 %"]


def test_where_a_verdict_is_open_the_result_is_called_inconclusive(data):
    answer = circuits_section(data.finished(INTERVENTIONS), data).answer
    assert "for " in answer and "the result is inconclusive" in answer and "one cannot tell" not in answer


def test_it_is_said_how_many_heads_and_neurons_suffice(data):
    section = dense_section(data.finished(ERROR_DENSE), data)
    says = next(block.text for block in section.blocks if getattr(block, "tone", "") == "verdict")
    assert says == "300 of 5,000 heads and neurons suffice on other pairs."


def test_both_sections_are_said_to_be_studies_of_their_own(data):
    sections = (circuits_section(data.finished(INTERVENTIONS), data), dense_section(data.finished(ERROR_DENSE), data))
    assert all(section.question.startswith("A study of its own, beside the two questions") for section in sections)
