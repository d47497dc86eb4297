"""Phases 0 and 1 under the class names of the project's first README: thin, over `run_phase`, which saves as it goes.

`start_idx` and `end_idx` are records, both included, and -1 stands for the last. Records are numbered from the shortest
prompt to the longest, as everywhere: an experiment on a sample of problems is `limit=`, not a slice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ConfigError
from common.files import write_atomic
from common.handoffs import GENERATIONS
from common.model.devices import resolve_device
from common.model.loading import load_model
from common.problems.datasets import ProblemSet, load_problems
from common.runs.artifacts import Artifact
from common.runs.checkpoints import PartStore
from common.runs.discovery import STAMP, read_run
from common.tables import to_parquet
from pva_sae.phases import folder_of, run_phase

if TYPE_CHECKING:
    import pandas as pd

    from common.model.language_model import LanguageModel

LAST = -1
COLUMNS = GENERATIONS.columns("dataset.parquet")
FORMATS = {"parquet": ("parquet",), "json": ("json",), "both": ("parquet", "json")}


class ModelManager:
    """A model by its hub id or folder; `settings` are flags of phase 1, such as dtype="bfloat16"."""

    def __init__(self, model_name: str, **settings: Any):
        self.model_name, self.settings = model_name, settings

    def load_model(self) -> LanguageModel:
        """The model with its tokenizer. Raises: AssetError when there is none."""
        device, dtype = resolve_device(self.settings.get("device", "auto")), self.settings.get("dtype", "auto")
        return load_model(self.model_name, device, dtype, revision=self.settings.get("revision", ""))


class EnhancedDatasetManager:
    """Problems by name or file; a pilot of `limit` of them, drawn at random."""

    def __init__(self, dataset: str = "mbpp", limit: int = 0):
        self.dataset, self.limit = dataset, limit

    def load_dataset(self) -> ProblemSet:
        """The problems with their tests. Raises: AssetError, ConfigError."""
        return load_problems(self.dataset, self.limit)


class DatasetBuilder:
    """What a model writes for the problems, judged, with the residual stream: phase 1 in the folder `data`."""

    def __init__(self, model_manager: ModelManager, dataset_manager: EnhancedDatasetManager, data: str | Path = "data"):
        self.models, self.problems, self.data = model_manager, dataset_manager, Path(data)
        self.path: Path | None = None  # of the run

    def build_dataset(self, start_idx: int = 0, end_idx: int = LAST, *, fresh: bool = False) -> pd.DataFrame:
        """Write, judge and save the programs of a slice; what is saved already is not written again.

        Returns every program of this run that is on disk, other slices' too: columns as in dataset.parquet.
        Raises: PipelineError, with what to type.
        """
        run_phase("0", data=self.data, **self._dataset)
        piece = {"start": start_idx, "end": None if end_idx == LAST else end_idx}
        begun_anew = {"fresh": True} if fresh else {}
        self.path = run_phase("1", data=self.data, **self._experiment, **piece, **begun_anew)
        return _frame(self._rows())

    @property
    def unfinished(self) -> Path | None:
        """The run that build_dataset would go on with; None where it would begin one. Raises: as build_dataset."""
        path = folder_of("1", data=self.data, **self._experiment)
        return path if (path / STAMP).is_file() else None

    def save_dataset(self, format: str = "parquet") -> list[Path]:
        """Write what build_dataset returned beside the data as dataset_<run>.parquet, .json, or 'both'; the paths.

        Raises: ConfigError for another format, or before build_dataset.
        """
        if format not in FORMATS:
            raise ConfigError(f"format is '{format}'\nGive one of: {', '.join(FORMATS)}")
        if self.path is None:
            raise ConfigError(f"there is no dataset of {self.models.model_name} to save yet\nRun build_dataset() first")
        rows = self._rows()
        stem = self.data / f"dataset_{self.path.name}"
        paths = {ending: stem.with_name(f"{stem.name}.{ending}") for ending in FORMATS[format]}
        for ending, path in paths.items():
            write_atomic(path, _json(rows) if ending == "json" else to_parquet(rows, COLUMNS))
        return [*paths.values()]

    @property
    def _dataset(self) -> dict[str, Any]:
        return {"dataset": self.problems.dataset, "limit": self.problems.limit}

    @property
    def _experiment(self) -> dict[str, Any]:
        return {**self._dataset, "model": self.models.model_name, **self.models.settings}

    def _rows(self) -> list[dict[str, Any]]:
        assert self.path is not None
        run = read_run(self.path, GENERATIONS)
        if run is not None and run.finished:
            return Artifact(GENERATIONS, run, "python3 run.py phase 1").table("dataset.parquet")
        return PartStore(self.path, logging.getLogger("pva_sae")).table("dataset.parquet")


class EnhancedMBPPTester:
    """A model on MBPP, or on `dataset`, or on a pilot of `limit` problems of it."""

    def __init__(
        self, model_name: str, dataset: str = "mbpp", limit: int = 0, data: str | Path = "data", **settings: Any
    ):
        problems = EnhancedDatasetManager(dataset, limit)
        self.builder = DatasetBuilder(ModelManager(model_name, **settings), problems, data)

    def build_dataset_mvp_with_cleanup(
        self, start_idx: int = 0, end_idx: int = LAST, save_format: str = "both"
    ) -> pd.DataFrame:
        """Build a slice and save it. The model runs in a process of its own, whose end gives all its memory back."""
        programs = self.builder.build_dataset(start_idx, end_idx)
        self.builder.save_dataset(save_format)
        return programs


class ProductionMBPPTester(EnhancedMBPPTester):
    """The same, for a run of hours."""

    def build_dataset_production(
        self, start_idx: int = 0, end_idx: int = LAST, resume_from_checkpoint: str | Path | None = None
    ) -> pd.DataFrame:
        """Build a slice, going on from all that is saved, and save it as Parquet and JSON.

        `resume_from_checkpoint` is not needed: the unfinished run of these settings is found. Where it is given, it
        must be that run. Raises: ConfigError where it is another, before anything is computed.
        """
        if resume_from_checkpoint is not None:
            self._check_own(Path(resume_from_checkpoint).resolve())
        return self.build_dataset_mvp_with_cleanup(start_idx, end_idx)

    def _check_own(self, given: Path) -> None:
        own = self.builder.unfinished
        if own is None or own.resolve() != given:
            raise ConfigError(
                f"resume_from_checkpoint is {given}, but the unfinished run of these settings is {own}\n"
                f"Leave it out: what is saved under {self.builder.data} is found"
            )


def _frame(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(COLUMNS))


def _json(rows: Sequence[dict[str, Any]]) -> bytes:
    return json.dumps(list(rows), indent=1).encode()
