"""Covers run.py import: the original project's own files, importing twice, and each mistake in a folder."""

import io
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from npz_folders import D, carry_out, edit_table, made_row, make_original, manifest, newest, rows, save_npz, write_table
from safetensors.numpy import load_file
from support import ROOT

from common import handoffs
from common.errors import ArtifactMismatchError, ConfigError
from common.exchange.importing import import_from
from common.exchange.layout import LayoutConfig
from common.phases.context import RunContext
from common.phases.phase import Phase


@pytest.fixture
def original(tmp_path) -> Path:
    return make_original(tmp_path / "original" / "phase1_0")


def test_a_folder_of_the_original_becomes_a_run_one_block_earlier(tmp_path, original):
    carry_out(import_from(original), tmp_path / "data")
    run = newest(tmp_path / "data")
    files = sorted(path.name for path in (run / "activations").iterdir())
    assert files == ["layer_00.safetensors", "layer_01.safetensors", "layer_02.safetensors"]
    arrays = load_file(run / "activations" / "layer_01.safetensors")
    assert arrays["resid_post"].dtype == np.float32 and arrays["task_id"].tolist() == [2, 3, 4]
    assert (arrays["resid_post"] == np.array([[2.25], [3.25], [4.25]])).all()
    assert run.name.endswith("Z_gemma-2-2b_mbpp")


def test_what_the_original_lacks_is_null(tmp_path, original):
    """What the original lacks is null and its reference code is not taken for the model's."""
    carry_out(import_from(original), tmp_path / "data")
    table = rows(newest(tmp_path / "data") / "dataset.parquet")
    known = {"task_id", "code", "label", "complexity"}
    assert [row["code"] for row in table] == ["def a(): pass", "def b(): pass", "def c(): pass"]
    assert [row["label"] for row in table] == ["incorrect", "correct", "incorrect"]
    assert [row["complexity"] for row in table] == [1, 3, 1]
    assert all(value is None for row in table for name, value in row.items() if name not in known)
    grading = rows(newest(tmp_path / "data") / "grading.parquet")
    assert [row["task_id"] for row in grading] == [2, 3, 4] and grading[0]["message"] is None


def test_the_manifest_says_what_was_imported_and_what_was_left_aside(tmp_path, original):
    (original / "activations" / "correct" / "notes.txt").write_text("mine")
    save_npz(original / "activations" / "correct" / "99_layer_1.npz", np.ones(D))
    save_npz(original / "activations" / "correct" / "3_layer_0.npz", np.ones(D))
    carry_out(import_from(original), tmp_path / "data")
    document = manifest(newest(tmp_path / "data"))
    imported = document["imported"]
    assert imported["table"].endswith("original/phase1_0/dataset_sae_20250829_231406.parquet")
    assert imported["activation_files"] == 9 and imported["layers_of_the_files"] == [1, 2, 3]
    assert imported["sha256"] == document["inputs"]["npz_folder"] == document["lineage"]["npz_folder"]
    shown = "; ".join(imported["left_aside"])
    for what in ("column text", "column code", "notes.txt", "the table lacks (1, the first is 99)", "layer 0"):
        assert what in shown
    assert document["summary"]["pass_rate"] == pytest.approx(1 / 3)


def test_labels_may_come_from_the_folders_alone(tmp_path, original):
    edit_table(original, test_passed=None)
    carry_out(import_from(original), tmp_path / "data")
    labels = [row["label"] for row in rows(newest(tmp_path / "data") / "dataset.parquet")]
    assert labels == ["incorrect", "correct", "incorrect"]


def test_one_of_several_tables_can_be_named(tmp_path, original):
    shutil.copy(next(original.glob("dataset_*")), original / "dataset_b.parquet")
    with pytest.raises(ConfigError, match=r" 2 tables: dataset_b\.parquet, dataset_sae_.*\n.*path"):
        carry_out(import_from(original), tmp_path / "data")
    carry_out(import_from(original / "dataset_b.parquet"), tmp_path / "data")
    assert len(rows(newest(tmp_path / "data") / "dataset.parquet")) == 3


@pytest.mark.parametrize("array", [np.ones(D, np.float32), np.ones((1, D), np.float16), np.ones((1, D), ">f4")])
def test_an_array_may_have_either_shape_and_any_name(tmp_path, original, array):
    save_npz(original / "activations" / "correct" / "3_layer_2.npz", array, "whatever")
    carry_out(import_from(original), tmp_path / "data")
    arrays = load_file(newest(tmp_path / "data") / "activations" / "layer_01.safetensors")
    assert arrays["resid_post"][1].tolist() == [1.0] * D


