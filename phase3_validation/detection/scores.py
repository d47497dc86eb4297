"""What could tell beforehand whether a program fails: the selected latent, random latents, and simpler things.

Every score is turned so that a larger value speaks for *incorrect*; for a direction that stands for correct it is
negated. Which way a simple quantity is turned is decided on the `sae` split alone, by its AUROC there; a latent's by
the sign with which it was selected, or by its t on that split.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from common.evaluation import metrics
from common.evaluation.probes import CrossFitted
from common.evaluation.text_score import TextScores
from common.handoffs.detection import (
    ALWAYS_POSITIVE,
    COMPLEXITY,
    DESCRIPTION_LENGTH,
    DESCRIPTION_TEXT,
    DIFFERENCE_OF_MEANS,
    LOGISTIC_REGRESSION,
    MEAN_LOGPROB,
    OPERATIONS,
    PROBE,
    PROMPT_LENGTH,
    PROMPT_TEXT,
    RARITY,
    SUMMED_LOGPROB,
    Known,
)
from common.programs.judged_problems import JudgedProblems

MIN_ACTIVE = 5  # problems of `sae` on which a random latent fires: a dead one would be no opponent


@dataclass(frozen=True)
class Baseline:
    """What is measured of a problem or of its program, and when it is known; `of_the_problem`: an attribute of it."""

    meaning: str
    known: Known
    of_the_problem: bool = False


BEFORE, AFTER = Known.BEFORE, Known.AFTER
BASELINES = {  # all that stands beside a latent, in the order of the card
    ALWAYS_POSITIVE: Baseline("the positive label for every problem; its threshold is no choice", BEFORE),
    PROMPT_LENGTH: Baseline("characters of the prompt", BEFORE, of_the_problem=True),
    DESCRIPTION_LENGTH: Baseline("characters of the description", BEFORE, of_the_problem=True),
    COMPLEXITY: Baseline("cyclomatic complexity of the reference solution", BEFORE, of_the_problem=True),
    OPERATIONS: Baseline("operations that the reference solution composes", BEFORE, of_the_problem=True),
    RARITY: Baseline("tier of the rarest operation: 0 common, 1 rare, 2 very rare", BEFORE, of_the_problem=True),
    MEAN_LOGPROB: Baseline("mean log-probability of the generated tokens: known once the program is written", AFTER),
    SUMMED_LOGPROB: Baseline(
        "summed log-probability of the generated tokens: known once the program is written", AFTER
    ),
    "first-token entropy": Baseline("entropy of the first generated token's distribution", BEFORE),
    PROMPT_TEXT: Baseline("logistic regression on TF-IDF of words and character 2- to 4-grams, fitted on sae", BEFORE),
    DESCRIPTION_TEXT: Baseline("the same of the description alone", BEFORE),
    LOGISTIC_REGRESSION: Baseline(
        "on the standardised residual stream of the layer, C chosen by cross-validation on sae", BEFORE
    ),
    DIFFERENCE_OF_MEANS: Baseline("projection of the residual stream on mean incorrect - mean correct of sae", BEFORE),
    PROBE: Baseline(
        "logistic regression on the stream of the layer whose probe has the best cross-validated AUROC on sae", BEFORE
    ),
}
OF_THE_PROBLEM = tuple(name for name, baseline in BASELINES.items() if baseline.of_the_problem)
COVARIATES = (*OF_THE_PROBLEM, PROMPT_TEXT, DESCRIPTION_TEXT)  # what a score has to add to
_TIERS = ("A", "B", "C")


@dataclass(frozen=True)
class Score:
    """One number per problem, larger for incorrect. `sign` says how what was measured was turned for that.

    `facts` are shown beside its card. `out_of_fold` are the values where the problems that the score was fitted on
    have those of a fit without them; None where it was fitted on none.
    """

    name: str
    values: Float[np.ndarray, " n"]
    sign: int = 1
    facts: dict[str, Any] = field(default_factory=dict)
    out_of_fold: Float[np.ndarray, " n"] | None = None

    def toward(self, label: str) -> Score:
        """The same score, larger for `label`."""
        turn = 1 if label == "incorrect" or self.name == ALWAYS_POSITIVE else -1
        outside = None if self.out_of_fold is None else turn * self.out_of_fold
        return Score(self.name, turn * self.values + 0.0, turn * self.sign, self.facts, outside)  # no -0.0

    @property
    def unseen(self) -> Float[np.ndarray, " n"]:
        """Values none of which was fitted on the problem's own label."""
        return self.values if self.out_of_fold is None else self.out_of_fold


