"""Covers multi_gpu_launcher.py: how work is cut, and what it says before it starts."""

import re

import pytest
from support import cold_command

import multi_gpu_launcher
from common.errors import ConfigError
from multi_gpu_launcher import contiguous_slices


@pytest.mark.parametrize("step", [1, 7, 64])
@pytest.mark.parametrize("n_slices", [1, 3, 8, 500])
@pytest.mark.parametrize(("start", "end"), [(0, 973), (10, 10), (5, 700), (63, 64)])
def test_slices_are_contiguous_cover_everything_and_respect_batches(start, end, n_slices, step):
    slices = contiguous_slices(start, end, n_slices, step)
    assert slices[0][0] == start and slices[-1][1] == end and len(slices) <= n_slices
    for (_, left), (right, _) in zip(slices, slices[1:], strict=False):
        assert right == left + 1 and right % step == 0
    assert all(first <= last for first, last in slices)


def test_one_worker_is_made_for_each_gpu_shown():
    """One worker is made for each GPU and a cluster's choice of GPUs is kept."""
    workers = multi_gpu_launcher.worker_environments(None, None, ["4", "5", "7"])
    assert [worker["CUDA_VISIBLE_DEVICES"] for worker in workers] == ["4", "5", "7"]
    workers = multi_gpu_launcher.worker_environments("0,2", None, ["4", "5", "7"])
    assert [worker["CUDA_VISIBLE_DEVICES"] for worker in workers] == ["4", "7"]


@pytest.mark.parametrize(
    ("gpus", "n_workers", "available", "message"),
    [
        ("0,x", None, ["0"], r"--gpus is '0,x'.*no GPU x\n.*: 0"),
        ("", None, ["0"], r"no GPU \(empty\)"),
        ("0,1", None, ["0"], "no GPU 1"),
        ("0", None, [], r"--gpus is '0'.*\n.*none"),
        (None, 0, [], "--workers is 0"),
        (None, 2, ["0"], "--workers is 2(.|\n)*--gpus"),
    ],
)
def test_impossible_workers_are_refused(gpus, n_workers, available, message):
    with pytest.raises(ConfigError, match=message):
        multi_gpu_launcher.worker_environments(gpus, n_workers, available)


def test_a_dry_run_shows_slices_and_starts_nothing(cli, small_dataset, tmp_path):
    words = ("--dataset", small_dataset, "--data-dir", tmp_path / "data")
    assert cli("run.py", "phase", "0", *words).returncode == 0
    launch = ("multi_gpu_launcher.py", "--phase", "1", "--workers", 2, "--preset", "demo", "--batch-size", 10, *words)
    done = cli(*launch, "--start", 0, "--end", 99, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("slice ") == 8 and "--start 0 --end" in done.stdout
    assert not (tmp_path / "data" / "phase1_0").exists()
    assert cli(*launch, "--end", 100).returncode == 2


def test_a_phase_without_slices_is_refused(cli):
    done = cli("multi_gpu_launcher.py", "--phase", "0")
    assert done.returncode == 2 and re.search(r"phase 0 .*slices\n.*run\.py phase 0", done.stderr)


def test_the_launcher_imports_no_heavy_library(cli, small_dataset, tmp_path):
    """It starts in a moment, and leaves the memory to its workers: they import what runs a model."""
    words = ("--preset", "demo", "--device", "cpu", "--dataset", small_dataset, "--data-dir", tmp_path / "data")
    assert cli("run.py", "phase", "0", *words).returncode == 0
    launch = ("multi_gpu_launcher.py", "--phase", "1", "--threads", 1, *words, "--dry-run")
    done = cold_command("-X", "importtime", *launch)
    assert done.returncode == 0 and "slice 0 to" in done.stdout, done.stderr
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert "common.launch.running" in imported and not {"torch", "transformers"} & imported
