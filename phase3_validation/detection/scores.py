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
from torch import Tensor

from common.evaluation import metrics, probes
from common.handoffs.detection import ALWAYS_POSITIVE, DIFFERENCE_OF_MEANS, LOGISTIC_REGRESSION
from common.programs.labels import JudgedProblems

MIN_ACTIVE = 5  # problems of `sae` on which a random latent fires: a dead one would be no opponent

MEANING = {  # name -> what is measured, and when it is known
    ALWAYS_POSITIVE: "the positive label for every problem; its threshold is no choice",
    "prompt length": "characters of the prompt",
    "description length": "characters of the description",
    "complexity": "cyclomatic complexity of the reference solution",
    "operations": "operations that the reference solution composes",
    "mean log-probability": "mean log-probability of the generated tokens: known once the program is written",
    "summed log-probability": "summed log-probability of the generated tokens: known once the program is written",
    "first-token entropy": "entropy of the first generated token's distribution",
    LOGISTIC_REGRESSION: "on the standardised residual stream of the layer, C chosen by cross-validation on sae",
    DIFFERENCE_OF_MEANS: "projection of the residual stream on mean incorrect - mean correct of sae",
}
OF_THE_PROBLEM = ("prompt length", "description length", "complexity", "operations")


@dataclass(frozen=True)
class Score:
    """One number per problem, larger for incorrect. `sign` says how what was measured was turned for that.

    `facts` are shown beside its card.
    """

    name: str
    values: Float[np.ndarray, " n"]
    sign: int = 1
    facts: dict[str, Any] = field(default_factory=dict)

    def toward(self, label: str) -> Score:
        """The same score, larger for `label`."""
        turn = 1 if label == "incorrect" or self.name == ALWAYS_POSITIVE else -1
        return Score(self.name, turn * self.values + 0.0, turn * self.sign, self.facts)  # no -0.0


def oriented(name: str, measured: Float[np.ndarray, " n"], problems: JudgedProblems) -> Score:
    """A measured quantity as a score, turned by its AUROC on the `sae` split; unturned at exactly 1/2."""
    own = problems.split == "sae"
    incorrect = problems.incorrect[own].astype(float)
    sign = -1 if metrics.auroc(measured[own], incorrect, 1 - incorrect) < 0.5 else 1
    return Score(name, sign * measured.astype(float), sign)


def simple_scores(problems: JudgedProblems) -> tuple[list[Score], list[str]]:
    """Scores that need no activation, and the names of those that not every problem has."""
    found, absent = [Score(ALWAYS_POSITIVE, np.ones(len(problems.problems)))], []
    for name, measure in _MEASURES.items():
        measured = [measure(*pair) for pair in zip(problems.problems, problems.programs, strict=True)]
        if all(value is not None and np.isfinite(value) for value in measured):
            found.append(oriented(name, np.array(measured, dtype=float), problems))
        else:
            absent.append(name)
    return found, absent


def probe_scores(resid: Float[Tensor, "n d_model"], problems: JudgedProblems, seed: int) -> list[Score]:
    """Logistic regression and difference of means on one layer's residual stream, fitted on the `sae` split."""
    x, own = resid.double().numpy(), problems.split == "sae"
    incorrect = problems.incorrect[own]
    values, facts = probes.logistic_regression(x, x[own], incorrect, seed)
    return [
        Score(LOGISTIC_REGRESSION, values, facts=facts),
        Score(DIFFERENCE_OF_MEANS, probes.difference_of_means(x, x[own], incorrect)),
    ]


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


def _summed(program: dict[str, Any]) -> float | None:
    mean, n_tokens = program["mean_logprob"], program["n_new_tokens"]
    return None if mean is None or n_tokens is None else mean * n_tokens


_MEASURES: dict[str, Callable[[dict[str, Any], dict[str, Any]], float | None]] = {
    "prompt length": lambda problem, program: None if program["prompt"] is None else len(program["prompt"]),
    "description length": lambda problem, program: len(problem["text"]),
    "complexity": lambda problem, program: problem["complexity"],
    "operations": lambda problem, program: _operations(problem),
    "mean log-probability": lambda problem, program: program["mean_logprob"],
    "summed log-probability": lambda problem, program: _summed(program),
    "first-token entropy": lambda problem, program: program["first_token_entropy"],
}
