"""Covers run.py and clean_data.py as a user types them: help, errors, status, deletion."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from common.files import write_sealed_json


def test_help_answers_at_once_and_without_the_heavy_libraries(cli):
    for words in (["--help"], ["phase", "1", "--help"]):
        seconds = []
        for _ in range(7):
            before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
            done = cli("run.py", *words)
            seconds.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
            assert done.returncode == 0
        assert min(seconds) < 0.3  # processor time, and the quickest: a machine that is busy says nothing about us
        listing = cli("-X", "importtime", "run.py", *words).stderr
        assert "common.config" in listing
        assert not [line for line in listing.splitlines() if line.split("|")[-1].strip() in ("torch", "transformers")]


def test_help_of_a_phase_shows_defaults_units_and_presets(cli):
    text = " ".join(cli("run.py", "phase", "1", "--help").stdout.split())
    assert "[tokens] (default: 2000; demo: 400; at least 1)" in text
    assert "google/gemma-2-2b; demo: organism" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["phase", "0", "--device", "tpu"], "--device is 'tpu'"),
        (["phase", "1", "--temperature", "inf"], "--temperature is inf"),
        (["phase", "1", "--positions", "tests_end"], "--positions is tests_end"),
        (["phase", "0.1", "--fractions", "1,0,0"], "--fractions is 1.0"),
        (["phase", "0.1", "--dry-run"], "no finished difficulty of mbpp"),
        (["fase"], "there is no command 'fase'. Did you mean phase?"),
        (["phase", "9"], "there is no phase '9'\nGive one of: 0, 0.1, 1"),
        (["phase", "0", "--datset", "x"], "--datset x. Did you mean --dataset?"),
        (["phase", "0", "--dataset", "mbppp"], "mbppp"),
        (["phase", "0", "--dataset", "nowhere.jsonl"], "nowhere.jsonl"),
        (["phase", "1", "--seed", "many"], "invalid int value: 'many'"),
        (["phase", "1", "--batch-size", "0"], "--batch-size is 0"),
        (["phase", "1", "--preset", "huge"], "there is no preset 'huge'"),
        (["phase", "1", "--device", "tpu"], "--device is 'tpu'"),
        (["phase", "1", "--model", "gemma"], "--model is 'gemma', which is no folder and no hub id"),
        (["phase", "0.1", "--dataset", "organism"], "no finished difficulty of organism"),
        (["phase", "0.1", "--fractions", "0.5,0.5"], "--fractions is 0.5,0.5"),
        (["phase", "0", "--start", "3"], "phase 0 has no slices"),
        (["phase", "1", "--input", "nowhere"], "--input nowhere does not exist"),
        (["status", "--all"], "unrecognized arguments: --all"),
    ],
)
def test_a_wrong_command_is_one_message_with_what_to_type(cli, tmp_path, words, message):
    data_dir = ["--data-dir", tmp_path / "data"] if words[0] in ("phase", "status") else []
    done = cli("run.py", *words, *data_dir)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert message in done.stderr
    *_, error = done.stderr.split("error: ")
    assert len(error.strip().splitlines()) >= 2, "the message does not say what to type"
    assert not (tmp_path / "data").exists(), "a command that fails writes nothing"


def test_the_full_preset_without_a_network_says_how_to_go_on(cli, tmp_path):
    done = cli("run.py", "phase", "0", "--data-dir", tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "mbpp" in done.stderr and "--preset demo" in done.stderr


def test_phases_and_commands_are_listed(cli):
    assert "phase 1" in cli("run.py").stdout
    listing = cli("run.py", "phase").stdout
    assert "needs phase 0; builds data/phase1_0/" in listing


def test_test_gpu_reports_devices_or_says_that_there_are_none(cli):
    done = cli("run.py", "test-gpu")
    assert done.returncode == 0 and ("no GPU here" in done.stdout or "matrix product correct" in done.stdout)


@pytest.fixture
def data(cli, tmp_path, small_dataset) -> Path:
    folder = tmp_path / "data"
    assert cli("run.py", "phase", "0", "--dataset", small_dataset, "--data-dir", folder).returncode == 0
    return folder


def test_status_tells_built_stale_unfinished_and_missing(cli, data, small_dataset):
    before = cli("run.py", "status", "--data-dir", data).stdout
    assert "phase 0    built" in before and "phase 0.1  missing" in before
    assert cli("run.py", "phase", "0.1", "--dataset", small_dataset, "--data-dir", data).returncode == 0
    manifest = next((data / "phase0_1").glob("*/manifest.json"))
    changed = json.loads(manifest.read_text())
    changed["lineage"]["difficulty"] = "0" * 64
    write_sealed_json(manifest, changed)
    after = cli("run.py", "status", "--data-dir", data).stdout
    assert "phase 0.1  stale" in after and "made from an older difficulty" in after


def test_a_dry_run_says_what_would_be_done_and_writes_nothing(cli, data, small_dataset):
    before = sorted(data.rglob("*"))
    words = ("--dataset", small_dataset, "--data-dir", data, "--dry-run")
    assert "it would begin" in cli("run.py", "phase", "0.1", *words).stdout
    assert "nothing to do" in cli("run.py", "phase", "0", *words).stdout
    assert sorted(data.rglob("*")) == before


def test_clean_data_lists_asks_and_deletes_only_runs(cli, data, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (data / "phase0" / "2026-01-01T00-00-00Z_link").symlink_to(outside)
    (data / "phase0" / "my notes").mkdir()
    (data / "README.md").write_text("kept")
    assert "MB" in cli("clean_data.py", "--data-dir", data, "--dry-run").stdout
    assert cli("clean_data.py", "--data-dir", data, input="n\n").stdout.endswith("nothing was deleted\n")
    assert cli("clean_data.py", "--data-dir", data, input="").returncode == 2
    assert len(list((data / "phase0").iterdir())) >= 2
    assert cli("clean_data.py", "--data-dir", data, "--phase", "0.1").stdout.startswith("nothing to delete")
    assert cli("clean_data.py", "--data-dir", data, "--force").returncode == 0
    assert [path.name for path in (data / "phase0").iterdir() if path.is_dir() or path.is_symlink()] == ["my notes"]
    assert (outside / "kept").exists() and (data / "README.md").exists()


def test_without_the_packages_the_message_says_how_to_get_them(tmp_path):
    """An interpreter without site-packages, as the system's is before anything is installed."""
    done = subprocess.run([sys.executable, "-S", "run.py", "status"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and ". .venv/bin/activate" in done.stderr and "Traceback" not in done.stderr


def test_clean_data_refuses_a_run_in_use(cli, data):
    sys.path.insert(0, str(ROOT))
    from common.locks import lock_slice

    folder = next(path for path in (data / "phase0").iterdir() if path.is_dir())
    lock = lock_slice(folder, 0, 0)
    done = cli("clean_data.py", "--data-dir", data, "--force")
    lock.release()
    assert done.returncode == 2 and "is in use" in done.stderr and (folder / "manifest.json").exists()
