"""Covers run.py export: the way out and back, the files of the original project, stopping, refusals."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from npz_folders import LABELS, D, carry_out, made_row, make_data, manifest, newest, rows
from safetensors.numpy import load_file
from support import ROOT, command

from common import handoffs
from common.errors import ArtifactMismatchError, ConfigError
from common.exchange.exporting import export_to
from common.exchange.importing import import_from
from common.exchange.layout import LayoutConfig
from common.phases.context import RunContext
from common.phases.phase import Phase


@pytest.fixture
def data(tmp_path) -> Path:
    return make_data(tmp_path / "data")


def test_a_run_comes_back_with_the_same_records_and_the_same_activations(tmp_path, data):
    carry_out(export_to(tmp_path / "out"), data)
    carry_out(import_from(tmp_path / "out"), tmp_path / "other")
    before, after = newest(data), newest(tmp_path / "other")
    judged = [row for row in rows(before / "dataset.parquet") if row["label"] in ("correct", "incorrect")]
    assert len(judged) == 4 and rows(after / "dataset.parquet") == judged
    kept = [i for i, label in enumerate(LABELS) if label in ("correct", "incorrect")]
    for layer in range(3):
        then, now = (load_file(run / "activations" / f"layer_{layer:02d}.safetensors") for run in (before, after))
        assert now["resid_post"].tobytes() == then["resid_post"][kept].tobytes()
        assert now["task_id"].tolist() == [row["task_id"] for row in judged]


def test_a_run_comes_back_and_is_found_by_its_experiment(tmp_path, small_problem_rows, tiny_gemma):
    """A run of a small model comes back and is found by its experiment."""
    dataset, first, second = tmp_path / "few.jsonl", tmp_path / "first", tmp_path / "second"
    dataset.write_text("".join(json.dumps(row) + "\n" for row in small_problem_rows[:6]))
    experiment = ["--dataset", dataset, "--model", tiny_gemma]
    steps = [
        ["phase", "0", "--dataset", dataset, "--data-dir", first],
        ["phase", "1", *experiment, "--threads", 1, "--max-new-tokens", 8, "--data-dir", first],
        ["export", "--layout", "npz", *experiment, "--out", tmp_path / "out", "--data-dir", first],
        ["phase", "0", "--dataset", dataset, "--data-dir", second],
        ["import", "--layout", "npz", tmp_path / "out", *experiment, "--data-dir", second],
    ]
    for words in steps:
        done = command("run.py", *words)
        assert done.returncode == 0, done.stderr
    before, after = newest(first), newest(second)
    assert rows(after / "dataset.parquet") == rows(before / "dataset.parquet")
    for name in sorted(path.name for path in (before / "activations").iterdir()):
        then, now = (load_file(run / "activations" / name) for run in (before, after))
        assert {key: array.tobytes() for key, array in now.items()} == {k: a.tobytes() for k, a in then.items()}
    assert manifest(after)["experiment"] == manifest(before)["experiment"]
    assert manifest(after)["lineage"]["difficulty"] == manifest(before)["lineage"]["difficulty"]
    exported = rows(next((tmp_path / "out").glob("dataset_few.parquet")))
    assert [row["code"] for row in exported] == [row["code"] for row in small_problem_rows[:6]]
    assert [row["test_list"] for row in exported] == [row["test_list"] for row in small_problem_rows[:6]]
    status = command("run.py", "status", "--data-dir", second).stdout
    assert "phase 1    built" in status and "imported npz" in status
    words = ["export", "--layout", "npz", *experiment, "--out", tmp_path / "again", "--data-dir", second]
    assert command("run.py", *words).returncode == 0, "an imported run is an input like any other"


def test_the_exported_files_are_those_of_the_original(tmp_path, data):
    carry_out(export_to(tmp_path / "out"), data)
    out, run = tmp_path / "out", newest(data)
    table = pyarrow.parquet.read_table(out / "dataset_mbpp.parquet")
    original = ["task_id", "text", "code", "test_list", "cyclomatic_complexity", "generated_code", "test_passed"]
    assert table.column_names[:7] == original
    assert table.column("test_passed").to_pylist() == [True, False, True, False]
    assert table.column("generated_code").to_pylist()[0] == made_row(7, "correct")["code"]
    files = sorted(str(path.relative_to(out / "activations")) for path in out.rglob("*.npz"))
    labels = {7: "correct", 3: "incorrect", 601: "correct", 5: "incorrect"}
    assert files == sorted(f"{label}/{task}_layer_{n}.npz" for task, label in labels.items() for n in (1, 2, 3))
    resid_post = load_file(run / "activations" / "layer_01.safetensors")["resid_post"]
    with np.load(out / "activations" / "incorrect" / "3_layer_2.npz", allow_pickle=False) as opened:
        assert opened.files == ["layer_2"] and opened["layer_2"].shape == (1, D)
        assert opened["layer_2"].tobytes() == resid_post[1].tobytes(), "the input of block 2 is the output of block 1"


def test_records_that_could_not_be_judged_are_listed_beside_the_table(tmp_path, data):
    carry_out(export_to(tmp_path / "out"), data)
    excluded = json.loads((tmp_path / "out" / "excluded_tasks.json").read_text())
    assert excluded["excluded_task_ids"] == [11, 2] and excluded["tasks_included"] == 4
    assert excluded["error_type_counts"] == {"not_run": 1, "unsupported": 1}


def test_nothing_is_overwritten(tmp_path, data):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(ConfigError, match=r".*/out is not empty.*\n.*new folder"):
        carry_out(export_to(tmp_path / "out"), data)
    with pytest.raises(ConfigError, match=r".*/mine is a file.*\n"):
        carry_out(export_to(tmp_path / "out" / "mine"), data)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_an_empty_folder_may_be_named(tmp_path, data):
    (tmp_path / "out").mkdir()
    carry_out(export_to(tmp_path / "out"), data)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "activations",
        "dataset_mbpp.parquet",
        "excluded_tasks.json",
    ]


def test_a_damaged_run_is_not_exported_and_leaves_nothing(tmp_path, data):
    layer = newest(data) / "activations" / "layer_02.safetensors"
    layer.write_bytes(layer.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ArtifactMismatchError, match=r"layer_02\.safetensors was changed.*\n.*python3 run\.py"):
        carry_out(export_to(tmp_path / "out"), data)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def big_run(data: Path, n: int) -> None:
    def write(ctx: RunContext, config: LayoutConfig) -> None:
        with ctx.write() as out:
            out.table("dataset.parquet", [made_row(task_id, "correct") for task_id in range(n)])
            resid_post = np.ones((n, 2304), np.float32)
            out.tensors("activations/layer_00.safetensors", {"resid_post": resid_post, "task_id": np.arange(n)})

    carry_out(Phase(id="1", title="", config=LayoutConfig, inputs=(), output=handoffs.GENERATIONS, run=write), data)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_export_leaves_no_half_folder_and_can_be_repeated(cli, tmp_path, number):
    big_run(tmp_path / "data", 3000)
    words = [
        "run.py",
        "export",
        "--layout",
        "npz",
        "--out",
        str(tmp_path / "out"),
        "--data-dir",
        str(tmp_path / "data"),
    ]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".out.partial/activations/correct/*.npz")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.send_signal(signal.SIGSTOP)  # whatever the machine does now, it is in the middle of its work
    assert not (tmp_path / "out").exists()
    other = cli(*words)
    assert other.returncode == 2 and re.search(rf"another process .*{tmp_path / 'out'}\n.*folder", other.stderr)
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    rest = process.communicate()[1]
    assert not (tmp_path / "out").exists()
    assert process.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    assert number == signal.SIGKILL or "Continue with: python3 run.py export --layout npz" in rest
    assert number == signal.SIGKILL or not (tmp_path / ".out.partial").exists()
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("out/activations/correct/*.npz"))) == 3000
    assert not (tmp_path / ".out.partial").exists()


def test_a_place_that_cannot_be_written_is_one_message(tmp_path, data):
    (tmp_path / "locked").mkdir(mode=0o500)
    words = ["run.py", "export", "--layout", "npz", "--out", tmp_path / "locked" / "out", "--data-dir", data]
    done = command(*words, is_root=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert "locked/out: Permission denied" in done.stderr


def test_the_commands_say_what_they_need(cli, tmp_path):
    for words, message in [
        (["export", "--layout", "npz"], "without --out FOLDER"),
        (["export", "--layout", "zip", "--out", "x"], "invalid choice: 'zip'"),
        (["import", "--layout", "npz"], "the following arguments are required: PATH"),
        (["import", "--layout", "npz", tmp_path, "--model", "gemma"], "--model is 'gemma'"),
        (["export", "--layout", "npz", "--out", tmp_path / "out", "--data-dir", tmp_path], "no finished generations"),
    ]:
        done = cli("run.py", *words)
        assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
