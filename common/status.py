"""What lies in a data folder: built, stale, unfinished or missing, for each experiment."""

from dataclasses import dataclass
from pathlib import Path

from common.discovery import RunFolder, describe, list_runs, n_saved, plain_name
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
    """One line for each phase and experiment that has a run, and for each dataset it lacks."""
    lines = []
    for handoff in handoffs:
        groups: dict[tuple, list[RunFolder]] = {}
        for run in list_runs(handoff, data_dir):
            groups.setdefault(tuple(run.experiment.get(key) for key in handoff.scope), []).append(run)
        lines += [_state_of(handoff, group, handoffs, data_dir) for group in groups.values()]
        present = {run.experiment["dataset"] for group in groups.values() for run in group}
        lines += [_missing(handoff, run, data_dir) for run in _datasets(handoffs, data_dir, present)]
        if not any(line.phase == handoff.phase for line in lines):
            lines.append(StatusLine(handoff.phase, "-", "missing", "", None, f"python3 run.py phase {handoff.phase}"))
    return lines


def _datasets(handoffs: tuple[Handoff, ...], data_dir: Path, present: set[str]) -> list[RunFolder]:
    """The newest run of the first phase for every dataset that is not in `present`."""
    newest: dict[str, RunFolder] = {}
    for run in list_runs(handoffs[0], data_dir):
        newest.setdefault(run.experiment["dataset"], run)
    return [run for dataset, run in newest.items() if dataset not in present]


def _missing(handoff: Handoff, run: RunFolder, data_dir: Path) -> StatusLine:
    """The phase has no run for the dataset of `run`."""
    words = [f"python3 run.py phase {handoff.phase}"]
    if run.document["preset"] != "full":
        words.append(f"--preset {run.document['preset']}")
    else:
        words.append(f"--dataset {run.document['all_settings']['dataset']}")
    words += [] if data_dir == Path("data") else [f"--data-dir {data_dir}"]
    return StatusLine(handoff.phase, plain_name(run.experiment["dataset"]), "missing", "", None, " ".join(words))


def _state_of(handoff: Handoff, runs: list[RunFolder], handoffs: tuple[Handoff, ...], data_dir: Path) -> StatusLine:
    """`runs` are those of one experiment, newest first."""
    newest, name = runs[0], describe(handoff, runs[0].experiment)
    if not newest.finished:
        total = newest.document.get("n_records")
        detail = f"{n_saved(newest.path)} of {total} records" if total is not None else "nothing to resume"
        return StatusLine(handoff.phase, name, "unfinished", detail, newest.path, newest.document["command"])
    reason = _why_stale(handoff, newest, handoffs, data_dir)
    if reason:
        return StatusLine(handoff.phase, name, "stale", reason, newest.path, f"{newest.document['command']} --fresh")
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


def _short(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
