"""Training as it stands, in the run's folder, which a stopped or killed run goes on from.

One folder for each state, named by the steps of all layers together, with a file for each layer that has taken any; it
gets its name once it is complete, and the one before is removed after that. Nothing is pickled.
"""

import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from common.errors import PipelineError
from common.files import sync
from common.runs.discovery import CHECKPOINT

_SECONDS = "seconds"

State = dict[str, Tensor]


class Checkpoints:
    """The newest state of each layer's training, and what time it took."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def load(self, layers: list[int]) -> tuple[dict[int, State], float]:
        """The newest complete state by layer, and the seconds of training until then; nothing where there is none.

        A state that cannot be read is passed over for the one before, where there is one.
        """
        for folder in reversed(self._complete()):
            try:
                paths = {layer: folder / f"layer_{layer}.safetensors" for layer in layers}
                states = {layer: load_file(path) for layer, path in paths.items() if path.is_file()}
            except (OSError, SafetensorError):
                continue
            if states:
                return states, float(next(iter(states.values()))[_SECONDS])
        return {}, 0.0

    def save(self, states: dict[int, State], step: int, seconds: float) -> None:
        """Raises: PipelineError when the disk is full; what was saved before is kept then."""
        final = self._folder / f"step_{step:09d}"
        partial = self._folder / f"{final.name}.partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            for layer, state in states.items():
                path = partial / f"layer_{layer}.safetensors"
                save_file({**state, _SECONDS: torch.tensor(seconds, dtype=torch.float64)}, path)
                sync(path)
            before = self._complete()
            if final in before:  # a run that was stopped again before a step: what it has is this
                return shutil.rmtree(partial)
            os.replace(partial, final)
            sync(self._folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise PipelineError(
                f"cannot write {final}: {getattr(error, 'strerror', None) or error}\n"
                f"Make room, or allow writing there, and give the same command again: what is saved is kept"
            ) from error
        for old in before:
            shutil.rmtree(old, ignore_errors=True)

    def _complete(self) -> list[Path]:
        """Oldest first."""
        return sorted(path for path in self._folder.glob("step_*") if CHECKPOINT.fullmatch(path.name))
