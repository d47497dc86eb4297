"""Covers common/problems/datasets.py: names, hashes, the hub's cache, tested names, what is known to be good."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from humaneval_rows import HUMANEVAL_ROWS
from support import REVISION, ROOT, SHARED_MBPP, needs_shared_mbpp, offline, prepare_datasets_cache

from common.errors import ConfigError
from common.problems.datasets import Problem, dataset_name, load_problems
from common.problems.syntax import parse_python

ROW = {
    "task_id": 7,
    "text": "Add.",
    "code": "def add(a, b):\r\n    return a + b\r\n",
    "test_list": ["assert add(1, 2) == 3"],
}


def _file(folder: Path, *rows: dict, name: str = "own.jsonl") -> Path:
    path = folder / name
    text = json.dumps(list(rows)) if path.suffix == ".json" else "".join(json.dumps(row) + "\n" for row in rows)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", ["mbpp", "mbpp-sanitized", "mbpp+", "humaneval", "humaneval+"])
def test_a_dataset_of_the_hub_keeps_its_name_without_loading_anything(name):
    assert dataset_name(name) == name


def test_a_file_is_named_after_its_stem_and_content(tmp_path):
    import hashlib

    path = _file(tmp_path, ROW)
    name = dataset_name(str(path))
    assert name == f"own@{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"
    assert load_problems(str(path)).name == name
    path.write_text(path.read_text() + "\n")
    assert dataset_name(str(path)) != name


@pytest.mark.parametrize("name", ["mbpp2", "", "MBPP", "google/mbpp", "data"])
@pytest.mark.parametrize("function", [dataset_name, load_problems])
def test_an_unknown_name_is_refused_with_the_valid_ones(function, name):
    with pytest.raises(ConfigError, match="mbpp, mbpp-sanitized, humaneval, mbpp\\+, humaneval\\+, organism") as caught:
        function(name)
    assert repr(name) in str(caught.value)


def test_a_problem_has_mbpps_fields_and_unix_line_ends(tmp_path):
    (problem,) = load_problems(str(_file(tmp_path, ROW))).problems
    assert problem == Problem(
        7, "Add.", "def add(a, b):\n    return a + b\n", ("assert add(1, 2) == 3",), entry_point="add"
    )
    assert hash(problem) == hash(problem)


def test_the_hash_follows_content_not_the_file_it_came_in(tmp_path):
    as_lines = load_problems(str(_file(tmp_path, ROW, {**ROW, "task_id": 8})))
    as_list = load_problems(str(_file(tmp_path, ROW, {**ROW, "task_id": 8}, name="other.json")))
    assert as_lines.sha256 == as_list.sha256
    assert load_problems(str(_file(tmp_path, {**ROW, "text": "Add!"}, {**ROW, "task_id": 8}))).sha256 != as_lines.sha256


def test_further_fields_become_attributes(tmp_path):
    extra = {"operations": ["add"], "n_operations": 1, "rarity": {"add": 0.5}}
    (problem,) = load_problems(str(_file(tmp_path, {**ROW, **extra}))).problems
    assert problem.attributes == extra


def test_the_organisms_problems_load_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    problems = load_problems("organism")
    assert (problems.name.split("@")[0], len(problems.problems)) == ("organism", 974)
    assert all(
        problem.attributes["operations"] and problem.entry_point in problem.code for problem in problems.problems
    )


@pytest.mark.parametrize(
    ("code", "test", "name"),
    [
        ("def f(x):\n    return g(x)\ndef g(x):\n    return x\n", "assert f(1) == 1", "f"),
        ("class Pair:\n    pass\ndef longest(pairs):\n    return 1\n", "assert longest([Pair()]) == 1", "longest"),
        ("class Solution:\n    def f(self):\n        return 1\n", "assert Solution().f() == 1", "Solution"),
        ("f = lambda x: x\n", "assert f(1)", "f"),
        ("a, (b, f) = 1, (2, len)\n", "assert f([1]) == 1", "f"),
        ("from math import sqrt as root\n", "assert root(4) == 2", "root"),
        ("try:\n    def f(x): return x\nexcept KeyError:\n    pass\n", "assert f(1)", "f"),
        ("async def f():\n    return 1\n", "import asyncio\nassert asyncio.run(f()) == 1", "f"),
        ("def f(x):\n    return x\ndef g(x):\n    return x\n", "assert set(f(g(1))) == set(g(2))", "f"),
        ("def f(x):\n    return x\n", "assert list(map(f, [1])) == [1]", "f"),
        ("def f(x):\n    return x\n", "assert h(1)", None),
    ],
)
def test_the_tested_name_is_called_by_tests_and_defined_by_code(code, test, name):
    """The tested name is the function that the tests call and the code defines."""
    from common.problems.syntax import tested_name

    assert tested_name(parse_python(code), [parse_python(test)]) == name


@needs_shared_mbpp
def test_all_974_problems_of_mbpp_and_all_427_of_its_sanitized_form_load():
    full = load_problems(str(SHARED_MBPP / "mbpp.jsonl")).problems
    sanitized = load_problems(str(SHARED_MBPP / "sanitized-mbpp.json")).problems
    assert ([problem.task_id for problem in full], len(sanitized)) == (list(range(1, 975)), 427)
    assert not any("\r" in problem.code + problem.test_setup_code for problem in full)
    assert [problem.task_id for problem in full if problem.test_setup_code] == [367, 927]
    assert {problem.entry_point for problem in full if problem.task_id == 601} == {"max_chain_length"}
    assert next(problem for problem in sanitized if problem.task_id == 82).test_setup_code == "import math"
    assert all("\n" not in test for problem in (*full, *sanitized) for test in problem.test_list)


_SHOW = """
import json
from common.errors import PipelineError
from common.problems.datasets import load_problems
try:
    found = load_problems({name!r})
    print(json.dumps([found.name, found.source, found.sha256, [problem.task_id for problem in found.problems]]))
