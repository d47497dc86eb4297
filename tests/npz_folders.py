"""Runs of phase 1 and folders of the original project, made by hand, for tests of export and import."""

import contextlib
import json
import logging
from pathlib import Path

import numpy as np
import pyarrow.parquet

from common import handoffs
from common.exchange.layout import LayoutConfig
from common.phases.context import RunContext
from common.phases.phase import Phase

LOG = logging.getLogger("test")
LABELS = ["correct", "incorrect", "not_run", "correct", "unsupported", "incorrect"]
D = 5


def newest(data: Path, folder: str = "phase1_0") -> Path:
    return max(path.parent for path in (data / folder).glob("*/manifest.json"))


def manifest(run: Path) -> dict:
    return json.loads((run / "manifest.json").read_text())


def rows(table: Path) -> list[dict]:
    return pyarrow.parquet.read_table(table).to_pylist()


def carry_out(phase: Phase, data: Path, **options) -> RunContext:
    """What run.py does with a phase."""
    config = LayoutConfig(model="google/gemma-2-2b", dataset="mbpp")
    ctx = RunContext(
        phase=phase,
        config=config,
        preset="full",
        data_dir=data,
        device="cpu",
        log=LOG,
        command=f"python3 run.py {phase.id}",
        **options,
    )
    with contextlib.closing(ctx):
        ctx.pick_inputs()
        phase.carry_out(ctx)
    return ctx


def made_row(task_id: int, label: str) -> dict:
    row = {
        name: {"int64": 3, "float64": -0.1}.get(field.type, f"{name} é \\ {task_id}")
        for name, field in handoffs.GENERATION_FIELDS.items()
    }
    return row | {"task_id": task_id, "label": label, "token_ids": [1, task_id], "failed_test": None}


def make_data(folder: Path) -> Path:
    """Make a data folder with a run of phase 1 whose records have every label; there is no phase 0."""
    made = [made_row(task_id, label) for task_id, label in zip([7, 3, 11, 601, 2, 5], LABELS, strict=True)]
    random = np.random.default_rng(0)

    def write(ctx: RunContext, config: LayoutConfig) -> None:
        with ctx.write() as out:
            out.table("dataset.parquet", made)
            for layer in range(3):
                resid_post = random.normal(size=(len(made), D)).astype(np.float32)
                task_id = np.array([row["task_id"] for row in made])
                out.tensors(
                    f"activations/layer_{layer:02d}.safetensors", {"resid_post": resid_post, "task_id": task_id}
                )

    phase = Phase(id="1", title="made", config=LayoutConfig, inputs=(), output=handoffs.GENERATIONS, run=write)
    carry_out(phase, folder)
    return folder


def save_npz(path: Path, array: np.ndarray, name: str = "arr_0") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **{name: array})


def make_original(folder: Path) -> Path:
    """Make a folder as the original's phase 1 left it, with its seven columns: tasks 2 and 4 failed, 3 passed."""
    table = {
        "task_id": [2, 3, 4],
        "text": ["Write a function."] * 3,
        "code": ["def reference():\r\n    pass"] * 3,
        "test_list": [["assert f(1) == 2"]] * 3,
        "cyclomatic_complexity": [1, 3, 1],
        "generated_code": ["def a(): pass", "def b(): pass", "def c(): pass"],
        "test_passed": [False, True, False],
    }
    folder.mkdir(parents=True)
    write_table(folder, table)
    for task_id, passed in zip(table["task_id"], table["test_passed"], strict=True):
        for n in range(1, 4):
            path = folder / "activations" / ("correct" if passed else "incorrect") / f"{task_id}_layer_{n}.npz"
            save_npz(path, np.full((1, D), task_id + n / 8, dtype=np.float16), f"layer_{n}")
    return folder


def write_table(folder: Path, table: dict) -> None:
    pyarrow.parquet.write_table(pyarrow.table(table), folder / "dataset_sae_20250829_231406.parquet")


def edit_table(folder: Path, **columns: list | None) -> None:
    path = next(folder.glob("dataset_*.parquet"))
    table = pyarrow.parquet.read_table(path).to_pydict() | columns
    write_table(folder, {name: values for name, values in table.items() if values is not None})
