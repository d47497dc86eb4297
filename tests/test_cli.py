"""Covers run.py and clean_data.py as a user types them: help, errors, status, deletion."""

import functools
import json
import os
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, cold_command

from common.files import write_sealed_json

ERROR_PHASES = ("6.1", "6.1b", "6.2", "6.3", "6.4", "6.4b", "6.5")


def quickest(*words: str) -> float:
    """Processor time of a command [s], the least of seven: a machine that is busy says nothing about us."""
    seconds = []
    for _ in range(7):
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        assert cold_command(*words).returncode == 0
        seconds.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
    return min(seconds)


def test_help_answers_at_once_and_without_the_heavy_libraries():
    at_once = quickest("-c", "import argparse, dataclasses, hashlib, json, logging, pathlib, tempfile, typing")
    for words in (["--help"], ["phase", "1", "--help"]):
        assert quickest("run.py", *words) < 6 * at_once  # measured: 4 times
        listing = cold_command("-X", "importtime", "run.py", *words).stderr
        assert "common.phases.settings" in listing
        assert not [line for line in listing.splitlines() if line.split("|")[-1].strip() in ("torch", "transformers")]


def test_settings_of_every_phase_load_no_heavy_library():
    script = (
        "import run, sys; [run.CATALOGUE.phase(name).config for name in run.PHASES]; "
        "print(sorted({'torch', 'transformers', 'scipy', 'pandas', 'sklearn', 'matplotlib'} & {*sys.modules}))"
    )
    assert cold_command("-c", script).stdout.strip() == "[]"


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
        (["phase", "11"], r"no phase '11'.* mean 1\.1\?"),
        (["phase", "1", "--preset", "Dmo"], r"no preset 'Dmo'.* mean demo\?"),
        (["phase", "1", "--model", "Gemma-2-2B"], r" mean google/gemma-2-2b\?"),
        (["phase", "1", "--model", "google/gema-2-2b"], r" mean google/gemma-2-2b\?"),
        (["phase", "1", "--sandbox", "strickt"], r"--sandbox is 'strickt'.* mean strict\?"),
        (["phase", "0", "--dataset", "HumanEvla"], r" mean humaneval\?"),
        (["phase", "0", "--device", "cuda1"], "--device is 'cuda1'.* mean cuda"),
        (["phase", "1", "--device", "cuda:77"], r"--device is 'cuda:77'.* cpu\n"),
        (["phase", "2", "--sae", "google/gemma-scope-2b-pt-res-cannonical"], " mean gemma-scope-2b-pt-res-"),
        (["fase"], r"no command 'fase'.* mean phase\?"),
        (["phase", "9"], r"no phase '9'\n.*: 0, 0\.1, 1"),
        (["phase", "0", "--datset", "x"], r"--datset x.* mean --dataset\?"),
        (["phase", "0", "--dataset", "mbppp"], "mbppp"),
        (["phase", "0", "--dataset", "nowhere.jsonl"], "nowhere.jsonl"),
        (["phase", "1", "--seed", "many"], "--seed.* int .*'many'"),
        (["phase", "1", "--batch-size", "0"], "--batch-size is 0"),
        (["phase", "1", "--preset", "huge"], "no preset 'huge'"),
        (["phase", "1", "--device", "tpu"], "--device is 'tpu'"),
        (["phase", "1", "--model", "gemma"], r"--model is 'gemma'.*\n.*hub id"),
        (["phase", "0.1", "--dataset", "organism"], r"no finished difficulty of organism\b"),
        (["phase", "0.1", "--fractions", "0.5,0.5"], "--fractions is 0.5,0.5"),
        (["phase", "0", "--start", "3"], r"phase 0 .*slices\n.*--start"),
        (["phase", "1", "--input", "nowhere"], "--input nowhere .*exist"),
        (["status", "--all"], "arguments: --all"),
    ],
)
def test_a_wrong_command_is_one_message_with_what_to_type(cli, tmp_path, words, message):
    data_dir = ["--data-dir", tmp_path / "data"] if words[0] in ("phase", "status") else []
    done = cli("run.py", *words, *data_dir)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(message, done.stderr)
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


def test_test_gpu_reports_devices_or_says_that_there_are_none():
    done = cold_command("run.py", "test-gpu")
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


@pytest.mark.parametrize(
    ("words", "waits_for"),
    [
        (["run.py", "phase", "0"], []),
        (["run.py", "phase", "0.1"], ["phase 0 --data-dir"]),
        (["run.py", "phase", "1", "--preset", "demo", "--start", "0", "--end", "63"], ["phase 0 --preset demo"]),
        (["run.py", "phase", "1.1"], ["load_dataset"]),
        (
            ["run.py", "phase", "2", "--model", "some/other", "--sae", "gemma-scope-2b-pt-res-canonical"],
            ["phase 0.1 --data", "phase 1 --model some/other", "phase 1.1 --model some/other --data"],
        ),
        (["multi_gpu_launcher.py", "--phase", "1", "--preset", "demo"], ["phase 0 --preset demo"]),
        (["clean_data.py", "--phase", "1"], []),
    ],
)
def test_a_dry_run_works_on_a_fresh_clone_without_a_network(cli, tmp_path, words, waits_for):
    home = tmp_path / "home"
    done = cli(*words, "--dry-run", "--data-dir", tmp_path / "my data", home=home)
    assert done.returncode == 0 and "error" not in done.stderr, done.stderr
    assert all(command in done.stdout for command in waits_for)
    assert ("waits for" in done.stdout) == bool(waits_for)
    assert not (tmp_path / "my data").exists() and not [*home.rglob("*.parquet")]