def oriented(name: str, measured: Float[np.ndarray, " n"], problems: JudgedProblems) -> Score:
    """A measured quantity as a score, turned by its AUROC on the `sae` split; unturned at exactly 1/2."""
    in_sae = problems.split == "sae"
    incorrect = problems.incorrect[in_sae].astype(float)
    sign = -1 if metrics.auroc(measured[in_sae], incorrect, 1 - incorrect) < 0.5 else 1
    return Score(name, sign * measured.astype(float), sign)


def simple_scores(problems: JudgedProblems) -> tuple[list[Score], list[str]]:
    """Scores that need no activation, and the names of those that not every problem has."""
    known, absent = [Score(ALWAYS_POSITIVE, np.ones(len(problems.problems)))], []
    for name, measure in _MEASURES.items():
        measured = [measure(*pair) for pair in zip(problems.problems, problems.programs, strict=True)]
        if all(value is not None and np.isfinite(value) for value in measured):
            known.append(oriented(name, np.array(measured, dtype=float), problems))
        else:
            absent.append(name)
    return known, absent


def text_scores(problems: JudgedProblems, seed: int) -> tuple[list[Score], list[str]]:
    """What the words of prompt and description tell, fitted on `sae`; and the names of those that not all have.

    Out of fold they are fitted on `hyperparams` as well, as the regression is that they join.
    """
    texts = {
        PROMPT_TEXT: [program["prompt"] for program in problems.programs],
        DESCRIPTION_TEXT: [problem["text"] for problem in problems.problems],
    }
    sae, not_validation = problems.split == "sae", problems.split != "validation"
    known, absent = [], []
    for name, text in texts.items():
        if None in text:
            absent.append(name)
            continue
        scores = TextScores(text, problems.incorrect, seed)
        strength = scores.strength(sae)
        outside = scores.cross_fitted(not_validation, strength)
        known.append(Score(name, scores.fitted_on(sae, strength), facts={"C": strength}, out_of_fold=outside))
    return known, absent


def probe_score(name: str, probe: CrossFitted, layer: int) -> Score:
    """A logistic regression on one layer's residual stream, fitted on the `sae` split."""
    return Score(name, probe.values, facts={**probe.facts, "layer": layer}, out_of_fold=probe.out_of_fold)


def random_latents(latents: dict[str, np.ndarray], layer: int, without: int, n: int, seed: int) -> dict[int, int]:
    """Up to `n` latents of a layer, ascending, with the sign of their t (1: incorrect), drawn without replacement.

    `latents` has the columns of latents.parquet. Only those are drawn that passed the general-text filter and fire
    on 5 or more problems of `sae`, as selected ones are; `without` is the selected latent itself.
    """
    eligible = (latents["layer"] == layer) & latents["kept"] & (latents["n_active"] >= MIN_ACTIVE)
    rows = np.flatnonzero(eligible & (latents["latent"] != without))
    generator = np.random.default_rng([seed, layer, without])
    drawn = np.sort(generator.choice(rows, size=min(n, len(rows)), replace=False))
    return {int(latents["latent"][row]): -1 if latents["t"][row] < 0 else 1 for row in drawn}


def _operations(problem: dict[str, Any]) -> float | None:
    attributes = json.loads(problem["attributes"] or "{}")
    operations = attributes.get("n_operations")
    return float(operations) if isinstance(operations, int | float) else None


def _rarity(problem: dict[str, Any]) -> float | None:
    tier = json.loads(problem["attributes"] or "{}").get("rarity")
    return float(_TIERS.index(tier)) if isinstance(tier, str) and tier in _TIERS else None


def _summed(program: dict[str, Any]) -> float | None:
    mean, n_tokens = program["mean_logprob"], program["n_new_tokens"]
    return None if mean is None or n_tokens is None else mean * n_tokens


_MEASURES: dict[str, Callable[[dict[str, Any], dict[str, Any]], float | None]] = {
    PROMPT_LENGTH: lambda problem, program: None if program["prompt"] is None else len(program["prompt"]),
    DESCRIPTION_LENGTH: lambda problem, program: len(problem["text"]),
    COMPLEXITY: lambda problem, program: problem["complexity"],
    "operations": lambda problem, program: _operations(problem),
    "rarity": lambda problem, program: _rarity(problem),
    MEAN_LOGPROB: lambda problem, program: program["mean_logprob"],
    SUMMED_LOGPROB: lambda problem, program: _summed(program),
    "first-token entropy": lambda problem, program: program["first_token_entropy"],
}
