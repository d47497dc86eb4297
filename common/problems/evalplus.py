"""EvalPlus' release files (HumanEvalPlus*.jsonl, MbppPlus*.jsonl) as problems.

A row has inputs and no results: a program must do on each input what the reference solution does, which the sandbox
runs apart. So `plus_tests` writes test code that calls both, and compares as EvalPlus does: equal, or close where the
row allows it or floats are expected; and for the tasks that have several right answers by EvalPlus' own rule for them.
The inputs stand in the test as JSON, which lacks tuples, sets and complex numbers; where a task of MBPP wants them,
the test turns them back.

Source: Liu et al. 2023, arXiv 2305.01210; evalplus 0.3, evalplus/eval and evalplus/data/mbpp.py.
"""

import ast
import inspect
import json
from collections.abc import Mapping
from typing import Any

from common.problems.humaneval import humaneval_problem
from common.problems.problem import Problem, RowReader, problem_from_row, shown
from common.problems.syntax import module_names

# As in EvalPlus: floats that are expected once give a tolerance to what follows them, base and plus inputs apart; what
# is close has the type and the length of what is expected; numpy's allclose decides, which needs no numpy.
_TEST = """\
import copy as _copy
import json as _json
import math as _math


def _as_tuples(value):
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def _polynomial(coefficients, x):
    return sum(coefficient * _math.pow(x, power) for power, coefficient in enumerate(coefficients))


def _pyramid(base, height):
    return round(base**2 + 2 * base * _math.sqrt((base / 2) ** 2 + height**2))


def _digit_distance(a, b):
    width = max(len(str(a)), len(str(b)))
    return sum(abs(int(x) - int(y)) for x, y in zip(str(a).zfill(width), str(b).zfill(width)))


def _is_floats(value):
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def _is_close(got, expected, atol):
    if isinstance(expected, (list, tuple)):
        same_length = isinstance(got, (list, tuple)) and len(got) == len(expected)
        return same_length and all(_is_close(a, b, atol) for a, b in zip(got, expected))
    if not all(isinstance(value, (int, float, complex)) for value in (got, expected)):
        return False
    try:
        return got == expected or abs(got - expected) <= atol + 1e-7 * abs(expected) < _math.inf
    except OverflowError:  # whole numbers beyond the largest float
        return False


def _is_exact(got, expected, args, atol):
    return bool({exact})


def _arguments(args):
    return {arguments}


for _inputs in _json.loads({inputs!r}):
    _atol = {atol!r}
    for _args in map(_arguments, _inputs):
        _expected = reference(*_copy.deepcopy(_args))
        _got = {entry_point}(*_copy.deepcopy(_args))
        _right = _is_exact(_got, _expected, _args, _atol)
        if _atol == 0 and _is_floats(_expected):
            _atol = 1e-6
        if not _right and _atol != 0 and {may_be_close}:
            _right = type(_got) == type(_expected) and _is_close(_got, _expected, _atol)
        assert _right, "{entry_point}" + f"{{tuple(_args)!r:.200}}"
"""

# What makes the arguments of these tasks of MBPP out of a list that was JSON.
_ARGUMENTS = {
    "[tuple(a) for a in args]": "2 116 132 143 222 261 273 394 399 421 424 429 470 560 579 596 616 630 726 740 744 809",
    "[[tuple(b) for b in a] for a in args]": "63 64 70 94 120 237 272 299 400 409 417 438 473 614 780",
    "[tuple(tuple(b) for b in a) for a in args]": "259 401 445",
    "[tuple(tuple(b) if isinstance(b, list) else b for b in args[0])]": "278",
    "[[tuple(b) for b in args[0]], args[1]]": "75 413 444 753",
    "[args[0], tuple(args[1])]": "106 750",
    "[tuple(args[0]), *args[1:]]": "250 307 405 446 617 720 763 808",
    "[[set(b) if isinstance(b, list) and b else {} for b in args[0]]]": "115",
    "[float(args[0]), complex(args[1])]": "124",
    "[complex(args[0])]": "252",
    "[{key: tuple(b) for key, b in args[0].items()}, *args[1:]]": "722",
    "_as_tuples(args)": "580 615 791",
}
_ARGUMENTS_OF = {int(task): arguments for arguments, tasks in _ARGUMENTS.items() for task in tasks.split()}

