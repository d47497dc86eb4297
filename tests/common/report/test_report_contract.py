"""Covers that the report is tested on what phase 3 writes: each entry made by hand is one that the real code makes."""

import json

import numpy as np
import pytest
import report_data

from common.interventions.comparisons import compare_direction, judge_family
from common.interventions.conditions import MATCHED_LATENT, RANDOM_DIRECTION
from common.programs.labels import JudgedProblems, Samples
from phase3_validation.detection.evaluation import LATENT, Evaluation
from phase3_validation.detection.scores import Score, simple_scores
from phase3_validation.steering.choice import choose, curve_point
from phase3_validation.steering.examples import examples
from phase3_validation.steering.selective import selective

N = 90


def missing(made_by_hand: object, real: object, where: str = "") -> list[str]:
    """Entries that were made by hand, but are not in what the code makes."""
    if isinstance(made_by_hand, dict) and isinstance(real, dict):
        lacking = [f"{where}/{key}" for key in made_by_hand if key not in real]
        both = [key for key in made_by_hand if key in real]
        return [*lacking, *(entry for key in both for entry in missing(made_by_hand[key], real[key], f"{where}/{key}"))]
    if isinstance(made_by_hand, list) and isinstance(real, list):
        return missing(made_by_hand[0], real[0], f"{where}[]") if made_by_hand and real else []
    return [] if not isinstance(made_by_hand, dict | list) or real is None else [f"{where}: {real!r}"]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory) -> dict:
    """What report_data writes, by file."""
    data = report_data.build(tmp_path_factory.mktemp("data"), ["detection", "coefficients", "steering"])
    return {path.name: json.loads(path.read_text()) for path in data.glob("phase3_*/*/*.json")}


def rows(rng: np.random.Generator) -> list[dict]:
    labels = np.where(rng.random(N) < 0.5, "correct", "incorrect")
    return [
        {
            "task_id": i,
            "label": str(label),
            "error": None,
            "code": f"def f():\n    return {label!r}",
            "degenerate": bool(rng.random() < 0.1),
            "kl": float(rng.random()),
        }
        for i, label in enumerate(labels)
    ]


def test_steering_is_tested_on_what_phases_3_2_and_3_3_write(by_hand):
    rng = np.random.default_rng(0)
    before, after = rows(rng), rows(rng)
    controls = {kind: {k: rows(rng) for k in range(3)} for kind in (MATCHED_LATENT, RANDOM_DIRECTION)}
    entry = {"wanted": "raise", **compare_direction(before, after, controls, "raise")}
    judge_family({"steer_correct": entry})
    entry["selective"] = selective(before, after, (set(range(9)), 1.5), "predict_incorrect")
    added_by_the_phase = {"latent", "layer", "site", "coefficient", "norm"}
    made = {
        k: v for k, v in by_hand["steering.json"]["directions"]["steer_correct"].items() if k not in added_by_the_phase
    }
    assert set(made) > {"effect", "controls", "selective", "p_holm", "verdict"} and not missing(made, entry)
    curve = [curve_point(before, after, 3, coefficient) for coefficient in (0.0, 0.5)]
    chosen, why = choose(curve, "raise")
    made = by_hand["coefficients.json"]["directions"]["steer_correct"]
    assert not missing(made["curve"], curve) and not missing(made["chosen"], chosen) and isinstance(why, str)
    found = examples(before, after, {i: "text" for i in range(N)})
    assert found and not missing(by_hand["examples.json"]["steer_correct"], found)


def test_detection_is_tested_on_what_phase_3_1_writes(by_hand):
    rng = np.random.default_rng(0)
    problems = [{"task_id": i, "text": "a" * (i % 7), "complexity": 1 + i % 4, "attributes": "{}"} for i in range(N)]
    programs = [
        {
            "task_id": i,
            "label": "correct" if rng.random() < 0.5 else "incorrect",
            "prompt": "a" * (i % 5),
            "mean_logprob": float(rng.random()),
            "n_new_tokens": 9,
            "first_token_entropy": float(rng.random()),
        }
        for i in range(N)
    ]
    split = np.repeat(["sae", "hyperparams", "validation"], N // 3)
    sampled = [{"task_id": i, "sample_index": 0, "temperature": 0.6, "label": "correct"} for i in range(2 * N // 3, N)]
    sampled += [{**row, "sample_index": 1, "label": "incorrect"} for row in sampled]
    evaluation = Evaluation(JudgedProblems(problems, programs, split, {}), Samples({0.6: sampled}, {}), 50, 42)
    simple, _ = simple_scores(evaluation.problems)
    probe = Score("logistic regression", rng.normal(size=N), facts={"C": 0.1, "converged": True})
    beside = [evaluation.scored(score, "incorrect") for score in [*simple, probe]]
    latent = evaluation.scored(Score(LATENT, rng.normal(size=N)), "incorrect")
    random = [evaluation.scored(Score("random_latent_1", rng.normal(size=N)), "incorrect")]
    entry = {"latent": report_data.latent(0), **evaluation.direction("incorrect", latent, beside, random)}
    made = by_hand["detection.json"]["directions"]["predict_incorrect"]
    assert set(made) > {"card", "baselines", "strata", "temperatures"} and not missing(made, entry)
