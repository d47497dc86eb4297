"""Covers common/problems/evalplus.py and for_sandbox.py: rows of EvalPlus' files, their tests, and the reference.

The tests are run here as plain Python, and what they call close is held against numpy's allclose.
"""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.problems.datasets import load_problems
from common.problems.evalplus import evalplus_problem, plus_tests
from common.problems.for_sandbox import program_for
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
    """Whether a program passes the row's plus tests, in one process: the sandbox keeps program and tests apart."""
    program, reference = {}, {}
    exec(code, program)
    exec(evalplus_problem(row).code, reference)
    names = {row["entry_point"]: program[row["entry_point"]], "reference": reference[row["entry_point"]]}
    try:
        exec(plus_tests(row), names)
    except AssertionError:
        return False
    return True


def _as_lambda(task_id: str, entry_point: str, solution: str, *inputs: list, atol: float = 0) -> dict[str, Any]:
    row = {"task_id": task_id, "entry_point": entry_point, "canonical_solution": f"{entry_point} = {solution}\n"}
    return {**MBPP_PLUS, **row, "assertion": "", "base_input": list(inputs[:1]), "plus_input": list(inputs[1:])} | {
        "atol": atol
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
    row = _as_lambda("Mbpp/900", "total", "sum", [[1, 2], 0], [[3], 0])
    assert _passes(row, "def total(values, zero):\n    n = sum(values)\n    values.clear()\n    return n")


@pytest.mark.parametrize(
    ("atol", "answer", "right"),
    [
        (0, "n / 3", True),
        (0, "n / 3 + 1e-8", True),  # floats have a tolerance of 1e-6 of their own
        (0, "n / 3 + 1e-3", False),
        (0.01, "n / 3 + 1e-3", True),
        (0.01, "str(n / 3)", False),
        (0.01, "[n / 3]", False),
        (0.01, "float('nan')", False),
        (0.01, "float('inf')", False),
        (0.01, "10**400", False),
    ],
)
def test_floats_are_close_or_wrong(atol, answer, right):
    row = _as_lambda("Mbpp/900", "third", "lambda n: n / 3", [1], [7.5], atol=atol)
    assert _passes(row, f"third = lambda n: {answer}") is right


def test_a_float_gives_a_tolerance_to_what_follows_it_among_inputs_of_its_kind():
    """A float that is expected gives a tolerance to the inputs after it, and those of base and plus are apart."""
    nearly = "same = lambda x: [x[0], x[1] + 1e-9] if isinstance(x, list) else x"
    row = _as_lambda("Mbpp/900", "same", "lambda x: x")
    mixed = [[1, 0.5]]  # not floats alone: no tolerance of its own
    assert _passes({**row, "base_input": [[0.5], mixed]}, nearly)
    assert not _passes({**row, "base_input": [mixed, [0.5]]}, nearly)
    assert not _passes({**row, "base_input": [[0.5]], "plus_input": [mixed]}, nearly)


number = st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6) | st.sampled_from([math.inf, -math.inf, math.nan, 0.0])


@given(st.lists(number, min_size=1), st.data(), st.sampled_from([1e-6, 1e-3, 0.5]))
@example([math.inf], None, 1e-6)
def test_closeness_is_that_of_numpy(expected, data, atol):
    shift = st.sampled_from([0, atol / 2, atol, 2 * atol, math.inf])
    got = [value + data.draw(shift) for value in expected] if data else [1.0]
    names = {"inc": lambda n: n, "reference": lambda n: n}
    exec(plus_tests(_as_lambda("Mbpp/900", "inc", "lambda n: n", [1])), names)
    assert names["_is_close"](got, expected, atol) == np.allclose(got, expected, rtol=1e-7, atol=atol)


@pytest.mark.parametrize(
    ("task_id", "given", "received"),
    [
        ("Mbpp/2", [[1], [2]], "((1,), (2,))"),
        ("Mbpp/63", [[[1, 2]]], "([(1, 2)],)"),
        ("Mbpp/75", [[[1, 2]], 3], "([(1, 2)], 3)"),
        ("Mbpp/106", [[1], [2]], "([1], (2,))"),
        ("Mbpp/115", [[[1], [], {}]], "([{1}, {}, {}],)"),
        ("Mbpp/124", ["1.5", "2"], "(1.5, (2+0j))"),
        ("Mbpp/250", [[1], 2], "((1,), 2)"),
        ("Mbpp/252", ["(1+2j)"], "((1+2j),)"),
        ("Mbpp/259", [[[1]], [[2]]], "(((1,),), ((2,),))"),
        ("Mbpp/278", [[1, [2]]], "((1, (2,)),)"),
        ("Mbpp/307", [[1], 2, 3], "((1,), 2, 3)"),
        ("Mbpp/580", [[1, [2, [3]]]], "((1, (2, (3,))),)"),
        ("Mbpp/722", [{"a": [1]}, 2], "({'a': (1,)}, 2)"),
        ("Mbpp/900", [[1, [2]]], "([1, [2]],)"),
        ("HumanEval/2", [[1], [2]], "([1], [2])"),
    ],
)
def test_inputs_are_turned_back_from_json(task_id, given, received):
    seen = []
    names = {"f": lambda *args: seen.append(repr(args)), "reference": lambda *args: None}
    exec(plus_tests(_as_lambda(task_id, "f", "None", given)), names)
    assert seen == [received]


