"""What the tests share: small models, small problem files, and the pipeline's commands."""

import gc
import os
import sys
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

import pytest
from figures import figures, pytest_runtest_logreport, pytest_sessionfinish  # noqa: F401 - taken over by pytest
from jaxtyping import install_import_hook
from support import SHARED, WHOLE_SWEEPS, command, write_problems

from common import plots
from common.files import text_sha256

# Shapes in annotations are checked in every test that calls these modules.
os.environ["HF_HUB_OFFLINE"] = "1"  # before huggingface_hub is imported: no test waits for a network
CHECKED = [
    "common.model.generation",
    "common.model.hooks",
    "common.interventions.steered_generation",
    "common.model.text_activations",
    "phase3_validation.attention.reading",
    "phase3_validation.attention.movement",
]
install_import_hook(CHECKED, "beartype.beartype")


class LibrariesFirst(MetaPathFinder):
    """Imports the libraries of a checked module before it does: within it, they would all be compiled anew."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in CHECKED:
            from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedModel  # noqa: F401


sys.meta_path.insert(0, LibrariesFirst())

SMALL_PROBLEMS = [  # {k} makes twenty different problems of each
    ("add", "Write a function to add {k} to a number.", "def add(n):\n    return n + {k}", ["3", "9", "0"]),
    ("times", "Write a function to multiply by {k}.", "def times(n):\n    return n * {k}", ["3", "9", "1"]),
    (
        "last",
        "Write a function to repeat the last element.",
        "def last(x):\n    return [x[-1]] * {k}",
        ["[1, 2]", "'ab'"],
    ),
    ("total", "Write a function to add up a list.", "def total(x):\n    return sum(x, {k})", ["[1, 2]", "[]", "[5]"]),
    (
        "multiples",
        "Write a function to keep the multiples of {k}.",
        "def multiples(x):\n    out = []\n    for n in x:\n        if n % {k} == 0:\n            out += [n]\n"
        "    return out",
        ["[1, 2]", "[]", "[4, 5, 6, 0]"],
    ),
]

LONG_FILES = [  # the longest first, on the clock: two processes of `make test` then end at almost the same time
    "test_slurm.py", "test_production_commands.py", "test_benchmarks.py", "test_pipeline.py", "test_workers.py",
    "test_cluster.py", "test_whole_pipeline.py", "test_faults.py", "test_pipeline_api.py", "test_service.py",
    "test_memory.py", "test_verification.py", "test_service_load.py", "test_pipeline_settings.py", "test_cli.py",
    "test_detect_command.py", "test_phase.py", "test_steering_phases.py", "test_detection.py", "test_temperature.py",
]  # fmt: skip
LONG_SWEEPS = [  # before those in `make test-sweeps`
    "test_detection_calibration.py", "test_detector_phase.py", "test_faults.py", "test_tests_agree.py",
    "test_benchmarks.py", "test_real_size.py", "test_detector_discovery.py", "test_steering_calibration.py",
    "test_production_commands.py", "test_production_errors.py",
]  # fmt: skip


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """For sweeps alone, files that have none are not imported: nine of ten, with libraries that no sweep uses."""
    if config.option.markexpr == "sweep" and collection_path.match("test_*.py"):
        return "mark.sweep" not in collection_path.read_text() or None
    return None


def pytest_collection_finish() -> None:
    gc.freeze()  # what was imported stays: the collector need not look through it again and again


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    longest = [*LONG_SWEEPS, *LONG_FILES] if WHOLE_SWEEPS else LONG_FILES
    places = {name: place for place, name in enumerate(dict.fromkeys(longest))}
    items.sort(key=lambda item: places.get(item.path.name, len(places)))


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
    for k in range(1, 21):
        for name, text, template, arguments in SMALL_PROBLEMS:
            code, digits = template.format(k=k), text_sha256(f"{name} {k}")
            text = " ".join([text.format(k=k), *(digits[i : i + 6] for i in range(0, 60, 6))])  # no near duplicates
            scope: dict = {}
            exec(code, scope)
            tests = [f"assert {name}({a}) == {scope[name](eval(a))!r}" for a in arguments]
            rows.append({"task_id": len(rows) + 1, "text": text, "code": code, "test_list": tests})
    return rows


@pytest.fixture
def small_dataset(tmp_path: Path, small_problem_rows: list[dict]) -> Path:
    return write_problems(tmp_path / "small.jsonl", small_problem_rows)


@pytest.fixture(scope="session")
def tiny_gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random Gemma-2 with sliding windows shorter than the prompts."""
    from tiny_models import save_tiny_gemma

    return save_tiny_gemma(tmp_path_factory.mktemp("tiny_gemma"))


@pytest.fixture(scope="session", autouse=True)
def layout_of_figures() -> Iterator[Any]:
    """Figures of phases that run in this process are drawn without a layout; those of commands have theirs."""
    usual, plots.LAYOUT = plots.LAYOUT, None
    yield usual
    plots.LAYOUT = usual


@pytest.fixture(scope="module")
def figures_with_layout(layout_of_figures: Any) -> Iterator[None]:
    """For files that compare figures of this process with those of commands, or look at them."""
    plots.LAYOUT = layout_of_figures
    yield
    plots.LAYOUT = None


@pytest.fixture(scope="session")
def cli():
    return command