except PipelineError as error:
    print(type(error).__name__, error)
"""


def test_mbpp_loads_from_the_hubs_cache_sorted_and_with_its_revision(tmp_path):
    rows = [
        {**ROW, "task_id": task_id, "test_setup_code": "", "challenge_test_list": []} for task_id in (601, 2, 11, 511)
    ]
    splits = dict(zip(("train", "prompt", "test", "validation"), [[row] for row in rows], strict=True))
    prepare_datasets_cache(tmp_path, "google-research-datasets/mbpp", "full", splits)
    finished = offline(tmp_path, _SHOW.format(name="mbpp"))
    name, source, sha256, task_ids = json.loads(finished.stdout)
    assert (name, task_ids) == ("mbpp", [2, 11, 511, 601])
    assert source == f"google-research-datasets/mbpp, full, revision {REVISION}"
    own = load_problems(str(_file(tmp_path, *sorted(rows, key=lambda row: row["task_id"]))))
    assert sha256 == own.sha256
    assert finished.stderr == ""
    other = offline(tmp_path, _SHOW.format(name="mbpp-sanitized")).stdout
    assert other.startswith("AssetError the problems of mbpp-sanitized")


def test_humaneval_loads_from_the_hubs_cache_with_every_row(tmp_path):
    rows = HUMANEVAL_ROWS[::-1]
    prepare_datasets_cache(tmp_path, "openai/openai_humaneval", "openai_humaneval", {"test": rows})
    name, source, _, task_ids = json.loads(offline(tmp_path, _SHOW.format(name="humaneval")).stdout)
    assert (name, task_ids) == ("humaneval", list(range(20)))
    assert source == f"openai/openai_humaneval, openai_humaneval, revision {REVISION}"


@pytest.mark.parametrize(
    ("name", "repository", "row"),
    [
        ("humaneval+", "evalplus/humanevalplus", HUMANEVAL_ROWS[7]),
        ("mbpp+", "evalplus/mbppplus", {**ROW, "prompt": "Add.", "test": "assert add(0, 0) == 0"}),
    ],
)
def test_evalplus_datasets_load_from_the_hubs_cache(tmp_path, name, repository, row):
    prepare_datasets_cache(tmp_path, repository, "default", {"test": [row]})
    shown = json.loads(offline(tmp_path, _SHOW.format(name=name)).stdout)
    assert (shown[0], shown[3]) == (name, [7])


def test_the_organisms_problems_and_pilots_of_them_are_known_to_be_good(tmp_path):
    assert load_problems("organism").is_known_good and load_problems("organism", limit=3).is_known_good
    assert not load_problems(str(_file(tmp_path, ROW))).is_known_good


@needs_shared_mbpp
@pytest.mark.parametrize("name", ["mbpp.jsonl", "sanitized-mbpp.json"])
def test_both_forms_of_mbpp_are_known_to_be_good_in_any_order(tmp_path, name):
    known = SHARED_MBPP / name
    rows = json.loads(known.read_text()) if known.suffix == ".json" else map(json.loads, known.open())
    assert load_problems(str(known)).is_known_good
    assert load_problems(str(_file(tmp_path, *reversed(list(rows))))).is_known_good


@pytest.mark.parametrize("name", ["mbpp", "mbpp-sanitized", "mbpp+", "humaneval", "humaneval+"])
def test_a_dataset_that_cannot_be_had_says_how_to_fetch_it(name, tmp_path):
    """A dataset that cannot be had says how to fetch it and what runs without."""
    finished = offline(tmp_path, _SHOW.format(name=name))
    assert finished.stdout.startswith(f"AssetError the problems of {name} (")
    assert "load_dataset(" in finished.stdout and "--preset demo" in finished.stdout
    assert "Traceback" not in finished.stdout + finished.stderr


def test_importing_the_module_loads_no_heavy_library():
    code = (
        "import sys, common.problems.datasets\n"
        "print(sorted({'datasets', 'torch', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert finished.stdout.strip() == "[]"