def test_a_dry_run_asks_no_hub(tmp_path):
    """With the network allowed: a connection would be refused here, and end in a traceback or a retry."""
    code = (
        "import socket, sys, run\n"
        "def refused(*_): raise AssertionError('a network was asked')\n"
        "socket.socket.connect = socket.getaddrinfo = refused\n"
        "for phase in ('0', '1', '1.1', '2', '3.6', '4.1'):\n"
        f"    assert run.main(['phase', phase, '--dry-run', '--data-dir', {str(tmp_path / 'data')!r}]) == 0\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words", [["status"], ["phase"], [], ["phase", "1", "--help"], ["grade", "--help"], ["report", "--help"]]
)
def test_a_closed_pipe_ends_a_command_quietly(words):
    for unbuffered in ("", "1"):
        process = subprocess.Popen(
            [sys.executable, "run.py", *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
        process.stdout.close()
        statuses = (0, 128 + signal.SIGPIPE) if "--help" in words else (128 + signal.SIGPIPE,)  # argparse tells nobody
        assert process.stderr.read() == b"" and process.wait() in statuses


def next_commands(text: str) -> list[list[str]]:
    lines = [line.partition("next: python3 ")[2] for line in text.splitlines()]
    return [shlex.split(line) for line in lines if line]


def test_every_command_that_status_tells_names_the_experiment_and_can_be_typed(cli, tmp_path, small_dataset):
    """With a model, problems, SAEs and a folder that are all other than the presets', and spaces in their names."""
    names = ("my model", "my saes", "my data")
    model, saes, data = (tmp_path / name for name in names)
    shutil.copytree(ROOT / "model_organism" / "weights" / "model", model)
    shutil.copytree(ROOT / "model_organism" / "weights" / "saes", saes)
    problems = shutil.copy(small_dataset, tmp_path / "my problems.jsonl")
    own = ["--dataset", problems, "--data-dir", data]
    assert cli("run.py", "phase", "0", *own).returncode == 0
    assert cli("run.py", "phase", "0.1", *own).returncode == 0
    words = ["--model", model, "--max-new-tokens", 4, "--threads", 1, "--batch-size", 100]
    assert cli("run.py", "phase", "1", *own, *words).returncode == 0
    commands = next_commands(cli("run.py", "status", "--data-dir", data).stdout)
    assert [command[2] for command in commands] == [
        *"1.1 1.2 2 3.1 3.2 3.3 3.4 3.5 3.6 3.7 4.1 5.1 5.2".split(),
        *ERROR_PHASES,
    ]
    without_saes = ("1.1", "1.2", "5.1", "5.2", "6.1", "6.1b", "6.2", "6.4b")
    for command in commands:
        told = dict(zip(command[3::2], command[4::2], strict=True))
        assert told["--model"] == str(model) and told["--data-dir"] == str(data)
        assert told.get("--dataset") == (None if command[2] in ("1.1", "5.1", "5.2", *ERROR_PHASES) else str(problems))
        command = ["other/model" if word == "OTHER_MODEL" else word for word in command]
        own_saes = [] if command[2] in without_saes else ["--sae", saes]
        done = cli(*command, *own_saes, "--dry-run")
        assert done.returncode == 0 and "error:" not in done.stderr, (command, done.stderr)
        lines = [line.partition("python3 ")[2] for line in done.stdout.splitlines() if "python3 run.py" in line]
        told = [*map(shlex.split, lines)]
        assert all(str(data) in line and (str(model) in line or line[2] in ("0", "0.1")) for line in told)
        assert all(str(saes) in line for line in told if line[2] not in ("0", "0.1", "1", *without_saes))


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
    from common.runs.locks import lock_slice

    folder = next(path for path in (data / "phase0").iterdir() if path.is_dir())
    lock = lock_slice(folder, 0, 0)
    done = cli("clean_data.py", "--data-dir", data, "--force")
    lock.release()
    assert done.returncode == 2 and "is in use" in done.stderr and (folder / "manifest.json").exists()


@pytest.mark.parametrize("refused", ["everything", "the folder's lock"])
def test_a_data_folder_that_may_only_be_read_is_read(cli, data, small_dataset, refused, tmp_path):
    """A data folder that may only be read is used as far as reading goes.

    As another user's: who runs the tests as root gives up root's right to write everywhere.
    """
    own = ("--dataset", small_dataset, "--data-dir", data)
    assert cli("run.py", "phase", "0.1", *own).returncode == 0
    claims = data / "phase0" / ".claims.lock"
    closed = [data, *data.rglob("*")] if refused == "everything" else [claims]
    for path in closed:
        path.chmod(0o555 if path.is_dir() else 0o444)
    as_other = functools.partial(cli, is_root=False)
    try:
        for phase in ("0", "0.1"):
            again = as_other("run.py", "phase", phase, *own)
            assert again.returncode == 0 and "already built" in again.stderr, again.stderr
            assert "nothing to do" in as_other("run.py", "phase", phase, *own, "--dry-run").stdout
        assert "phase 0.1  built" in as_other("run.py", "status", "--data-dir", data).stdout
        listed = as_other("clean_data.py", "--data-dir", data, "--dry-run")
        assert listed.returncode == 0 and "MB" in listed.stdout
        if refused == "everything":
            anew = as_other("run.py", "phase", "0", *own, "--fresh")
            assert anew.returncode == 2 and "cannot write" in anew.stderr and "Traceback" not in anew.stderr
            inputs = next((data / "phase0").glob("*/manifest.json")).parent
            elsewhere = ("--dataset", small_dataset, "--data-dir", tmp_path / "own", "--input", inputs)
            assert as_other("run.py", "phase", "0.1", *elsewhere).returncode == 0
    finally:
        for path in closed:
            path.chmod(0o755)
