"""One experiment on disk as tables and arrays: programs, activations, latents, predictions and what they are worth."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.errors import ConfigError
from common.exchange import rows
from common.handoffs import DETECTION, SCHEMAS
from common.report.collect import Collected, PhaseResult, choose, collect_experiment, runs_in
from common.saes.activations import stored_positions
from run import CATALOGUE

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

LAST = "last"


def latest(
    model: str | None = None,
    dataset: str | None = None,
    *,
    sae: str | None = None,
    prompt: str | None = None,
    data: str | Path = "data",
) -> Run:
    """The newest experiment in the folder `data` that fits what is given, each written as on the command line.

    Of every phase it has the newest finished run that was made from the same programs, as a report does.
    Raises: MissingArtifactError, which says what to type, where there is none.
    """
    typed = {"model": model, "dataset": dataset, "sae": sae, "prompt": prompt}
    given = {key: value for key, value in typed.items() if value is not None}
    folder = Path(data)
    runs = runs_in(folder)
    return Run(collect_experiment(runs, choose(runs, given, folder)[0], folder))


class Run:
    """An experiment: a model on a dataset, with what every phase found of it.

    Files are compared with their manifests when it is looked up, activations when they are read. What a phase has not
    built, or what was changed since, raises MissingArtifactError with the command that builds it; changed activations,
    ArtifactMismatchError.
    """

    def __init__(self, collected: Collected):
        self._collected = collected

    def __repr__(self) -> str:
        return f"<Run of {self._collected.name}: phases {', '.join(self.phases)} in {self._collected.data_dir}>"

    @property
    def phases(self) -> list[str]:
        """The phases that are finished, such as ['0', '0.1', '1']."""
        return [schema.phase for schema in SCHEMAS if self._collected.finished(schema)]

    @property
    def path(self) -> Path:
        """The folder of its phase 1."""
        return self.folder("1")

    @cached_property
    def programs(self) -> pd.DataFrame:
        """What the model wrote (phase 1), a row for each problem: prompt, code, label, error, log-probabilities.

        `split` says what a problem is for: sae selects, hyperparams tunes, validation reports; None before phase 0.1.
        """
        import pandas as pd

        return pd.DataFrame(rows.programs(self._collected))

    def resid(self, layer: int, position: str = LAST) -> np.ndarray:
        """resid_post of a layer before the program is written, float32 [n problems, d_model], ordered as `programs`.

        `position`: last prompt token, or description_end, tests_end where phase 1 kept them (--positions).
        Raises: ConfigError for a layer or position that was not kept.
        """
        artifact = self._phase("1").artifact
        kept = [name for name in artifact.manifest["files"] if name.startswith("activations/")]
        file = f"activations/layer_{layer:02d}.safetensors"
        if file not in kept:
            raise ConfigError(f"layer {layer} was not kept in {artifact.path}\nGive 0 to {len(kept) - 1}")
        positions = stored_positions(artifact)
        if position not in positions:
            raise ConfigError(
                f"position '{position}' was not kept in {artifact.path}\nGive one of: {', '.join(positions)}"
            )
        return artifact.tensor(file, "resid_post" if position == LAST else f"resid_post.{position}")

    @cached_property
    def latents(self) -> pd.DataFrame:
        """Every latent that phase 2 looked at, with t, q, AUROC and general-text rate."""
        return self.table("2", "latents.parquet")

    @property
    def selected(self) -> Any:
        """selected.json of phase 2: the latents of each direction."""
        return self.document("2", "selected.json")

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """Every score of phase 3.1 on the problems that report: long, a row for each score and problem."""
        return self.table("3.1", "predictions.parquet")

    @cached_property
    def cards(self) -> pd.DataFrame:
        """What every score is worth, a row each, with 95 % intervals: of phase 3.1, and of 4.1 if it is there.

        `known` says when a score is: before the program is written, or after.
        """
        import pandas as pd

        self._collected.needed(DETECTION)
        return pd.DataFrame(rows.cards(self._collected))

    def folder(self, phase: str) -> Path:
        """Where the run of a phase lies."""
        return self._phase(phase).artifact.path

    def table(self, phase: str, name: str) -> pd.DataFrame:
        """A Parquet file of a phase, such as table("3.3", "steering.parquet"); its columns are told in the manifest."""
        import pandas as pd

        return pd.read_parquet(self._phase(phase).artifact.file(name))

    def document(self, phase: str, name: str | None = None) -> Any:
        """A JSON file of a phase as a frozen dataclass (common/handoffs); its main one unless named."""
        return self._phase(phase).document(name)

    def _phase(self, phase: str) -> PhaseResult:
        return self._collected.needed(CATALOGUE.phase(phase).output)
