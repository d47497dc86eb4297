"""`run.py pipeline --report-to trackio|wandb`: what every phase took and found, beside other work in a tracker.

A tracker is a package that the user has; nothing else here knows of it. Each phase is one step: its seconds, and the
numbers of its summary, as `run.py status` shows them; of one that was built before, the seconds alone. What a tracker
does wrong is said once and ends no run.
"""

import importlib
import shlex
import time
from collections.abc import Callable, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from common.cli import new_log
from common.errors import ConfigError, suggestion
from common.handoffs import ArtifactSchema
from common.runs.artifacts import utc
from common.runs.discovery import readable_runs

TRACKERS = ("trackio", "wandb")
PROJECT = "pva-sae"


class NoTracker:
    """Where none was asked for."""

    def phase_ended(self, output: ArtifactSchema, data_dir: Path, seconds: float) -> None:
        """Tell nobody."""

    def close(self) -> None:
        """Nothing more comes."""


class Tracker(NoTracker):
    """One run of a tracker, whose package is `module`."""

    def __init__(self, module: Any, command: Sequence[str]):
        self._module, self._failed, self._step = module, False, 0
        self._try(lambda: module.init(project=PROJECT, config={"command": shlex.join(["run.py", *command])}))

    def phase_ended(self, output: ArtifactSchema, data_dir: Path, seconds: float) -> None:
        """Log a phase that has just ended well, by what it has made."""
        self._step += 1
        told = {f"{output.phase}/seconds": seconds, **_numbers(output, data_dir, time.time() - seconds)}
        self._try(lambda: self._module.log(told, step=self._step))

    def close(self) -> None:
        self._try(self._module.finish)

    def _try(self, act: Callable[[], object]) -> None:
        """Whatever a tracker raises (no network, no account), the run goes on without it."""
        if self._failed:
            return
        try:
            act()
        except Exception as error:
            self._failed = True
            words = "%s failed (%s): the run goes on, and is not tracked any more"
            new_log().warning(words, self._module.__name__, error)


def tracker_of(name: str | None, command: Sequence[str]) -> NoTracker:
    """The tracker of that name, told of a run by its command. Raises: ConfigError for one that is not here."""
    if name is None:
        return NoTracker()
    if name not in TRACKERS:
        hint = suggestion(name, [*TRACKERS])
        raise ConfigError(f"--report-to is '{name}'{hint and '.' + hint}\nGive one of: {', '.join(TRACKERS)}")
    try:
        return Tracker(importlib.import_module(name), command)
    except ImportError:
        raise ConfigError(f"--report-to is {name}, which is not installed here\nRun: pip install {name}") from None


def _numbers(output: ArtifactSchema, data_dir: Path, since: float) -> dict[str, Any]:
    """Those of the summary of a run that has ended since, by phase and name; what is words or a list is no curve."""
    ended = [run for run in readable_runs(output, data_dir) if run.document["finished_utc"] >= utc(since)]
    return {
        f"{output.phase}/{name}": value
        for run in ended[:1]
        for name, value in run.document["summary"].items()
        if isinstance(value, Real) and not isinstance(value, bool)
    }
