"""Covers common/sandbox/cgroups.py: the limits of the groups that a process is in, and what they hold."""

import pytest

from common.model.memory import free_bytes
from common.sandbox.cgroups import MemoryBound, memory_bounds


@pytest.fixture
def group(tmp_path):
    """Writes the files of a group below a root of its own; gives what `memory_bounds` is asked."""
    membership, root = tmp_path / "cgroup", tmp_path / "root"
    membership.write_text("0::/slurm/job_7/step_0\n")

    def write(name: str, **values: str) -> tuple:
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in values.items():
            (folder / file.replace("_", ".", 1)).write_text(text)
        return membership, [str(root)]

    return write


def test_a_limit_of_a_group_above_binds(group):
    group("slurm/job_7/step_0", memory_max="max\n", memory_current="10\n")
    asked = group("slurm/job_7", memory_max="8000\n", memory_current="3000\n")
    assert memory_bounds(*asked) == [MemoryBound(8000, 3000)]


def test_files_that_were_only_read_are_not_held(group):
    asked = group("slurm/job_7", memory_max="8000", memory_current="7900", memory_stat="anon 900\ninactive_file 7000\n")
    assert memory_bounds(*asked) == [MemoryBound(8000, 900)]


def test_groups_of_version_1_count_what_is_below_them(group):
    asked = group(
        "slurm/job_7",
        memory_limit_in_bytes="8000",
        memory_usage_in_bytes="7900",
        memory_stat="inactive_file 0\ntotal_inactive_file 7000\n",
    )
    assert memory_bounds(*asked) == [MemoryBound(8000, 900)]


def test_without_groups_nothing_is_bound(tmp_path):
    assert memory_bounds(tmp_path / "missing", [str(tmp_path)]) == []


def test_a_batch_may_take_what_the_tightest_group_has_left(monkeypatch):
    monkeypatch.setattr("common.model.memory.memory_bounds", lambda: [MemoryBound(2**62, 0), MemoryBound(9000, 2000)])
    assert free_bytes("cpu") == 7000
