"""Covers common/problems/humaneval.py and shown_asserts.py: rows, prompts, setup code, which asserts are shown."""

import ast
import json

import pytest
from humaneval_rows import (
    HUMANEVAL_ROWS,
    IMPORT_FIRST,
    LOOPED_PAIR,
    NEVER_NAMED,
    ROOT_FINDER,
    UNNAMED_HELPER,
)

from common.errors import ConfigError
from common.problems.datasets import load_problems
from common.problems.humaneval import humaneval_problem
from common.problems.prompt import build_prompt
from common.problems.shown_asserts import shown_asserts

TEST = """
METADATA = {'author': 'jt'}


def check(candidate):
    import math
    import random
    assert candidate(['a', 'bb']) == 'bb', 'This prints if this assert fails'
    assert True, 'fine'
    assert abs(math.pi - len(candidate([
        'abc'])) ) < 2e-1
    words = ['x']
    assert candidate(words) == 'x'
    for i in range(100):
        assert candidate([str(i)]) == str(i)
    assert candidate(helper(['a'])) == 'a'
    assert all(candidate([w]) == w for w in 'abc')


check(longest)
"""


def _problem(row: dict):
    return humaneval_problem(row, row["task_id"])


def _passes(problem, code: str) -> bool:
    """Whether plain Python runs our own lines without an error."""
    try:
        exec("\n".join([code, problem.test_setup_code, *problem.test_list]), {})
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize("row", HUMANEVAL_ROWS, ids=lambda row: row["entry_point"])
def test_a_row_becomes_a_problem_whose_reference_passes(row):
    problem = _problem(row)
    assert problem.task_id == int(row["task_id"].removeprefix("HumanEval/"))
    assert row["test"].strip() in problem.test_list[0] and len(problem.test_list) == 1
    assert _passes(problem, problem.code)


@pytest.mark.parametrize("row", HUMANEVAL_ROWS, ids=lambda row: row["entry_point"])
def test_the_check_is_called_once_and_fails_what_returns_another_value(row):
    problem = _problem(row)
    assert problem.test_list[0].count(f"check({row['entry_point']})") == 1
    counted = f"calls = []\ndef {row['entry_point']}(*given):\n    calls.append(given)\n    return '?'\n"
    try:
        assert not _passes(problem, counted)
    except TypeError:  # arithmetic with the text
        pass


@pytest.mark.parametrize("row", HUMANEVAL_ROWS, ids=lambda row: row["entry_point"])
def test_a_prompt_names_the_function_and_its_asserts_parse(row):
    problem = _problem(row)
    prompt = build_prompt(problem.text, problem.test_list)
    assert row["entry_point"] in prompt.text and prompt.text.endswith("\n\n# Solution:\n")
    shown = ast.parse(prompt.text[prompt.description_end : prompt.tests_end])
    assert all(isinstance(node, ast.Assert) and node.msg is None for node in shown.body)


def test_a_docstring_after_an_import_is_the_description():
    assert _problem(IMPORT_FIRST).text.startswith(
        "How many trips a cart of the given limit needs for loads.\n\nExample:"
    )


def test_a_helper_that_the_docstring_names_stands_before_it():
    text = _problem(ROOT_FINDER).text
    assert text.startswith("def line(factors: list, x: float):\n    ") and "\n\nfind_root finds x such that" in text
    assert "is_square" not in _problem(UNNAMED_HELPER).text


def test_the_signature_is_shown_only_where_nothing_names_the_function():
    assert _problem(NEVER_NAMED).text.startswith("def halve_all(values: list, times: int=1) -> list:\n\nHalf of each")
    assert "def unswap(s: str):\n\ntakes a string" in _problem(LOOPED_PAIR).text
    assert "def trips" not in _problem(IMPORT_FIRST).text


def test_setup_code_is_what_the_test_looks_up_in_the_prompt():
    assert _problem(ROOT_FINDER).test_setup_code.startswith("import math\ndef line(")
    assert _problem(LOOPED_PAIR).test_setup_code.startswith("def swap(")
    assert _problem(UNNAMED_HELPER).test_setup_code == ""


def test_asserts_that_stand_alone_are_shown():
    assert shown_asserts([TEST]) == [
        "assert longest(['a', 'bb']) == 'bb'",
        "assert abs(math.pi - len(longest(['abc']))) < 0.2",
        "assert all((longest([w]) == w for w in 'abc'))",
    ]


def test_an_assert_on_a_shadowed_builtin_is_not_shown():
    test = "def check(candidate):\n    for str in 'ab':\n        assert candidate(str) == str\n\ncheck(same)\n"
    assert shown_asserts([test]) == []


def test_one_assert_alone_is_shown_as_it_stands():
    assert shown_asserts(["assert f( 1 )==2, 'why'\n", TEST])[:2] == [
        "assert f( 1 )==2, 'why'",
        "assert longest(['a', 'bb']) == 'bb'",
    ]


def test_a_file_of_humaneval_rows_is_read_by_its_path(tmp_path):
    path = tmp_path / "HumanEval.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in HUMANEVAL_ROWS))
    assert load_problems(str(path)).problems == tuple(map(_problem, HUMANEVAL_ROWS))


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("task_id", "HumanEval", "is 'HumanEval'"),
        ("prompt", None, "is None"),
        ("canonical_solution", "    return (\n", "does not parse"),
        ("entry_point", "other", "is 'other', which field 'prompt' does not define"),
        ("test", "def check(candidate:\n", "does not parse"),
        ("test", "", "is ''"),
    ],
)
def test_a_bad_row_is_named_with_its_field(tmp_path, field, value, found):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**IMPORT_FIRST, field: value}))
    with pytest.raises(ConfigError, match=found) as caught:
        load_problems(str(path))
    assert f"own.jsonl, line 1: field '{field}'" in str(caught.value)
