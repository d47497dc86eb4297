"""Phases run in this process, as run.py runs them, on problems of the organism in a folder of their own.

Models are loaded once: no run but the first counts it, and what a phase is compared with does not load one either.
"""

import contextlib
import functools
import io
import json
import sys
from pathlib import Path

import pyarrow.parquet
import torch

import run
from common.model import loading as models
from common.model.language_model import LanguageModel
from common.problems.datasets import ORGANISM_FILE, Problem, load_problems


def load_models_once() -> None:
    """From now on, for as long as this process lives, `load_model` gives what it gave before."""
    original = models.load_model

    @functools.cache
    def loaded(name: str, device: str, dtype: str, revision: str) -> LanguageModel:
        return original(name, device, dtype, revision=revision)

    def load_model(name: str, device: str, dtype: str = "auto", threads: int = 0, revision: str = "") -> LanguageModel:
        if threads:
            torch.set_num_threads(threads)
        return loaded(name, device, dtype, revision)

    for module in list(sys.modules.values()):  # those that imported it by name; later ones find it in its place
        if getattr(module, "load_model", None) is original:
            vars(module)["load_model"] = load_model


def write_problems(folder: Path, n: int) -> tuple[Problem, ...]:
    """`n` problems of the organism, evenly spaced, as the dataset file of `run_phase`."""
    path = folder / "problems.jsonl"
    rows = [json.loads(line) for line in ORGANISM_FILE.read_text().splitlines()]
    chosen = [rows[i * len(rows) // n] for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in chosen))
    return load_problems(str(path)).problems


def run_phase(phase: str, folder: Path, *words: str) -> Path:
    """Run a phase of the demo preset in `folder`, on its problems.jsonl, without its log; the folder of its output."""
    dataset = ["--dataset", str(folder / "problems.jsonl"), "--data-dir", str(folder)]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        status = run.main(["phase", phase, "--preset", "demo", "--device", "cpu", "--fresh", *dataset, *words])
    assert status == 0, said.getvalue()
    output = folder / run.CATALOGUE.phase(phase).output.folder
    return max((path.parent for path in output.glob("*/manifest.json")), key=lambda path: path.stat().st_mtime_ns)


def table_of(folder: Path, name: str) -> list[dict]:
    return pyarrow.parquet.read_table(folder / name).to_pylist()