def test_the_same_folder_is_imported_once_and_a_changed_one_again(cli, tmp_path, original):
    words = ["run.py", "import", "--layout", "npz", original, "--data-dir", tmp_path / "data"]
    assert cli(*words).returncode == 0
    again = cli(*words)
    assert again.returncode == 0 and "already built" in again.stderr
    save_npz(original / "activations" / "correct" / "3_layer_2.npz", np.zeros(D, np.float32))
    assert cli(*words).returncode == 0
    assert len(list((tmp_path / "data" / "phase1_0").glob("*/manifest.json"))) == 2


def test_a_killed_import_is_no_run_and_the_same_command_finishes_it(cli, tmp_path, original):
    n = 400
    write_table(original, {"task_id": list(range(n)), "test_passed": [True] * n})
    for task_id in range(n):
        for layer in (1, 2, 3):
            path = original / "activations" / "correct" / f"{task_id}_layer_{layer}.npz"
            save_npz(path, np.full(2304, task_id + layer, np.float32))
    shutil.rmtree(original / "activations" / "incorrect")
    words = ["run.py", "import", "--layout", "npz", str(original), "--data-dir", str(tmp_path / "data")]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("data/phase1_0/*/activations/layer_00.safetensors")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert not list(tmp_path.glob("data/phase1_0/*/manifest.json"))
    done = cli(*words)
    assert done.returncode == 0, done.stderr
    assert len([path for path in (tmp_path / "data" / "phase1_0").iterdir() if path.is_dir()]) == 1
    arrays = load_file(newest(tmp_path / "data") / "activations" / "layer_02.safetensors")
    assert arrays["resid_post"][:, 0].tolist() == [task_id + 3 for task_id in range(n)]


def test_tasks_of_another_dataset_are_refused_where_phase_0_knows_better(tmp_path, original):
    problem = {
        name: {"int64": 2, "list<string>": ["a"]}.get(field.type, "x")
        for name, field in handoffs.PROBLEM_FIELDS.items()
    }

    def write(ctx: RunContext, config: LayoutConfig) -> None:
        with ctx.write() as out:
            out.table("difficulty.parquet", [problem])

    carry_out(
        Phase(id="0", title="", config=LayoutConfig, inputs=(), output=handoffs.DIFFICULTY, run=write),
        tmp_path / "data",
    )
    with pytest.raises(ConfigError, match=r"task 3 and 1 more .* 1 problems of mbpp\n.*--dataset"):
        carry_out(import_from(original), tmp_path / "data")
    assert not list((tmp_path / "data").glob("phase1_0/*")), "a command that fails writes nothing"


def test_an_unfinished_run_with_records_is_not_overtaken_unless_asked(tmp_path, original):
    def write(ctx: RunContext, config: LayoutConfig) -> None:
        with ctx.write() as out:
            tensors = {"activations/layer_00/resid_post": np.ones(D, np.float32)}
            tables = {"dataset.parquet": made_row(1, "correct"), "grading.parquet": {"task_id": 1}}
            out.append(0, tables, tensors)

    phase = Phase(id="1", title="", config=LayoutConfig, inputs=(), output=handoffs.GENERATIONS, run=write,
                  n_records=lambda ctx: 2)  # fmt: skip
    carry_out(phase, tmp_path / "data")
    with pytest.raises(ArtifactMismatchError, match=r"\(1 records saved\).*\n.*--fresh.* 1 --data-dir"):
        carry_out(import_from(original), tmp_path / "data")
    carry_out(import_from(original), tmp_path / "data", fresh=True)
    assert len(list((tmp_path / "data").glob("phase1_0/*/parts/part_*"))) == 1, "and its records are kept"


