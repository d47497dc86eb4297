"""Covers the pipeline end to end: phases 0, 0.1 and 1, interruption, slices, workers, other models, bad inputs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from runs import assert_same_content, copy_inputs, newest, processes_of, run_phases, save_records
from safetensors.numpy import load_file
from support import ROOT, command, warm_commands, write_problems
from warm_commands import Started

from common.handoffs import GENERATION_FIELDS


@pytest.fixture(scope="session")
def dataset(tmp_path_factory, small_problem_rows) -> Path:
    return write_problems(tmp_path_factory.mktemp("problems") / "small.jsonl", small_problem_rows)


@pytest.fixture(scope="session")
def flags(dataset, tiny_gemma) -> list[str]:
    """A run of phase 1 that takes seconds: a hundred problems, a random model, four batches."""
    words = ["--dataset", dataset, "--model", tiny_gemma, "--threads", 1]
    return [str(word) for word in [*words, "--max-new-tokens", 12, "--batch-size", 25]]


@pytest.fixture(scope="session")
def whole(tmp_path_factory, dataset, flags) -> Path:
    """A data folder with phases 0, 0.1 and 1, each run without a break."""
    return run_phases(tmp_path_factory.mktemp("whole"), dataset, flags)


@pytest.fixture
def begun(whole, tmp_path) -> Path:
    """A data folder where phase 1 is still to be run."""
    return copy_inputs(whole, tmp_path)


def test_phase_1_writes_the_declared_columns_and_one_activation_file_per_layer(whole, small_problem_rows):
    run = newest(whole / "phase1_0")
    table = pyarrow.parquet.read_table(run / "dataset.parquet")
    assert table.column_names == list(GENERATION_FIELDS)
    rows = table.to_pylist()
    assert [row["task_id"] for row in rows] == [row["task_id"] for row in small_problem_rows]
    files = sorted(path.name for path in (run / "activations").iterdir())
    assert files == [f"layer_{layer:02d}.safetensors" for layer in range(4)]
    arrays = load_file(run / "activations" / files[0])
    assert arrays["resid_post"].shape == (100, 64) and arrays["resid_post"].dtype == np.float32
    assert arrays["task_id"].tolist() == [row["task_id"] for row in rows]


def test_every_row_is_consistent(whole):
    for row in pyarrow.parquet.read_table(newest(whole / "phase1_0") / "dataset.parquet").to_pylist():
        assert row["prompt"].endswith("\n\n# Solution:\n") and "assert assert" not in row["prompt"]
        assert len(row["token_ids"]) == row["n_new_tokens"] <= 12
        assert row["mean_logprob"] <= 0 and row["first_token_logprob"] <= 0 and row["first_token_entropy"] >= 0
        assert (row["error"] is None) == (row["label"] == "correct")
        assert row["stop_reason"] in ("end_of_sequence", "solution_complete", "max_new_tokens")


def test_the_manifest_of_phase_1_names_model_sandbox_and_inputs(whole):
    run = newest(whole / "phase1_0")
    manifest = json.loads((run / "manifest.json").read_text())
    process = manifest["processes"][0]
    assert process["model"]["n_layers"] == 4 and process["model"]["dtype"] == "float32"
    assert process["sandbox"]["level"] >= 0 and process["n_records"] == 100
    assert set(manifest["lineage"]) == {"difficulty"}
    assert {"programs", "correct", "pass_rate", "pass_rate_95_percent_interval"} <= set(manifest["summary"])
    listed = {name for name in manifest["files"]}
    assert listed == {str(p.relative_to(run)) for p in run.rglob("*") if p.is_file()} - {"manifest.json", "log.txt"}


def start_phase_1(data: Path, flags: list[str], *, wait_for_a_part: bool) -> Started:
    """A run of phase 1 that has just begun, or has just saved its first batch; it is stopped for now."""
    log = said_by_phase_1(data)
    log.touch()
    process = warm_commands().start("run.py", "phase", "1", *flags, "--data-dir", data, log=log)
    # The sandbox's line comes right before the model is loaded.
    while "sandbox" not in log.read_text() or (wait_for_a_part and not list(data.glob("phase1_0/*/parts/part_*"))):
        assert process.poll() is None, log.read_text()
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # whatever the machine does now, it is in the middle of its work
    return process


def said_by_phase_1(data: Path) -> Path:
    return data / "said.txt"


def go_on_with(process: Started, number: int, data: Path) -> str:
    """Send a signal to a run that `start_phase_1` stopped; returns all that it said."""
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    process.wait()
    return said_by_phase_1(data).read_text()


@pytest.mark.parametrize(("name", "late"), [("SIGINT", True), ("SIGTERM", True), ("SIGHUP", False), ("SIGUSR1", True)])
def test_a_run_stopped_by_a_signal_goes_on_to_the_same_bytes(whole, begun, flags, name, late):
    process = start_phase_1(begun, flags, wait_for_a_part=late)
    rest = go_on_with(process, getattr(signal, name), begun)
    assert process.returncode == 130, rest
    assert "Continue with: python3 run.py phase 1" in rest
    assert not list((begun / "phase1_0").glob("*/manifest.json"))
    saved = sum(int(part.name.split("_")[2]) for part in begun.glob("phase1_0/*/parts/part_*"))
    assert (0 < saved < 100) if late else saved == 0
    done = command("run.py", "phase", "1", *flags, "--data-dir", begun)
    assert done.returncode == 0, done.stderr
    assert_same_content(newest(begun / "phase1_0"), newest(whole / "phase1_0"))


def test_a_killed_run_goes_on_to_the_same_bytes(whole, begun, flags):
    process = start_phase_1(begun, flags, wait_for_a_part=True)
    go_on_with(process, signal.SIGKILL, begun)
    part = sum(int(path.name.split("_")[2]) for path in begun.glob("phase1_0/*/parts/part_*"))
    assert 0 < part < 100
    assert command("run.py", "phase", "1", *flags, "--data-dir", begun).returncode == 0
    assert_same_content(newest(begun / "phase1_0"), newest(whole / "phase1_0"))


def test_two_workers_stopped_and_continued_give_the_bytes_of_one_process(whole, begun, flags):
    """A stopped launcher passes the signal on, and goes on to the same bytes with two workers."""
    words = [sys.executable, "multi_gpu_launcher.py", "--phase", "1", "--workers", "2", *flags, "--fresh"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(
        [*words, "--data-dir", str(begun)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    while not list(begun.glob("phase1_0/*/parts/part_*")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
    rest = process.communicate()[1]
    assert process.returncode == 130, rest
    again = rest.split("Continue with: python3 ")[1].split()
    assert "--fresh" not in again
    save_records(begun, flags, (50, 74))  # which leaves two slices, or three
    done = command(*again, "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert len(list((begun / "phase1_0").iterdir())) == 2  # one run, and the lock of choosing it
    assert_same_content(newest(begun / "phase1_0"), newest(whole / "phase1_0"))
    processes = processes_of(newest(begun / "phase1_0"))
    assert len(processes) > 2 and sum(process["n_records"] for process in processes) == 100


def test_the_launcher_reports_a_slice_that_cannot_be_done(begun, flags, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(flags[flags.index("--model") + 1], broken)
    (broken / "model.safetensors").write_bytes(b"not a model")
    words = [str(broken) if word == flags[flags.index("--model") + 1] else word for word in flags]
    done = command("multi_gpu_launcher.py", "--phase", "1", *words, "--data-dir", begun)
    assert done.returncode == 2 and "its last lines" in done.stderr and "cannot be loaded" in done.stderr


def test_single_problems_give_the_same_programs_as_batches(whole, flags, small_problem_rows, tmp_path):
    few = write_problems(tmp_path / "few.jsonl", small_problem_rows[:12])
    for words in (["0", "--dataset", few], ["1", *flags, "--dataset", few, "--batch-size", 1]):
        done = command("run.py", "phase", *words, "--data-dir", tmp_path)
        assert done.returncode == 0, done.stderr
    one = pyarrow.parquet.read_table(newest(tmp_path / "phase1_0") / "dataset.parquet")
    four = pyarrow.parquet.read_table(newest(whole / "phase1_0") / "dataset.parquet").slice(0, 12)
    for column in ("task_id", "token_ids", "code", "label", "error"):
        assert one[column].to_pylist() == four[column].to_pylist()


def test_named_positions_are_stored_beside_the_last_one(begun, flags):
    words = [*flags, "--positions", "last,description_end,tests_end", "--data-dir", begun]
    assert command("run.py", "phase", "1", *words).returncode == 0
    arrays = load_file(newest(begun / "phase1_0") / "activations" / "layer_03.safetensors")
    assert set(arrays) == {"resid_post", "resid_post.description_end", "resid_post.tests_end", "task_id"}


def test_a_second_run_of_the_same_slice_is_refused_with_its_owner(begun, flags):
    first = start_phase_1(begun, flags, wait_for_a_part=False)
    second = command("run.py", "phase", "1", *flags, "--data-dir", begun)
    first.kill()
    first.wait()
    assert second.returncode == 2 and f"process {first.pid}" in second.stderr


def test_a_folder_that_cannot_be_written_is_found_before_the_model_loads(begun, flags):
    (begun / "phase1_0").mkdir(mode=0o500)
    done = command("run.py", "phase", "1", *flags, "--data-dir", begun, is_root=False)
    assert done.returncode == 2 and "cannot write to" in done.stderr and "sandbox" not in done.stderr


def test_the_production_command_runs_on_a_model_in_the_hub_cache(begun, flags, tiny_gemma, tmp_path):
    revision = "0" * 40
    repository = tmp_path / "hf" / "hub" / "models--google--gemma-2-2b"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    shutil.copytree(tiny_gemma, repository / "snapshots" / revision)
    words = ["google/gemma-2-2b" if word == str(tiny_gemma) else word for word in flags]
    done = command("run.py", "phase", "1", *words, "--data-dir", begun, home=tmp_path / "hf")
    assert done.returncode == 0, done.stderr
    run = newest(begun / "phase1_0")
    assert run.name.endswith("Z_gemma-2-2b_small")
    assert json.loads((run / "manifest.json").read_text())["experiment"]["model"] == "google/gemma-2-2b@00000000"


def test_a_model_that_is_not_there_is_one_message_that_helps(begun, dataset):
    done = command("run.py", "phase", "1", "--dataset", dataset, "--model", "google/gemma-9-99b", "--data-dir", begun)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "model 'google/gemma-9-99b'" in done.stderr and "--preset demo" in done.stderr
    assert "google/gemma-2-9b" in done.stderr
