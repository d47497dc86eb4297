"""A finished run of phase 1 on the organism's own problems, joined with what is known of each problem."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
from safetensors.numpy import load_file

from common.errors import ArtifactMismatchError, MissingArtifactError
from common.evaluation.statistics import wilson_interval
from common.problems.prompt import build_prompt
from model_organism.problems import EVALUATION_FILE

GROUPINGS = ("n_operations", "complexity", "rarity")


@dataclass(frozen=True)
class GradedRun:
    """One row per problem, in the order of task ids; `resid_post` maps layer to [problem, d_model]."""

    problems: list[dict]
    is_correct: np.ndarray
    n_new_tokens: np.ndarray
    mean_logprob: np.ndarray
    resid_post: dict[int, np.ndarray]

    @property
    def prompts(self) -> list[str]:
        return [build_prompt(problem["text"], problem["test_list"]).text for problem in self.problems]

    def known(self, name: str) -> np.ndarray:
        """One known property of every problem, such as "n_operations"."""
        return np.array([problem[name] for problem in self.problems])


def load_run(folder: Path) -> GradedRun:
    """The run in `folder`, complete.

    Raises: MissingArtifactError if the folder holds no run; ArtifactMismatchError if its problems
    are not the organism's, or were not all run.
    """
    table = folder / "dataset.parquet"
    if not table.is_file():
        raise MissingArtifactError(
            f"no finished run of phase 1 in {folder}: dataset.parquet is missing\n"
            "Make one with: python3 run.py phase 1 --preset demo"
        )
    rows = {row["task_id"]: row for row in pyarrow.parquet.read_table(table).to_pylist()}
    problems = [json.loads(line) for line in EVALUATION_FILE.read_text(encoding="utf-8").splitlines()]
    labels = [rows[problem["task_id"]]["label"] if problem["task_id"] in rows else "absent" for problem in problems]
    others = sorted(set(labels) - {"correct", "incorrect"})
    if others or len(rows) != len(problems):
        raise ArtifactMismatchError(
            f"{folder} holds {len(rows)} problems of {len(problems)}, labels among them: {others}\n"
            "Run all of them with: python3 run.py phase 1 --preset demo --dataset organism"
        )
    ordered = [rows[problem["task_id"]] for problem in problems]
    return GradedRun(
        problems=problems,
        is_correct=np.array([label == "correct" for label in labels]),
        n_new_tokens=np.array([row["n_new_tokens"] for row in ordered]),
        mean_logprob=np.array([row["mean_logprob"] for row in ordered]),
        resid_post=_load_activations(folder / "activations", [problem["task_id"] for problem in problems]),
    )


def _load_activations(folder: Path, task_ids: list[int]) -> dict[int, np.ndarray]:
    layers = {}
    for path in sorted(folder.glob("layer_*.safetensors")):
        tensors = load_file(path)
        position = {int(task_id): row for row, task_id in enumerate(tensors["task_id"])}
        order = [position[task_id] for task_id in task_ids]
        layers[int(path.stem.removeprefix("layer_"))] = tensors["resid_post"][order].astype(np.float64)
    return layers


def pass_rates(run: GradedRun) -> dict[str, dict]:
    """Pass rate with its 95 % Wilson interval: overall, and by each of `GROUPINGS`."""
    rates: dict[str, dict] = {"overall": proportion(run.is_correct)}
    for grouping in GROUPINGS:
        values = run.known(grouping)
        rates[grouping] = {str(value): proportion(run.is_correct[values == value]) for value in np.unique(values)}
    return rates


def proportion(successes: np.ndarray) -> dict[str, float]:
    """Count, successes, rate and 95 % Wilson interval."""
    n, n_successes = len(successes), int(np.sum(successes))
    low, high = wilson_interval(n_successes, n)
    return {"n": n, "successes": n_successes, "rate": n_successes / n, "low": low, "high": high}