# When an output is right, by tested function, where that is not `got == expected`.
_MBPP_ORACLES = {
    "are_equivalent": "True",
    "sum_div": "got == expected or got == 0",
    "surface_Area": "got == expected or abs(got - _pyramid(*args)) <= atol",
    "digit_distance_nums": "got == expected or got == _digit_distance(*args)",
    **dict.fromkeys(
        "similar_elements find_char_long common_in_nested_lists extract_singly larg_nnum intersection_array "
        "find_dissimilar Diff".split(),
        "set(got) == set(expected)",
    ),
    **dict.fromkeys(
        "check_str text_match_three text_starta_endb".split(),
        "(got if isinstance(got, bool) else got is not None) == (expected is not None)",
    ),
}
_HUMANEVAL_ORACLES = {"find_zero": "abs(_polynomial(*args, got)) <= atol"}  # nothing else is right


def is_evalplus_row(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of EvalPlus' release files: it has inputs in place of tests."""
    return "base_input" in row or "plus_input" in row


def evalplus_problem(row: Mapping[str, Any], where: str = "a row of EvalPlus") -> Problem:
    """One row of a release file as a problem: of HumanEval+ as in HumanEval, of MBPP+ as in MBPP, with `plus_tests`.

    A program of MBPP+ must pass MBPP's asserts too, where the row has them, which the prompt shows.
    Raises: ConfigError naming the field, what it holds and what was expected.
    """
    reader = RowReader(row, where)
    prompt, entry_point = reader.text("prompt", required=True), reader.text("entry_point", required=True)
    test = plus_tests(row, where)
    tree = reader.parse("prompt", prompt)
    if entry_point in module_names(tree.body):
        return humaneval_problem({**row, "test": test}, where)
    description, _, own_asserts = inspect.cleandoc(ast.get_docstring(tree) or prompt).partition("\nassert ")
    asserts = reader.text("assertion", required=False) or (own_asserts and f"assert {own_asserts}")
    body = reader.parse("assertion", asserts).body
    setup = [ast.unparse(node) for node in body if not isinstance(node, ast.Assert)]
    return problem_from_row(
        {
            "task_id": row.get("task_id"),
            "text": description,
            "code": reader.text("canonical_solution", required=True),
            "test_list": [ast.unparse(node) for node in body if isinstance(node, ast.Assert)],
            "test": test,
            "test_setup_code": "\n".join(setup),
            "entry_point": entry_point,
        },
        where,
    )


def plus_tests(row: Mapping[str, Any], where: str = "a row of EvalPlus") -> str:
    """Test code that runs the row's program on all its inputs, beside `reference`, the sandbox's reference solution.

    Raises: ConfigError naming the field, what it holds and what was expected.
    """
    reader = RowReader(row, where)
    entry_point, number = reader.text("entry_point", required=True), reader.task_id()
    if not entry_point.isidentifier():
        raise reader.fail("entry_point", f"is {shown(entry_point)}", "the name of a function")
    of_mbpp = str(row["task_id"]).startswith("Mbpp/")
    oracles = _MBPP_ORACLES if of_mbpp else _HUMANEVAL_ORACLES
    return _TEST.format(
        exact=oracles.get(entry_point, "got == expected"),
        may_be_close=oracles is _MBPP_ORACLES or entry_point not in oracles,
        arguments=_ARGUMENTS_OF.get(number, "args") if of_mbpp else "args",
        inputs=_inputs(row, reader),
        entry_point=entry_point,
        atol=reader.number("atol"),
    )


def _inputs(row: Mapping[str, Any], reader: RowReader) -> str:
    inputs = [reader.arguments(name) for name in ("base_input", "plus_input")]
    if not any(inputs):
        raise reader.fail("base_input", f"is {shown(row['base_input'])}, and so is 'plus_input'", "an input or more")
    try:
        return json.dumps(inputs)
    except RecursionError:
        raise reader.fail("base_input", "or 'plus_input' is nested too deeply", "inputs with fewer levels") from None
