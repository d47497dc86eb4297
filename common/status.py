"""What lies in a data folder: built, stale, unfinished or missing, for each experiment."""

from dataclasses import dataclass
from pathlib import Path

from common.discovery import RunFolder, describe, list_runs, n_saved
from common.handoffs import Handoff


@dataclass(frozen=True)
class StatusLine:
    """The state of one phase in one experiment, and what to type next."""

    phase: str
    experiment: str
    state: str
    detail: str
    path: Path | None
    command: str | None


def status_lines(handoffs: tuple[Handoff, ...], data_dir: Path) -> list[StatusLine]:
    """One line for each phase and experiment that has a run, or whose inputs are there."""
    lines = []
    for handoff in handoffs:
        runs = list_runs(handoff, data_dir)
        seen: dict[tuple, list[RunFolder]] = {}
        for run in runs:
            seen.setdefault(tuple(run.experiment.get(key) for key in handoff.scope), []).append(run)
        for group in seen.values():
            lines.append(_state_of(handoff, group, handoffs, data_dir))
        if not seen:
            lines.append(StatusLine(handoff.phase, "-", "missing", "", None, f"python3 run.py phase {handoff.phase}"))
    return lines


def _state_of(handoff: Handoff, runs: list[RunFolder], handoffs: tuple[Handoff, ...], data_dir: Path) -> StatusLine:
    """`runs` are those of one experiment, newest first."""
    newest, name = runs[0], describe(handoff, runs[0].experiment)
    if not newest.finished:
        total = newest.document.get("n_records")
        detail = f"{n_saved(newest.path)} of {total} records" if total is not None else "nothing to resume"
        return StatusLine(handoff.phase, name, "unfinished", detail, newest.path, _command(newest, data_dir))
    reason = _why_stale(handoff, newest, handoffs, data_dir)
    if reason:
        return StatusLine(handoff.phase, name, "stale", reason, newest.path, f"{_command(newest, data_dir)} --fresh")
    summary = ", ".join(f"{key} {_short(value)}" for key, value in newest.document["summary"].items())
    return StatusLine(handoff.phase, name, "built", summary, newest.path, None)


def _why_stale(handoff: Handoff, run: RunFolder, handoffs: tuple[Handoff, ...], data_dir: Path) -> str | None:
    if run.document["schema_version"] != handoff.version:
        return f"schema version {run.document['schema_version']}, the code has {handoff.version}"
    for source in handoffs:
        digest = run.document["inputs"].get(source.name)
        same = {key: run.experiment.get(key) for key in source.scope}
        for newest in list_runs(source, data_dir) if digest else []:
            if newest.finished and all(newest.experiment.get(key) == value for key, value in same.items()):
                if newest.document["content_sha256"] != digest:
                    return f"made from an older {source.name} than {newest.path.name}"
                break
    return None


def _command(run: RunFolder, data_dir: Path) -> str:
    """The command that began the run, without what concerns one start only."""
    command = run.document.get("command")
    if command:
        return command
    words = [f"python3 run.py phase {run.document['phase']}"]
    words += [f"--{key} {value.split('@')[0]}" for key, value in run.experiment.items()]
    return " ".join(words + ([] if data_dir == Path("data") else [f"--data-dir {data_dir}"]))


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
