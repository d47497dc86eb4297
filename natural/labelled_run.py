"""A finished run of phase 1 with its split, its samples at other temperatures, and its residual streams."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from common import handoffs
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from common.handoffs import SPLIT_FILES
from common.programs.judged_problems import JudgedProblems, Samples, judged_problems, judged_samples
from common.runs import discovery
from common.runs.artifacts import Artifact
from common.saes.activations import stored_layers

if TYPE_CHECKING:
    from jaxtyping import Float


@dataclass(frozen=True)
class LabelledRun:
    """Programs with labels, in the order of the splits."""

    generations: Artifact
    problems: JudgedProblems
    samples: Samples

    @property
    def layers(self) -> list[int]:
        return stored_layers(self.generations)

    @property
    def positions(self) -> list[str]:
        """The prompt positions whose residual stream is kept, 'last' first."""
        from safetensors import safe_open

        with safe_open(self.generations.file(_file(self.layers[0])), framework="numpy") as opened:
            names = [name.partition(".") for name in opened.keys() if name != "task_id"]  # noqa: SIM118 - no mapping
        return sorted((position or "last" for _, _, position in names), key=lambda name: (name != "last", name))

    def resid(self, layer: int, position: str) -> Float[np.ndarray, "n d_model"]:
        """resid_post at one position, in the order of the problems, float64."""
        row_of = {task_id: row for row, task_id in enumerate(self.generations.tensor(_file(layer), "task_id").tolist())}
        name = "resid_post" if position == "last" else f"resid_post.{position}"
        rows = [row_of[task_id] for task_id in self.problems.task_ids]
        return self.generations.tensor(_file(layer), name)[rows].astype(np.float64)

    def of(self, *splits: str) -> np.ndarray:
        """Which problems are of these splits, [n] bool."""
        return np.isin(self.problems.split, splits)


def read_run(data_dir: Path, folder: Path | None = None) -> LabelledRun:
    """The run in `folder`, else the newest finished one of a data folder that holds one experiment.

    Raises: MissingArtifactError, ConfigError where there are several experiments.
    """
    run = _named(folder) if folder else _only(data_dir)
    lineage = discovery.lineage_of(handoffs.GENERATIONS, run)
    build = discovery.with_data_dir("python3 run.py phase 0.1", data_dir)
    split, _ = discovery.find_input(handoffs.SPLIT, data_dir, run.experiment, lineage, build)
    inputs = ((handoffs.GENERATIONS, run), (handoffs.SPLIT, split))
    generations, splits = (Artifact(schema, path, build) for schema, path in inputs)
    rows = {name: splits.table(file) for name, file in SPLIT_FILES.items()}
    problems = judged_problems(rows, generations.table("dataset.parquet"), str(run.path))
    lineage |= discovery.lineage_of(handoffs.SPLIT, split)
    return LabelledRun(generations, problems, _samples(data_dir, run.experiment, lineage, problems))


def _file(layer: int) -> str:
    return f"activations/layer_{layer:02d}.safetensors"


def _named(folder: Path) -> discovery.RunFolder:
    _, run = discovery.run_at(folder, (handoffs.GENERATIONS,))
    return run


def _only(data_dir: Path) -> discovery.RunFolder:
    runs = discovery.readable_runs(handoffs.GENERATIONS, data_dir)
    if not runs:
        raise MissingArtifactError(
            f"{data_dir} holds no finished run of phase 1\nMake one with: python3 -m natural.run --help"
        )
    experiments = sorted({discovery.describe(handoffs.GENERATIONS, run.experiment) for run in runs})
    if len(experiments) > 1:
        raise ConfigError(
            f"{data_dir} holds runs of phase 1 of {len(experiments)} experiments: {'; '.join(experiments)}\n"
            f"Give one with --run, as in: --run {runs[0].path}"
        )
    return runs[0]


def _samples(data_dir: Path, experiment: dict[str, str], lineage: dict[str, str], problems: JudgedProblems) -> Samples:
    """Those of the newest run of phase 1.2 on the same split; none where it has not run."""
    try:
        run, _ = discovery.find_input(handoffs.TEMPERATURE, data_dir, experiment, lineage, "python3 run.py phase 1.2")
    except (MissingArtifactError, ArtifactMismatchError):
        return judged_samples([], problems)
    sampled = Artifact(handoffs.TEMPERATURE, run, "python3 run.py phase 1.2")
    names = sorted(name for name in sampled.manifest["files"] if name.startswith("dataset_temp_"))
    return judged_samples([row for name in names for row in sampled.table(name)], problems)
