"""Covers common/problems/evalplus.py and judging.py: rows of EvalPlus' files, their tests, and the reference."""

import json
from typing import Any

import pytest
from humaneval_rows import ROOT_FINDER

from common.errors import ConfigError
from common.problems.datasets import load_problems
from common.problems.evalplus import evalplus_problem, plus_tests
from common.problems.judging import program_for
from common.problems.prompt import build_prompt

HUMANEVAL_PLUS = {
    "task_id": "HumanEval/901",
    "prompt": 'def mean(values: list) -> float:\n    """ The mean.\n    >>> mean([1, 2])\n    1.5\n    """\n',
    "entry_point": "mean",
    "canonical_solution": "    return sum(values) / len(values)\n",
    "contract": "    assert values\n",
    "base_input": [[[1, 2]], [[3]]],
    "plus_input": [[[0.1, 0.2, 0.3]], [[10**18, 1]]],
    "atol": 0,
}
MBPP_PLUS = {
    "task_id": "Mbpp/900",
    "prompt": '"""\nWrite a function to double a number.\nassert double_it(3) == 6\n"""\n',
    "entry_point": "double_it",
    "canonical_solution": "\ndef double_it(n):\n    return 2 * n\n",
    "contract": "\n  assert True\n",
    "assertion": "\nassert double_it(3) == 6\nassert double_it(0) == 0",
    "base_input": [[3], [0]],
    "plus_input": [[-4], [0.5]],
    "atol": 0,
}
HUB_ROW = {
    "task_id": 900,
    "prompt": "Write a function to double a number.",
    "code": "def double_it(n):\n    return 2 * n\n",
    "source_file": "here",
    "test_imports": ["import math"],
    "test_list": ["assert double_it(3) == 6"],
    "test": "def assertion(out, exp, atol):\n    assert out == exp\n\ninputs = [[3], [-4]]\nresults = [6, -8]\n"
    "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(double_it(*inp), exp, 0)\n",
}


def _passes(row: dict[str, Any], code: str) -> bool:
    """Whether plain Python runs the row's plus tests on `code`, with its reference solution beside it."""
    reference: dict[str, Any] = {}
    exec(evalplus_problem(row).code, reference)
    try:
        exec(f"{code}\n{plus_tests(row)}", {"reference": reference[row["entry_point"]]})
    except AssertionError:
        return False
    return True


def _mbpp(number: int, entry_point: str, solution: str, *inputs: list, atol: float = 0) -> dict[str, Any]:
    return {
        **MBPP_PLUS,
        "task_id": f"Mbpp/{number}",
        "entry_point": entry_point,
        "canonical_solution": f"def {entry_point}({solution}\n",
        "assertion": f"assert callable({entry_point})",
        "base_input": list(inputs),
        "plus_input": [],
        "atol": atol,
    }


def test_a_row_of_humaneval_plus_is_humanevals_with_other_tests():
    problem = evalplus_problem(HUMANEVAL_PLUS)
    assert (problem.task_id, problem.entry_point) == (901, "mean")
    assert build_prompt(problem.text, problem.test_list).text == "The mean.\n>>> mean([1, 2])\n1.5\n\n# Solution:\n"
    assert problem.test_list == (plus_tests(HUMANEVAL_PLUS),)


def test_a_row_of_mbpp_plus_shows_mbpps_asserts():
    problem = evalplus_problem(MBPP_PLUS)
    assert problem.text == "Write a function to double a number."
    assert problem.test_list == ("assert double_it(3) == 6", "assert double_it(0) == 0", plus_tests(MBPP_PLUS))
    assert build_prompt(problem.text, problem.test_list).text.count("\nassert ") == 2
    without = evalplus_problem({name: value for name, value in MBPP_PLUS.items() if name != "assertion"})
    assert without.test_list[:-1] == ("assert double_it(3) == 6",)


def test_a_hub_row_of_mbpp_plus_is_judged_by_its_asserts_and_its_test(tmp_path):
    path = tmp_path / "mbppplus.json"
    path.write_text(json.dumps([HUB_ROW]))
    (problem,) = load_problems(str(path)).problems
    assert problem.test_list == ("assert double_it(3) == 6", HUB_ROW["test"])
    assert (problem.test_setup_code, problem.attributes) == ("import math", {"source_file": "here"})
    assert build_prompt(problem.text, problem.test_list).text.count("assert") == 1


def test_a_release_file_is_read_by_its_path_infinite_inputs_included(tmp_path):
    path = tmp_path / "MbppPlus.jsonl"
    endless = {**MBPP_PLUS, "task_id": "Mbpp/901", "plus_input": [[float("inf")], [float("nan")]]}
    path.write_text("".join(json.dumps(row) + "\n" for row in (MBPP_PLUS, endless)))
    problems = load_problems(str(path)).problems
    assert problems == (evalplus_problem(MBPP_PLUS), evalplus_problem(endless))
    assert "Infinity" in problems[1].test_list[-1]


def test_what_the_reference_does_passes_and_other_answers_fail():
    assert _passes(HUMANEVAL_PLUS, "def mean(v):\n    return sum(v) / len(v)")
    assert not _passes(HUMANEVAL_PLUS, "def mean(v):\n    return sum(v) // len(v)")
    assert _passes(MBPP_PLUS, "def double_it(n):\n    return n + n")
    assert not _passes(MBPP_PLUS, "def double_it(n):\n    return abs(2 * n)")


