"""What tests of whole runs share: finished runs, compared byte by byte, and the processes that make them."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest
from support import ROOT, command


def newest(folder: Path) -> Path:
    """The newest finished run of a phase's folder."""
    return max(path.parent for path in folder.glob("*/manifest.json"))


def content(folder: Path) -> dict[str, bytes]:
    """The files of a run without those that hold times, and its tables without what depends on the schedule."""
    skipped = {"manifest.json", "log.txt", "grading.parquet"}
    return {
        str(p.relative_to(folder)): exact_bytes(p) for p in folder.rglob("*") if p.is_file() and p.name not in skipped
    }


def exact_bytes(path: Path) -> bytes:
    if path.suffix != ".parquet":
        return path.read_bytes()
    table = pyarrow.parquet.read_table(path)
    exact, buffer = [name for name in table.column_names if name != "mean_logprob"], io.BytesIO()
    pyarrow.parquet.write_table(table.select(exact), buffer)
    return buffer.getvalue()


def assert_same_content(one: Path, other: Path) -> None:
    """Two runs of phase 1 that were interrupted differently, if at all."""
    assert content(one) == content(other)
    digests, logprobs = [], []
    for folder in (one, other):
        digests.append(json.loads((folder / "manifest.json").read_bytes())["content_sha256"])
        logprobs.append(pyarrow.parquet.read_table(folder / "dataset.parquet")["mean_logprob"].to_pylist())
    assert digests[0] == digests[1] and logprobs[0] == pytest.approx(logprobs[1], rel=1e-5)


def run_phases(data: Path, dataset: Path, flags: list[str]) -> Path:
    """Phases 0, 0.1 and 1 in `data`, each without a break; `flags` are those of phase 1."""
    for words in (["0", "--dataset", dataset], ["0.1", "--dataset", dataset], ["1", *flags]):
        done = command("run.py", "phase", *words, "--data-dir", data)
        assert done.returncode == 0, done.stderr
    return data


def copy_inputs(whole: Path, data: Path) -> Path:
    """Make `data` a folder where phase 1 is still to be run."""
    for name in ("phase0", "phase0_1"):
        shutil.copytree(whole / name, data / name)
    return data


def save_records(data: Path, flags: list[str], *pieces: tuple[int, int]) -> None:
    """Leave fewer slices of phase 1 to a launcher: the interpreter of each would import the libraries anew."""
    for first, last in pieces:
        done = command("run.py", "phase", "1", *flags, "--start", first, "--end", last, "--data-dir", data)
        assert done.returncode == 0, done.stderr


def processes_of(run: Path) -> list[dict]:
    """What the processes that computed records say of themselves."""
    return json.loads((run / "manifest.json").read_text())["processes"]


def n_saved(data: Path) -> int:
    """Records of phase 1 that are in parts."""
    return sum(int(part.name.split("_")[2]) for part in data.glob("phase1_0/*/parts/part_*"))


def start(*words: object, environment: dict[str, str] | None = None) -> subprocess.Popen:
    """A root script that runs while the test looks on; its standard error is a pipe."""
    environment = {**(environment or os.environ), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *map(str, words)],
        cwd=ROOT,
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def wait_until(holds: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 120) -> None:
    """Wait for something that `process` is to bring about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert process is None or process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)


def end(process: subprocess.Popen) -> None:
    """Leave nothing of it behind."""
    if process.poll() is None:
        process.kill()
        process.wait()
    process.stderr.close()


def workers_of(data: Path) -> dict[int, int]:
    """The workers of phase 1 in a data folder: pid -> first record of the slice."""
    found, parents = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if str(data) in words and "--start" in words and any(word.endswith("run.py") for word in words):
                found[int(path.name)] = int(words[words.index("--start") + 1])
                parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    return {pid: first for pid, first in found.items() if parents.get(pid) not in found}  # no servers of the sandbox


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
