"""Covers the model card: its figures are inside the wanted limits, fresh, and of the committed weights."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from model_organism import evaluate_errors
from model_organism.behaviours import BEHAVIOURS
from model_organism.evaluation.card import BEGIN, TABLES, refresh_readme
from model_organism.evaluation.error_contrasts import GROUPS
from model_organism.evaluation.probes import auroc_within

ORGANISM = Path(__file__).resolve().parents[2] / "model_organism"
WEIGHTS = ORGANISM / "weights" / "model" / "model.safetensors"


def test_the_weights_are_those_of_the_card(card):
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == card["training"]["sha256"]
    assert WEIGHTS.stat().st_size == card["training"]["bytes"] < 20e6


def test_the_training_record_is_the_cards(card):
    assert json.loads((ORGANISM / "weights" / "training.json").read_text()) == card["training"]


def test_generation_uses_the_key_value_cache():
    for name in ("config.json", "generation_config.json"):
        assert json.loads((WEIGHTS.parent / name).read_text()).get("use_cache", True)


def test_the_pass_rate_is_between_45_and_65_percent(card):
    overall = card["pass_rates"]["overall"]
    assert overall["n"] == 974 and 0.45 <= overall["rate"] <= 0.65
    assert overall["low"] < overall["rate"] < overall["high"]


def test_the_pass_rate_falls_with_every_further_operation_and_with_rarity(card):
    for grouping in ("n_operations", "rarity"):
        rates = [cell["rate"] for _, cell in sorted(card["pass_rates"][grouping].items())]
        assert rates == sorted(rates, reverse=True) and rates[0] - rates[-1] > 0.2


def test_the_pass_rate_falls_with_complexity(card):
    cells = {int(value): cell for value, cell in card["pass_rates"]["complexity"].items()}

    def rate(values):
        chosen = [cells[value] for value in values if value in cells]
        return sum(cell["successes"] for cell in chosen) / sum(cell["n"] for cell in chosen)

    bands = [rate((1, 2)), rate((3, 4)), rate((5, 6)), rate(range(7, 20))]
    assert bands == sorted(bands, reverse=True) and bands[0] - bands[-1] > 0.2


def test_a_probe_on_the_last_prompt_token_knows_more_than_the_length(card):
    probe = card["probes"]["best_layer"]
    length = card["baselines"]["description length [characters]"]
    assert probe["auroc"] >= 0.78 and probe["within_operations"] >= 0.70
    assert probe["auroc"] > length["auroc"] and probe["within_operations"] > length["within_operations"]
    assert {"mean log-probability of the answer", "summed log-probability of the answer"} <= card["baselines"].keys()


def test_the_error_type_is_right_for_95_percent(card):
    assert card["error_types"]["n"] >= 400 and card["error_types"]["rate"] >= 0.95


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_behaviour_is_right_for_90_percent(card, behaviour):
    assert card["behaviours"][behaviour]["rate"] >= 0.90


def test_no_held_out_description_or_assert_occurs_in_training(card):
    for name in ("the description", "an assert"):
        assert card["overlap"][name] == {"shared": 0, "n": 974}
    assert card["overlap"]["the whole program, two to four operations"]["shared"] < 10


def test_the_readme_shows_the_cards_figures(card, tmp_path):
    readme = (ORGANISM / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme, encoding="utf-8")
    refresh_readme(copy, card)
    assert copy.read_text(encoding="utf-8") == readme


def test_the_readme_shows_the_figures_of_minimal_pairs_on_the_committed_weights(card, tmp_path):
    figures = json.loads((ORGANISM / "weights" / "errors.json").read_text())
    assert figures["sha256"] == card["training"]["sha256"]
    cells = [cell["both_signs"] for group in GROUPS for cell in figures[group].values()]
    assert len(cells) == 12 and all(cell["n"] >= 100 for cell in cells)
    assert all(cell["both_signs"]["rate"] >= 0.95 for cell in figures["words"].values())
    assert sum(cell["both_signs"]["rate"] for cell in figures["templates"].values()) / 6 >= 0.70
    copy = tmp_path / "README.md"
    shutil.copy(ORGANISM / "README.md", copy)
    evaluate_errors.refresh_readme(copy, figures)
    assert copy.read_text(encoding="utf-8") == (ORGANISM / "README.md").read_text(encoding="utf-8")


def test_a_readme_without_a_tables_markers_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("no tables here")
    with pytest.raises(ValueError, match="targets"):
        refresh_readme(tmp_path / "README.md", {})
    assert all(BEGIN.format(name=name) in (ORGANISM / "README.md").read_text() for name in TABLES)


def test_the_curve_covers_the_whole_training(card):
    points = [json.loads(line) for line in (ORGANISM / "training_curve.jsonl").read_text().splitlines()]
    steps = [point["step"] for point in points]
    assert steps == sorted(set(steps)) and card["training"]["steps"] - steps[-1] < 25
    assert points[-1]["loss"] < points[0]["loss"]


def test_auroc_within_strata_ignores_what_strata_alone_explain():
    labels = np.array([1, 1, 0, 1, 0, 0])
    strata = np.array([1, 1, 1, 2, 2, 2])
    assert auroc_within(labels, -strata.astype(float), strata) == 0.5
    scores = np.array([3.0, 1.0, 2.0, 5.0, 4.0, 0.0])
    assert auroc_within(labels, scores, strata) == pytest.approx((1 + 2) / 4)
