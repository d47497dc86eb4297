"""Covers how often phase 3.1 is wrong: permuted labels, planted latents, through selection and every verdict."""

import numpy as np
import pytest
import torch
from documents import made
from scipy.stats import binom, norm
from support import WHOLE_SWEEPS

from common.evaluation.separation import layer_statistics
from common.handoffs.detection import LATENT
from common.handoffs.score_verdicts import Stability
from common.handoffs.selected import LatentFacts
from common.programs.judged_problems import JudgedProblems, Samples
from phase3_validation.detection.evaluation import Evaluation, Judging
from phase3_validation.detection.scores import Score, random_latents, simple_scores, text_scores

SIZES = {"sae": 489, "hyperparams": 97, "validation": 388}
N, N_LATENTS = sum(SIZES.values()), 300
SPLIT = np.repeat(list(SIZES), list(SIZES.values()))
WORDS = np.array("list string sum sorted tuple count first second even odd reverse remove".split())
N_RUNS = 200 if WHOLE_SWEEPS else 4


def some_problems(seed: int, incorrect: np.ndarray) -> JudgedProblems:
    """Problems whose length, complexity and words have nothing to do with the label."""
    rng = np.random.default_rng([seed, 1])
    texts = [" ".join(rng.choice(WORDS, int(rng.integers(5, 15)))) for _ in range(N)]
    rows = [
        {"task_id": i, "text": text, "complexity": int(rng.integers(1, 9)), "attributes": "{}"}
        for i, text in enumerate(texts)
    ]
    programs = [
        {"task_id": i, "label": "incorrect" if failed else "correct", "prompt": f"{row['text']} assert"}
        | {"n_new_tokens": 5, "mean_logprob": float(rng.normal()), "first_token_entropy": float(rng.random())}
        for i, (row, failed) in enumerate(zip(rows, incorrect.tolist(), strict=True))
    ]
    return JudgedProblems(rows, programs, SPLIT, {})


def some_latents(seed: int) -> np.ndarray:
    """Latents of every density, [n, n_latents], that know nothing of the label."""
    rng = np.random.default_rng([seed, 2])
    fires = rng.random((N, N_LATENTS)) < rng.uniform(0.02, 0.6, N_LATENTS)
    return np.where(fires, rng.gamma(2, size=(N, N_LATENTS)), 0).astype(np.float32)


def judged(seed: int, incorrect: np.ndarray, latents: np.ndarray, with_text: bool) -> tuple[int, dict]:
    """Select by t on sae, draw random latents, judge on validation: the latent, and its verdicts."""
    problems = some_problems(seed, incorrect)
    own = SPLIT == "sae"
    columns = layer_statistics(torch.from_numpy(latents[own]), 1.0 - incorrect[own])
    chosen = int(columns["t"].argmax())
    table = columns | {
        "layer": np.zeros(N_LATENTS, int),
        "latent": np.arange(N_LATENTS),
        "kept": np.ones(N_LATENTS, bool),
    }
    evaluation = Evaluation(problems, Samples({}, {}), 2000, seed)

    def scored(values: np.ndarray, name: str = LATENT):
        return evaluation.scored(Score(name, values.astype(float)), "incorrect")

    simple = simple_scores(problems)[0] + (text_scores(problems, seed)[0] if with_text else [])
    drawn = random_latents(table, 0, chosen, 100, seed)
    judging = Judging(
        scored(latents[:, chosen]),
        [evaluation.scored(score, "incorrect") for score in simple],
        [scored(sign * latents[:, latent]) for latent, sign in drawn.items()],
        made(Stability, {}),
    )
    return chosen, evaluation.direction(made(LatentFacts, {}), "incorrect", judging)


@pytest.mark.sweep
def test_permuted_labels_are_called_knowledge_in_at_most_one_run_of_twenty():
    latents, base = some_latents(0), np.random.default_rng(0).random(N) < 0.474
    ranks = beyond = 0
    for seed in range(N_RUNS):
        incorrect = np.random.default_rng([seed, 3]).permutation(base)
        _, entry = judged(seed, incorrect, latents, with_text=True)
        ranks += entry.verdict == "ranks"
        beyond += entry.beyond_difficulty.verdict == "beyond difficulty"
    most = binom.ppf(0.99, N_RUNS, 0.05)
    assert ranks <= most and beyond <= most


def planted(seed: int, auroc: float, incorrect: np.ndarray, sparse: bool) -> np.ndarray:
    """A latent of this true AUROC: graded on all problems, or one that fires on few that pass.

    One that fires on a share a of the incorrect and b = 0.1 of the correct, as strongly on both, has an AUROC of
    (1 + a - b) / 2.
    """
    rng = np.random.default_rng([seed, 4])
    if sparse:
        fires = rng.random(N) < np.where(incorrect, 2 * auroc - 1 + 0.1, 0.1)
        return np.where(fires, rng.gamma(2, size=N), 0)
    return np.maximum(rng.normal(size=N) + np.sqrt(2) * norm.ppf(auroc) * incorrect + 4, 0)


@pytest.mark.sweep
@pytest.mark.parametrize(("auroc", "base_rate", "sparse"), [(0.65, 0.474, False), (0.75, 0.70, True)])
def test_a_planted_latent_is_found_and_ranks_in_nine_runs_of_ten(auroc, base_rate, sparse):
    latents, found, ranks = some_latents(1), [], 0
    for seed in range(N_RUNS):
        incorrect = np.random.default_rng([seed, 5]).random(N) < base_rate
        latents[:, 7] = planted(seed, auroc, incorrect, sparse)
        chosen, entry = judged(seed, incorrect, latents, with_text=False)
        ranks += chosen == 7 and entry.verdict == "ranks"
        found.append(entry.card.auroc.value)
    assert ranks >= binom.ppf(0.01, N_RUNS, 0.9) if not WHOLE_SWEEPS else ranks >= 0.9 * N_RUNS
    tolerance = 0.01 if WHOLE_SWEEPS else 3 * 0.03 / np.sqrt(N_RUNS)
    assert np.mean(found) == pytest.approx(auroc, abs=tolerance)