def torn(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(bytes(data))


def pickled(path: Path) -> None:
    np.savez(path, arr_0=np.array([{"a": 1}], dtype=object))


def two_arrays(path: Path) -> None:
    np.savez(path, activations=np.ones(D), layer=2)


def bare_npy(path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(D, np.float32))
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("break_file", "message"),
    [
        (torn, "torn"),
        (flipped, "torn"),
        (bare_npy, "torn"),
        (pickled, "pickled objects"),
        (two_arrays, r"activations\.npy, layer\.npy"),
        (lambda path: save_npz(path, np.array([1, np.nan, np.inf, 0, 0], "f4")), " 2 .*NaN or inf"),
        (lambda path: save_npz(path, np.ones(D)), "float64"),
        (lambda path: save_npz(path, np.ones((1, D), "V2")), r"\|V2"),
        (lambda path: save_npz(path, np.ones((2, D), "f4")), r"shape \[2, 5\]"),
        (lambda path: save_npz(path, np.ones((), "f4")), r"shape \[\]"),
        (lambda path: save_npz(path, np.ones(D + 1, "f4")), " 6 numbers.* 5$"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
        (Path.unlink, "task 3 .*layer 2"),
    ],
)
def test_a_wrong_activation_file_is_one_message_that_names_it(tmp_path, original, break_file, message):
    break_file(original / "activations" / "correct" / "3_layer_2.npz")
    with pytest.raises(ConfigError) as raised:
        carry_out(import_from(original), tmp_path / "data")
    what, *advice = str(raised.value).splitlines()
    assert re.search(message, what) and "3_layer_2.npz" in what and len(advice) == 1
    assert not (tmp_path / "data").exists(), "a command that fails writes nothing"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"test_passed": [False, False, False]}, "task 3 .*contradicting .*activations/correct.* test_passed is False"),
        ({"label": ["incorrect", "correct", "correct"]}, "task 4 .*contradicting"),
        ({"test_passed": None, "label": ["not_run", "correct", "incorrect"]}, "task 2 .*contradicting"),
        ({"test_passed": ["x", "y", "z"]}, "column test_passed .*string.* bool "),
        ({"task_id": [2, 3, 3]}, "task 3 twice"),
        ({"task_id": [2, 3, None]}, "row without task_id"),
        ({"task_id": ["Mbpp/2", "Mbpp/3", "Mbpp/4"]}, "column task_id .*string.* int64 "),
        ({"task_id": None}, "no column task_id"),
        ({"task_id": [2, 3, 8]}, "task 8 .*layer 1 and 2 more"),
        ({"task_id": [2, 3, 8], "test_passed": None}, "task 8 .*neither .*label .*activations"),
        ({"cyclomatic_complexity": [1.0, 2.5, 3.0]}, "column cyclomatic_complexity .*double"),
    ],
)
def test_a_wrong_table_is_one_message_that_names_task_or_column(tmp_path, original, columns, message):
    edit_table(original, **columns)
    with pytest.raises(ConfigError, match=message) as raised:
        carry_out(import_from(original), tmp_path / "data")
    assert len(str(raised.value).splitlines()) == 2 and not (tmp_path / "data").exists()


def test_a_task_in_both_folders_is_a_contradiction(tmp_path, original):
    save_npz(original / "activations" / "incorrect" / "3_layer_1.npz", np.ones(D, np.float32))
    with pytest.raises(ConfigError, match="task 3 .*contradicting .*/correct.*/incorrect"):
        carry_out(import_from(original), tmp_path / "data")


@pytest.mark.parametrize(
    ("break_folder", "message"),
    [
        (lambda folder: shutil.rmtree(folder), r"no folder .*\.parquet"),
        (lambda folder: next(folder.glob("dataset_*")).unlink(), "holds no dataset_.*parquet"),
        (lambda folder: next(folder.glob("dataset_*")).write_bytes(b"PAR1"), "as Parquet: "),
        (lambda folder: shutil.rmtree(folder / "activations"), "activations/correct/<task>_layer_<n>.npz"),
        (lambda folder: write_table(folder, {"task_id": pyarrow.array([], "int64")}), "has no rows"),
        (lambda folder: write_table(folder, {"task_id": [8]}), "task 8 .*neither .*label .*activations"),
    ],
)
def test_a_folder_that_is_none_is_one_message(tmp_path, original, break_folder, message):
    break_folder(original)
    with pytest.raises(ConfigError, match=message):
        carry_out(import_from(original), tmp_path / "data")


def test_newer_files_of_the_original_that_are_no_npz_are_named(tmp_path, original):
    shutil.rmtree(original / "activations")
    (original / "activations" / "correct").mkdir(parents=True)
    (original / "activations" / "correct" / "3_layer_2.safetensors").write_bytes(b"")
    with pytest.raises(ConfigError, match="holds activations/correct/3_layer_2.safetensors"):
        carry_out(import_from(original), tmp_path / "data")
