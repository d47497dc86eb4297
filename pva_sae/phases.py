"""A phase as a call: the command that one would type, in a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError, PipelineError
from common.launch.running import context_for, flags_of
from common.launch.slices import STOPPED
from common.phases.settings import typed
from common.provenance import ROOT
from common.runs.artifacts import AlreadyBuilt
from common.runs.discovery import MANIFEST
from run import CATALOGUE


def run_phase(phase: str, *, data: str | Path = "data", **settings: Any) -> Path:
    """Run a phase, or go on where it stopped; returns its run's folder, which is unfinished after a slice of it.

    What is built already is not run again, unless fresh=True.
    `settings` are the flags of `python3 run.py phase ID --help` with underscores: run_phase("1", model="organism",
    dataset="organism", start=0, end=63). What it says goes to sys.stderr; an interrupt lets it save what it has.
    Raises: PipelineError with what it said, and what to type; KeyboardInterrupt once it was stopped and has saved.
    """
    words = _words(data, settings)
    path = folder_of(phase, data=data, **settings)  # wrong settings and missing inputs are told at once
    if (path / MANIFEST).is_file():
        return path
    status, last = _typed(["phase", phase, *words])
    if status == STOPPED:
        raise KeyboardInterrupt
    if status:
        what, _, advice = (last or f"phase {phase} ended with status {status}").partition("\n")
        raise PipelineError(f"{what}\n{advice or 'See above what it said'} (it ran: python3 run.py phase {phase})")
    return folder_of(phase, data=data, **{name: value for name, value in settings.items() if name != "fresh"})


def run_phases(phases: Sequence[str], *, data: str | Path = "data", **settings: Any) -> list[Path]:
    """Phases one after the other, each with those of the settings that it has; their folders.

    Raises: ConfigError, before anything runs, for a setting that no phase at all has; else as `run_phase`.
    """
    has = {phase: flags_of(CATALOGUE.phase(phase)) for phase in {*CATALOGUE.phases, *phases}}
    if unknown := [name for name in settings if not any(_flag_name(name) in flags for flags in has.values())]:
        raise ConfigError(f"no phase has the settings {', '.join(unknown)}\nSee: python3 run.py phase ID --help")
    own = {
        phase: {name: value for name, value in settings.items() if _flag_name(name) in has[phase]} for phase in phases
    }
    return [run_phase(phase, data=data, **own[phase]) for phase in phases]


def folder_of(phase: str, *, data: str | Path = "data", **settings: Any) -> Path:
    """The folder that a phase with these settings goes on in, or has finished, or would begin. Nothing is computed.

    Raises: as `run_phase`, for settings and inputs.
    """
    context, _ = context_for(CATALOGUE.phase(phase), _words(data, settings))
    context.log.handlers.clear()  # the command itself says all this
    context.pick_inputs()
    try:
        return context.target()
    except AlreadyBuilt as built:
        return built.path


def _words(data: str | Path, settings: dict[str, Any]) -> list[str]:
    return [*words_of(settings), "--data-dir", str(Path(data).resolve())]


def words_of(settings: dict[str, Any]) -> list[str]:
    """{'n_pairs': 8, 'fresh': True} as one types it: --n-pairs 8 --fresh."""
    return [word for name, value in settings.items() for word in _flag(_flag_name(name), value)]


def _flag_name(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _flag(flag: str, value: Any) -> Iterator[str]:
    if value is None:
        return
    if value is False:
        flag = flag.replace("--", "--no-", 1)
    yield flag
    if not isinstance(value, bool):
        yield typed(tuple(value) if isinstance(value, list) else value)


def _typed(words: list[str]) -> tuple[int, str]:
    """Exit status, and the last message: its first line begins with 'error: '."""
    command = [sys.executable, str(ROOT / "run.py"), *words]
    # In a session of its own, so that an interrupt reaches it once, through us: a second one would stop it at once.
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    message: list[str] = []
    while True:
        try:
            for line in process.stderr:
                sys.stderr.write(line)
                message = [line] if line.startswith("error: ") else [*message, line] if message else []
            return process.wait(), "".join(message).strip().removeprefix("error: ")
        except KeyboardInterrupt:  # it saves, and says so
            process.send_signal(signal.SIGINT)
