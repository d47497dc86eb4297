"""Covers EvalPlus' way of judging, written as tests in Python: run here as plain Python, beside numpy's allclose."""

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.programs.evalplus import comparison
from common.programs.suites import suite_of

INC = "def inc(n):\n    return n + 1\n"


def problem(name: str, solution: str, *inputs: list, task_id: str = "Mbpp/900", **fields: object) -> dict:
    row = {"task_id": task_id, "prompt": '"""Words."""\n', "entry_point": name, "canonical_solution": solution}
    return {**row, "base_input": list(inputs[:1]), "plus_input": list(inputs[1:]), "contract": "", **fields}


def passes(row: dict, code: str) -> bool:
    """Whether a program passes, in one process: the sandbox keeps program, reference and tests apart."""
    suite = suite_of(row, "here")
    program, reference = {}, {}
    exec(code, program)
    exec(suite.reference, reference)
    names = {row["entry_point"]: program[row["entry_point"]], "reference": reference[row["entry_point"]]}
    try:
        exec(suite.tests[0], names)
    except AssertionError:
        return False
    return True


def test_the_reference_passes_and_a_program_that_fails_one_plus_input_does_not():
    row = problem("inc", INC, [1], [10**30])
    assert passes(row, INC)
    assert not passes(row, "def inc(n):\n    return 2")
    assert not passes(row, "def inc(n):\n    return n + 1 if n < 10**9 else n")


def test_a_failure_names_the_call():
    row = problem("inc", INC, [1], [7])
    with pytest.raises(AssertionError, match=r"inc\(7,\)"):
        exec(suite_of(row, "here").tests[0], {"inc": lambda n: 2, "reference": lambda n: n + 1})


def test_arguments_that_a_program_changes_are_not_those_of_the_reference():
    row = problem("total", "def total(x):\n    return sum(x)", [[1, 2]], [[3]])
    assert passes(row, "def total(x):\n    out = sum(x)\n    x.clear()\n    return out")


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
    row = problem("third", "def third(n):\n    return n / 3", [1], [7.5], atol=atol)
    assert passes(row, f"def third(n):\n    return {answer}") is right


def test_without_a_tolerance_whole_numbers_are_equal_or_wrong():
    assert not passes(problem("inc", INC, [1], [2]), "def inc(n):\n    return n + 1 + 1e-9")
    assert passes(problem("inc", INC, [1], [2]), "def inc(n):\n    return float(n + 1)")


number = st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6) | st.sampled_from([math.inf, -math.inf, math.nan, 0.0])


@given(st.lists(number, min_size=1), st.data(), st.sampled_from([1e-6, 1e-3, 0.5]))
@example([math.inf], None, 1e-6)
def test_closeness_is_that_of_numpy(expected, data, atol):
    shift = st.sampled_from([0, atol / 2, atol, 2 * atol, math.inf])
    got = [value + data.draw(shift) for value in expected] if data else [1.0]
    names = {"inc": lambda n: n, "reference": lambda n: n}
    exec(comparison(problem("inc", INC, [1]), "here"), names)
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
        ("Mbpp/722", [{"a": [1]}, 2], "({'a': (1,)}, 2)"),
        ("Mbpp/580", [[1, [2]]], "((1, (2,)),)"),
        ("Mbpp/900", [[1, [2]]], "([1, [2]],)"),
        ("HumanEval/2", [[1], [2]], "([1], [2])"),
    ],
)
def test_inputs_of_mbpp_get_the_types_that_json_lacks(task_id, given, received):
    seen = []
    names = {"f": lambda *args: seen.append(repr(args)), "reference": lambda *args: None}
    exec(comparison(problem("f", "", given, task_id=task_id), "here"), names)
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
        ("Mbpp/802", "check_str", "lambda s: object()", ["a"], "lambda s: True", True),
        ("Mbpp/802", "check_str", "lambda s: object()", ["a"], "lambda s: 'match'", True),
        ("Mbpp/802", "check_str", "lambda s: object()", ["a"], "lambda s: None", False),
        ("Mbpp/802", "check_str", "lambda s: None", ["a"], "lambda s: False", True),
        ("HumanEval/32", "find_zero", "lambda xs: 0", [[-6, 11, -6, 1]], "lambda xs: 3.00001", True),
        ("HumanEval/32", "find_zero", "lambda xs: 0", [[-6, 11, -6, 1]], "lambda xs: 4.0", False),
        ("HumanEval/32", "find_zero", "lambda xs: 4.0", [[-6, 11, -6, 1]], "lambda xs: 4.0", False),
    ],
)
def test_problems_with_an_oracle_of_their_own_are_judged_by_it(task_id, name, reference, inputs, answer, right):
    row = problem(name, f"{name} = {reference}", inputs, task_id=task_id, atol=1e-4 if name == "find_zero" else 0)
    assert passes(row, f"{name} = {answer}") is right


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"entry_point": None}, "field 'entry_point' is missing"),
        ({"entry_point": "a b"}, "field 'entry_point' is 'a b'"),
        ({"canonical_solution": None}, "field 'canonical_solution' is missing"),
        ({"base_input": "x"}, "field 'base_input' is 'x'"),
        ({"base_input": [], "plus_input": []}, r"field 'base_input' is \[\]"),
        ({"base_input": [1]}, "1 is no list of arguments"),
        ({"atol": "small"}, "field 'atol' is 'small'"),
    ],
)
def test_a_wrong_field_is_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        suite_of({**problem("inc", INC, [1]), **fields}, "here")
