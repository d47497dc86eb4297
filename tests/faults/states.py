"""What must be the same however often a run was broken off: every byte, times apart."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from common.runs.discovery import MANIFEST, STAMP, n_saved

TIMED = {"log.txt", "grading.parquet"}  # they hold times
TIMES_IN_MANIFEST = ("processes", "finished_utc", "sha256_of_all_other_entries", "input_paths")


@dataclass(frozen=True)
class Base:
    """A data folder before the command under test, and what an unbroken run makes of it in `folder`."""

    words: list[str]
    data: Path
    folder: str
    whole: dict[str, bytes]
    n_records: int

    def fresh_copy(self, place: Path) -> Path:
        shutil.rmtree(place, ignore_errors=True)
        return Path(shutil.copytree(self.data, place))

    def command(self, data: Path) -> list[str]:
        return [*self.words, "--data-dir", str(data)]


def state_of(parent: Path) -> dict[str, bytes]:
    """Files of the one finished run in `parent`; fails when there is anything else."""
    runs = [path for path in parent.iterdir() if path.is_dir() and path.suffix != ".damaged"]
    assert len(runs) == 1, f"{parent} holds {[run.name for run in runs]}"
    [run] = runs
    names = {str(path.relative_to(run)): path for path in run.rglob("*") if path.is_file()}
    names = {name: path for name, path in names.items() if path.name not in TIMED and "damaged/" not in name}
    state = {name: path.read_bytes() for name, path in names.items()}
    manifest = json.loads(state[MANIFEST])
    timed = [manifest["files"].pop(name, None) for name in TIMED]
    assert not any(entry is None and name in names for entry, name in zip(timed, TIMED, strict=True))
    kept = {key: value for key, value in manifest.items() if key not in TIMES_IN_MANIFEST}
    return {**state, MANIFEST: json.dumps(kept, sort_keys=True).encode()}


def saved_records(parent: Path) -> int:
    """Records saved in the unfinished run in `parent`."""
    runs = [path.parent for path in parent.glob(f"*/{STAMP}")]
    return max(map(n_saved, runs), default=0)


def records_of_processes(parent: Path) -> list[int]:
    """How many records each process of the finished run computed."""
    [manifest] = parent.glob(f"*/{MANIFEST}")
    return [process["n_records"] for process in json.loads(manifest.read_bytes())["processes"]]
