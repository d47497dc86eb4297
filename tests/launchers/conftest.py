"""A run of phase 1 that takes seconds, once without a break, and data folders where it is still to be run."""

from pathlib import Path

import pytest
from runs import copy_inputs, run_phases
from support import write_problems


@pytest.fixture(scope="session")
def dataset(tmp_path_factory, small_problem_rows) -> Path:
    return write_problems(tmp_path_factory.mktemp("problems") / "small.jsonl", small_problem_rows)


@pytest.fixture(scope="session")
def flags(dataset, tiny_gemma) -> list[str]:
    """Ten batches, so that two workers have eight slices: of records 30 to 49 and 80 to 99 there are two batches."""
    words = ["--dataset", dataset, "--model", tiny_gemma, "--threads", 1, "--device", "cpu"]
    return [str(word) for word in [*words, "--max-new-tokens", 40, "--batch-size", 10]]


@pytest.fixture(scope="session")
def whole(tmp_path_factory, dataset, flags) -> Path:
    """A data folder where one process has run phases 0, 0.1 and 1."""
    return run_phases(tmp_path_factory.mktemp("whole"), dataset, flags)


@pytest.fixture
def begun(whole, tmp_path) -> Path:
    """A data folder where phase 1 is still to be run."""
    return copy_inputs(whole, tmp_path / "data")
