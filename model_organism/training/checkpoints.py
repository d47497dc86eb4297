"""Checkpoints of a training run: one folder a step, named only once it is complete, the newest kept.

checkpoints/step_0000400/shared.safetensors     master weights in float32
checkpoints/step_0000400/process_0.safetensors  one process's momenta, auxiliary heads and their state
checkpoints/step_0000400/progress.json          step, tokens seen, seconds spent, settings
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from common.errors import ArtifactMismatchError
from model_organism.training.settings import TrainingSettings


@dataclass(frozen=True)
class Progress:
    """Where a run stands; the data position follows from the step."""

    step: int = 0
    n_tokens: int = 0
    seconds: float = 0.0


class CheckpointFolder:
    """The checkpoints of one run; a checkpoint of other settings is refused."""

    def __init__(self, folder: Path, settings: TrainingSettings) -> None:
        self.folder = folder
        self.settings = json.loads(json.dumps(asdict(settings)))

    def newest(self) -> Path | None:
        """The newest complete checkpoint, if there is one.

        Raises: ArtifactMismatchError, naming the setting, if it was written under other settings.
        """
        complete = sorted(self.folder.glob("step_*[0-9]"))
        if not complete:
            return None
        written = json.loads((complete[-1] / "progress.json").read_text())["settings"]
        for name, value in self.settings.items():
            if written.get(name) != value:
                raise ArtifactMismatchError(
                    f"cannot resume {complete[-1]}: {name} was {written.get(name)}, is {value}\n"
                    f"Give the earlier value, or start over with: rm -r {self.folder}"
                )
        return complete[-1]

    def write_part(self, step: int, name: str, tensors: dict[str, torch.Tensor]) -> None:
        partial = self._partial(step)
        partial.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in tensors.items()}, partial / f"{name}.safetensors")

    def complete(self, progress: Progress) -> None:
        """Give the parts of this step their final name, and drop older checkpoints."""
        partial = self._partial(progress.step)
        manifest = {**asdict(progress), "settings": self.settings}
        (partial / "progress.json").write_text(json.dumps(manifest, indent=1))
        final = self.folder / f"step_{progress.step:07d}"
        partial.rename(final)
        for other in self.folder.glob("step_*"):
            if other != final:
                shutil.rmtree(other)

    def _partial(self, step: int) -> Path:
        return self.folder / f"step_{step:07d}.partial"


def read_progress(checkpoint: Path) -> Progress:
    written = json.loads((checkpoint / "progress.json").read_text())
    return Progress(written["step"], written["n_tokens"], written["seconds"])


def restore(checkpoint: Path, name: str, tensors: dict[str, torch.Tensor]) -> None:
    """Copy a saved part into the given tensors, in place."""
    saved = load_file(checkpoint / f"{name}.safetensors")
    assert saved.keys() == tensors.keys(), sorted(saved.keys() ^ tensors.keys())
    with torch.no_grad():
        for key, tensor in tensors.items():
            tensor.copy_(saved[key])
