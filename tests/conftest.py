"""What the tests share: small models, small problem files, and the pipeline's commands."""

import json
import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook
from support import SHARED, command

# Shapes in annotations are checked in every test that calls these modules.
os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: no test waits for a network
install_import_hook(["common.generation", "common.hooks"], "beartype.beartype")

SMALL_PROBLEMS = [
    ("add_one", "Write a function to add one to a number.", "def add_one(n):\n    return n + 1", ["3", "9", "0"]),
    ("double", "Write a function to double a number.", "def double(n):\n    return n * 2", ["3", "9", "0"]),
    ("last", "Write a function to get the last element.", "def last(x):\n    return x[-1]", ["[1, 2]", "'ab'", "[0]"]),
    ("total", "Write a function to add up a list.", "def total(x):\n    return sum(x)", ["[1, 2]", "[]", "[5]"]),
    (
        "evens",
        "Write a function to keep the even numbers.",
        "def evens(x):\n    out = []\n    for n in x:\n        if n % 2 == 0:\n            out += [n]\n    return out",
        ["[1, 2]", "[]", "[4, 5, 6]"],
    ),
]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that came from elsewhere; it is not part of the repository."""
    if not (SHARED / "mbpp" / "mbpp.jsonl").is_file():
        pytest.skip(f"the shared data is not beside the repository: {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def small_problem_rows() -> list[dict]:
    """A hundred problems in MBPP's schema, made here."""
    rows = []
    for copy in range(20):
        for name, text, code, arguments in SMALL_PROBLEMS:
            name_here, code_here = f"{name}_{copy}", code.replace(f"def {name}", f"def {name}_{copy}")
            scope: dict = {}
            exec(code_here, scope)
            tests = [f"assert {name_here}({a}) == {scope[name_here](eval(a))!r}" for a in arguments]
            row = {"task_id": len(rows) + 1, "text": f"{text} Variant {copy}.", "code": code_here, "test_list": tests}
            rows.append(row)
    return rows


@pytest.fixture
def small_dataset(tmp_path: Path, small_problem_rows: list[dict]) -> Path:
    path = tmp_path / "small.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in small_problem_rows))
    return path


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Gemma-2 with sliding windows shorter than the prompts."""
    from tiny_models import save_tiny_gemma

    return save_tiny_gemma(tmp_path_factory.mktemp("tiny_gemma"))


@pytest.fixture(scope="session")
def cli():
    return command
