"""Where things are, and how tests type a command."""

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from warm_commands import WarmCommands

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
SHARED_MBPP = SHARED / "mbpp"
needs_shared_mbpp = pytest.mark.skipif(not SHARED_MBPP.is_dir(), reason=f"{SHARED_MBPP} (MBPP) is not on this machine")
WHOLE_SWEEPS = os.environ.get("SWEEPS") == "whole"  # else a seeded sample of each
in_whole_sweeps = pytest.mark.skipif(not WHOLE_SWEEPS, reason="takes minutes: in make test-sweeps")
REVISION = "0123456789abcdef0123456789abcdef01234567"  # of datasets in hand-made caches


def swept(whole: int, sample: int) -> int:
    """How many of a sweep's cases are tried: `make test-sweeps` tries the whole, `make test` a sample."""
    return whole if WHOLE_SWEEPS else sample


def command(*words: object, home: Path | None = None, **options: Any) -> subprocess.CompletedProcess:
    """What a user types, in a process of its own that has the libraries already, with the hub's cache in `home`."""
    return warm_commands()(*words, home=home, **options)


@functools.cache
def warm_commands() -> WarmCommands:
    """One for this process and all its tests."""
    warm = WarmCommands()
    atexit.register(warm.close)
    return warm


def cold_command(*words: object, home: Path | None = None, **options: object) -> subprocess.CompletedProcess:
    """The same from an interpreter that imports all it needs: where its start, or an option, is what is tested."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    environment |= {"HF_HOME": str(home)} if home else {}
    return subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=environment, text=True, capture_output=True, **options
    )


def offline(home: Path, code: str) -> subprocess.CompletedProcess:
    """Run the production code in a process of its own, whose hub is what lies under `home`."""
    script = home / "typed.py"
    script.write_text(code)
    return command(script, home=home)


def built_once(tmp_path_factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """The folder `name` of this run of the tests, which the first process that wants it builds; tests only read it."""
    ours = tmp_path_factory.getbasetemp()
    folder = (ours.parent if "PYTEST_XDIST_WORKER" in os.environ else ours) / name
    with FileLock(f"{folder}.lock"):
        if not Path(f"{folder}.built").exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            Path(f"{folder}.built").touch()
    return folder


def prepare_datasets_cache(home: Path, repository: str, config: str, splits: dict[str, list[dict]]) -> None:
    """What `load_dataset` leaves under HF_HOME, made by the library itself from local files."""
    owner, name = repository.split("/")
    files = {split: str(home / f"{config}-{split}.jsonl") for split in splits}
    for split, rows in splits.items():
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = home / "datasets" / f"{owner}___{name}" / config / "0.0.0" / REVISION
    code = (
        "from datasets.packaged_modules.json.json import Json\n"
        f"Json(dataset_name={name!r}, config_name={config!r}, hash={REVISION!r}, data_files={files!r})"
        f".download_and_prepare({str(folder)!r})\n"
    )
    finished = offline(home, code)
    assert finished.returncode == 0, finished.stderr


def write_problems(path: Path, rows: list[dict]) -> Path:
    """A dataset file of `rows`, in MBPP's schema."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
