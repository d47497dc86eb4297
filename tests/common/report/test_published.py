"""Covers common/report/published.py: published figures beside the same quantities here."""

from dataclasses import replace

import pytest
import report_data
from sklearn.metrics import f1_score

from common.handoffs import DETECTION, STEERING
from common.report.blocks import Section
from common.report.published import published_section

PHASES = {"difficulty", "split", "generations", "detection", "steering"}


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    return report_data.collect(report_data.build(tmp_path_factory.mktemp("data"), PHASES), {})


def of(collected, model: str, dataset: str) -> Section | None:
    names = {**collected.experiment, "model": model, "dataset": dataset}
    return published_section(replace(collected, experiment=names))


def test_published_figures_stand_beside_what_was_measured(collected):
    section = of(collected, "google/gemma-2-2b@c5ebcd40", "mbpp@4a1fb2c3")
    rows = {row[0].text: row for row in section.blocks[0].rows}
    entry = collected.finished(DETECTION).document().directions["predict_incorrect"]
    effect = collected.finished(STEERING).document().steered["steer_correct"].effect
    f1, corrected = rows["F1 of a latent for incorrect programs"], rows["Failing programs corrected"]
    assert (f1[1].text, f1[2].sort) == ("0.821", entry.card.f1.value)
    assert (corrected[1].text, corrected[2].sort) == ("4.04 %", 100 * effect.correction.rate.value)
    labels = [True] * entry.card.n_positive + [False] * (entry.card.n - entry.card.n_positive)
    assert f"has {f1_score(labels, [True] * len(labels)):.3f};" in f1[3].text


def test_figures_of_gemma_2_2b_stand_beside_no_other_model_or_problems(collected):
    assert published_section(collected) is None
    for model, dataset in (("google/gemma-2-2b-it", "mbpp"), ("google/gemma-2-2b", "humaneval")):
        assert of(collected, model, dataset) is None


def test_before_anything_is_measured_nothing_is_compared(tmp_path):
    early = report_data.collect(report_data.build(tmp_path, {"difficulty", "split", "generations"}), {})
    assert of(early, "google/gemma-2-2b", "mbpp") is None