def test_floats_may_be_close_and_whole_numbers_may_not():
    assert _passes(HUMANEVAL_PLUS, "def mean(v):\n    return sum(x / len(v) for x in v)")
    assert not _passes(MBPP_PLUS, "def double_it(n):\n    return 2 * n + (0 if n else 1e-9)")
    near = "def double_it(n):\n    return 2 * n + 1e-4"
    assert _passes({**MBPP_PLUS, "base_input": [[0.5]], "plus_input": [[1.5]], "atol": 1e-3}, near)
    assert not _passes({**MBPP_PLUS, "base_input": [[0.5]], "plus_input": [[1.5]]}, near)


def test_a_program_that_changes_its_argument_changes_no_other_input():
    row = _mbpp(900, "total", "values):\n    return sum(values)", [[1, 2]], [[3]])
    assert _passes(row, "def total(values):\n    n = sum(values)\n    values.clear()\n    return n")


@pytest.mark.parametrize(
    ("number", "given", "wanted"),
    [
        (2, [[1, 2], [3]], [(1, 2), (3,)]),
        (63, [[[1, 2]]], [[(1, 2)]]),
        (75, [[[1, 2]], 3], [[(1, 2)], 3]),
        (106, [[1], [2]], [[1], (2,)]),
        (115, [[[1], []]], [[{1}, {}]]),
        (124, ["1", "2j"], [1.0, 2j]),
        (250, [[1], 2], [(1,), 2]),
        (252, ["1j"], [1j]),
        (259, [[[1], [2]]], [((1,), (2,))]),
        (278, [[1, [2]]], [(1, (2,))]),
        (307, [[1], 2, 3], [(1,), 2, 3]),
        (580, [[1, [2, [3]]]], [(1, (2, (3,)))]),
        (722, [{"a": [1]}, 2], [{"a": (1,)}, 2]),
        (900, [[1, [2]]], [[1, [2]]]),
    ],
)
def test_inputs_are_turned_back_from_json(number, given, wanted):
    code = f"def f(*given):\n    assert list(given) == {wanted!r} and str(list(given)) == {str(wanted)!r}, given"
    assert _passes(_mbpp(number, "f", "*given): pass", given), code)


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (
            _mbpp(2, "similar_elements", "a, b):\n    return (4, 5)", [[4, 5], [5, 4]]),
            "def similar_elements(a, b): return [5, 4]",
            "def similar_elements(a, b): return [5]",
        ),
        (
            _mbpp(900, "check_str", "s):\n    import re\n    return re.match('a', s)", ["ab"], ["b"]),
            "def check_str(s): return s.startswith('a')",
            "def check_str(s): return True",
        ),
        (
            _mbpp(164, "are_equivalent", "a, b):\n    return True", [1, 2]),
            "def are_equivalent(a, b): return False",
            None,
        ),
        (_mbpp(295, "sum_div", "n):\n    return 7", [8]), "def sum_div(n): return 0", "def sum_div(n): return 1"),
        (
            _mbpp(581, "surface_Area", "b, s):\n    return 2 * b * s + b * b", [3, 4]),
            "def surface_Area(b, h): return 35",
            "def surface_Area(b, h): return 34",
        ),
        (
            _mbpp(558, "digit_distance_nums", "a, b):\n    return 3", [1, 23]),
            "def digit_distance_nums(a, b): return 4",
            "def digit_distance_nums(a, b): return 5",
        ),
        (
            {**ROOT_FINDER, "entry_point": "find_zero", "base_input": [[[1, 2]]], "plus_input": [], "atol": 1e-4}
            | {"prompt": ROOT_FINDER["prompt"].replace("find_root", "find_zero")},
            "def find_zero(xs): return -0.500001",
            "def find_zero(xs): return 0.5",
        ),
    ],
    ids=lambda value: value["entry_point"] if isinstance(value, dict) else "",
)
def test_a_task_with_several_right_answers_has_evalplus_own_rule(row, right, wrong):
    assert _passes(row, right)
    assert wrong is None or not _passes(row, wrong)


def test_only_tests_that_look_up_the_reference_are_given_it():
    release, hub = evalplus_problem(MBPP_PLUS), load_problems("organism").problems[0]
    assert program_for(release.row(), "x = 1").reference == release.code
    assert program_for(hub.row(), "x = 1").reference == ""
    own = {**hub.row(), "test_list": ["def check(f):\n    reference = 1\n    assert f(1) == reference\n\ncheck(f)\n"]}
    assert program_for(own, "x = 1").reference == ""


@pytest.mark.parametrize(
    ("field", "value", "found"),
    [
        ("task_id", "Mbpp/x", "is 'Mbpp/x'"),
        ("base_input", None, "is None"),
        ("plus_input", [[1], 2], r"is \[\[1\], 2\]"),
        ("atol", "small", "is 'small'"),
        ("assertion", "assert (", "does not parse"),
        ("canonical_solution", "", "is ''"),
    ],
)
def test_a_bad_row_of_a_release_file_is_named_with_its_field(tmp_path, field, value, found):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**MBPP_PLUS, field: value}))
    with pytest.raises(ConfigError, match=found) as caught:
        load_problems(str(path))
    assert f"own.jsonl, line 1: field '{field}'" in str(caught.value)