@pytest.mark.parametrize(
    ("task_id", "name", "reference", "inputs", "answer", "right"),
    [
        ("Mbpp/2", "similar_elements", "lambda a, b: (4, 5)", [[1], [2]], "lambda a, b: (5, 4, 4)", True),
        ("Mbpp/2", "similar_elements", "lambda a, b: (4, 5)", [[1], [2]], "lambda a, b: (5,)", False),
        ("Mbpp/164", "are_equivalent", "lambda a, b: True", [1, 2], "lambda a, b: False", True),
        ("Mbpp/295", "sum_div", "lambda n: 7", [8], "lambda n: 0", True),
        ("Mbpp/295", "sum_div", "lambda n: 7", [8], "lambda n: 1", False),
        ("Mbpp/558", "digit_distance_nums", "lambda a, b: -1", [1, 256], "lambda a, b: 12", True),
        ("Mbpp/558", "digit_distance_nums", "lambda a, b: -1", [1, 256], "lambda a, b: 10", False),
        ("Mbpp/558", "digit_distance_nums", "lambda a, b: -1", [23, 56], "lambda a, b: 6", True),
        ("Mbpp/581", "surface_Area", "lambda b, h: -1", [3, 4], "lambda b, h: 35", True),
        ("Mbpp/581", "surface_Area", "lambda b, h: -1", [3, 4], "lambda b, h: 34", False),
        # EvalPlus asks this rule before it gives floats their tolerance.
        ("Mbpp/581", "surface_Area", "lambda b, h: -1.0", [3, 4], "lambda b, h: 35.0000005", False),
        ("Mbpp/802", "check_str", "lambda s: object()", ["a"], "lambda s: True", True),
        ("Mbpp/802", "check_str", "lambda s: object()", ["a"], "lambda s: 'match'", True),
        ("Mbpp/802", "check_str", "lambda s: object()", ["a"], "lambda s: None", False),
        ("Mbpp/802", "check_str", "lambda s: None", ["a"], "lambda s: False", True),
        ("HumanEval/2", "sum_div", "lambda n: 7", [8], "lambda n: 0", False),
        ("HumanEval/32", "find_zero", "lambda xs: 0", [[-6, 11, -6, 1]], "lambda xs: 3.00001", True),
        ("HumanEval/32", "find_zero", "lambda xs: 0", [[-6, 11, -6, 1]], "lambda xs: 4.0", False),
        ("HumanEval/32", "find_zero", "lambda xs: 4.0", [[-6, 11, -6, 1]], "lambda xs: 4.0", False),
    ],
)
def test_a_task_with_several_right_answers_has_evalplus_own_rule(task_id, name, reference, inputs, answer, right):
    row = _as_lambda(task_id, name, reference, inputs, atol=1e-4 if name == "find_zero" else 0)
    assert _passes(row, f"{name} = {answer}") is right


def test_a_failure_names_the_call():
    tests = plus_tests(_as_lambda("Mbpp/900", "inc", "lambda n: n + 1", [1], [7]))
    with pytest.raises(AssertionError, match=r"inc\(7,\)"):
        exec(tests, {"inc": lambda n: 2, "reference": lambda n: n + 1})


def test_a_row_of_mbpp_plus_may_have_no_asserts():
    row = {**MBPP_PLUS, "prompt": '"""Double a number."""\n', "assertion": None}
    assert evalplus_problem(row).test_list == (plus_tests(row),)


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
        ("base_input", [], "plus_input"),
        ("entry_point", None, "is None"),
        ("entry_point", "a b", "is 'a b'"),
        ("atol", "small", "is 'small'"),
        ("assertion", "assert (", "does not parse"),
        ("canonical_solution", "", "is ''"),
    ],
)
def test_a_bad_row_of_a_release_file_is_named_with_its_field(tmp_path, field, value, found):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**MBPP_PLUS, "plus_input": [], field: value}))
    with pytest.raises(ConfigError, match=found) as caught:
        load_problems(str(path))
    assert f"own.jsonl, line 1: field '{field}'" in str(caught.value)
