"""Natural models, where the environment variable NATURAL names the folder that they lie in (`make test-natural`)."""

import os
from pathlib import Path

import pytest

NAMES = ("qwen-coder", "smollm2")


def folder_of(name: str) -> Path:
    """The folder of a natural model; the test is skipped, with a word, where there is none."""
    if "NATURAL" not in os.environ:
        pytest.skip("needs a natural model: NATURAL=folder make test-natural")
    folder = Path(os.environ["NATURAL"]).expanduser() / name
    if not (folder / "config.json").is_file():
        pytest.skip(f"there is no natural model in {folder}")
    return folder


@pytest.fixture(scope="session")
def qwen_coder() -> Path:
    """Folder of Qwen2.5-Coder-0.5B-Instruct: 24 layers, d_model 896, 151,936 tokens, no BOS."""
    return folder_of("qwen-coder")


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """Folder of SmolLM2-135M-Instruct: Llama, 30 layers, d_model 576, no BOS."""
    return folder_of("smollm2")


@pytest.fixture(scope="session", params=NAMES)
def natural_model(request) -> Path:
    """Either."""
    return folder_of(request.param)


@pytest.fixture(scope="session")
def loaded(natural_model):
    """A natural model in float32, on one thread."""
    from common.model.loading import load_model

    return load_model(str(natural_model), "cpu", "float32", threads=1)


@pytest.fixture(scope="session")
def twenty_requests() -> list:
    """Requests of twenty problems of various lengths: MBPP's, where they are beside the repository, else our own."""
    from support import SHARED_MBPP

    from common.problems.datasets import load_problems
    from common.programs.solutions import request_for

    path = SHARED_MBPP / "mbpp.jsonl"
    problems = load_problems(str(path) if path.is_file() else "organism").problems
    requests = [request_for(row_of(problem), 42) for problem in problems[::10]]
    return sorted(requests, key=lambda request: len(request.prompt.text))[:60:3]


def row_of(problem) -> dict:
    """A problem as a row of phase 0's table."""
    return {
        "task_id": problem.task_id,
        "text": problem.text,
        "test_list": list(problem.test_list),
        "entry_point": problem.entry_point,
    }
