"""Covers what the verdict of steering is worth: how often it finds an effect where there is none, and where there is.

Programs are made up from rates; all else is the path of phases 3.2 and 3.3: choose, turn the controls, compare, judge.
"""

import numpy as np
import pytest
from scipy.stats import binom
from support import swept

from common.handoffs.steering import MATCHED_LATENT, RANDOM_DIRECTION, Change
from common.interventions.comparisons import compare_direction, judge_family
from phase3_validation.steering.choice import better_coefficient, choose, curve_point

COEFFICIENTS = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)
N_TUNING, N_SAMPLE, N_VALIDATION, N_CONTROLS, PASS_RATE, CHURN = 97, 48, 388, 20, 0.5, 0.03
WANTED = {"steer_correct": "raise", "steer_incorrect": "lower"}


def programs(rng, before: np.ndarray, effect: float) -> list[dict]:
    """After a vector whose true effect on the pass rate is `effect`, besides as many programs changed each way."""
    gains = (CHURN + max(effect, 0)) / (1 - PASS_RATE)
    losses = (CHURN + max(-effect, 0)) / PASS_RATE
    passed = np.where(before, rng.random(len(before)) >= losses, rng.random(len(before)) < gains)
    return rows(passed)


def rows(passed: np.ndarray) -> list[dict]:
    return [
        {"task_id": i, "label": "correct" if one else "incorrect", "degenerate": False, "kl": 0.1, "trajectory_kl": 0.1}
        for i, one in enumerate(passed.tolist())
    ]


def verdicts(rng, own: dict[str, float], spread: float) -> dict[str, Change]:
    """One run: `own` are the directions' effects at coefficient 1, those of controls are drawn with a `spread`."""
    tuned_on, judged_on = (rng.random(n) < PASS_RATE for n in (N_TUNING, N_VALIDATION))
    sample = tuned_on[np.sort(rng.choice(N_TUNING, N_SAMPLE, replace=False))]
    compared = {}
    for name, wanted in WANTED.items():
        curve = [curve_point(rows(tuned_on), programs(rng, tuned_on, own[name] * c), 3, c) for c in COEFFICIENTS]
        chosen = choose(curve, wanted)[0]
        assert chosen is not None
        c = chosen.coefficient
        controls = {kind: {} for kind in (MATCHED_LATENT, RANDOM_DIRECTION)}
        for group in controls.values():
            for index, effect in enumerate(rng.normal(0, spread, N_CONTROLS)):
                after = {sign: programs(rng, sample, sign * effect) for sign in (c, -c)}
                group[index] = programs(rng, judged_on, effect * better_coefficient(rows(sample), after, 3, wanted))
        compared[name] = compare_direction(rows(judged_on), programs(rng, judged_on, own[name] * c), controls, wanted)
    return {name: found.verdict.change for name, found in judge_family(compared, WANTED).items()}


@pytest.mark.sweep
def test_a_direction_like_its_controls_is_called_an_effect_in_2_5_per_cent_of_runs():
    """Every vector has an effect of its own, of 5 points, up or down; before controls were turned it was 5.0 %."""
    n_runs = swept(200, 3)
    called = 0
    for seed in range(n_runs):
        rng = np.random.default_rng(seed)
        found = verdicts(rng, {name: rng.normal(0, 0.05) for name in WANTED}, 0.05)
        called += sum(change in (Change.RAISES, Change.LOWERS) for change in found.values())
    assert called <= binom.ppf(0.99, n_runs * len(WANTED), 0.025)


@pytest.mark.sweep
def test_a_direction_that_corrects_a_tenth_is_found_in_four_of_five_runs():
    n_runs = swept(100, 2)
    found = [
        verdicts(np.random.default_rng(1000 + seed), {"steer_correct": 0.10, "steer_incorrect": 0.0}, 0.01)
        for seed in range(n_runs)
    ]
    assert sum(each["steer_correct"] is Change.RAISES for each in found) >= binom.ppf(0.01, n_runs, 0.8)
