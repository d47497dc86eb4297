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
from common.problems.record import Problem, RowReader, problem_from_row
from common.problems.syntax import module_names

_TEST = """\
import copy
import json


def is_floats(value):
    if isinstance(value, (list, tuple)) and value:
        return all(isinstance(item, float) for item in value)
    return isinstance(value, float)


def is_close(out, expected, atol):
    import numpy

    return (
        type(out) is type(expected)
        and (not isinstance(expected, (list, tuple)) or len(out) == len(expected))
        and numpy.allclose(out, expected, rtol=1e-07, atol=atol)
    )


def agrees(out, expected, atol, inputs):
    if {exact}:
        return True
    atol = atol or (1e-6 if is_floats(expected) else 0)
    return bool(atol) and is_close(out, expected, atol)


def as_tuples(value):
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


for inputs in [{arguments} for given in json.loads({text!r})]:
    out, expected = {entry_point}(*copy.deepcopy(inputs)), {expected}
    assert agrees(out, expected, {atol!r}, inputs), f"{entry_point}(*{{inputs}}) is {{out}}"
"""

# What turns one input of JSON (`given`, a list of arguments) into the arguments of these tasks of MBPP.
_ARGUMENTS = {
    "[tuple(x) for x in given]": (
        *(2, 116, 132, 143, 222, 261, 273, 394, 399, 421, 424, 429, 470, 560, 579, 596, 616, 630, 726, 740, 744, 809),
    ),
    "[[tuple(y) for y in x] for x in given]": (
        *(63, 64, 70, 94, 120, 237, 272, 299, 400, 409, 417, 438, 473, 614, 780),
    ),
    "[[tuple(x) for x in given[0]], given[1]]": (75, 413, 444, 753),
    "[given[0], tuple(given[1])]": (106, 750),
    "[[set(x) if isinstance(x, list) and x else {} for x in given[0]]]": (115,),
    "[float(given[0]), complex(given[1])]": (124,),
    "[tuple(given[0]), given[1]]": (250, 405, 446, 617, 720, 763, 808),
    "[complex(given[0])]": (252,),
    "[tuple(tuple(y) for y in x) for x in given]": (259, 401, 445),
    "[tuple(tuple(x) if isinstance(x, list) else x for x in given[0])]": (278,),
    "[tuple(given[0]), given[1], given[2]]": (307,),
    "as_tuples(given)": (580, 615, 791),
    "[{key: tuple(value) for key, value in given[0].items()}, *given[1:]]": (722,),
}
_ARGUMENTS_OF = {task: arguments for arguments, tasks in _ARGUMENTS.items() for task in tasks}

# When an output is right, by task: MBPP's by the name of the function, as EvalPlus has them.
_EQUAL = "out == expected"
_AS_SETS = "set(out) == set(expected)"
_IS_FOUND = "out == expected if isinstance(out, bool) else expected == (out is not None)"
_EXACT_OF = {
    **dict.fromkeys(
        ("similar_elements", "find_char_long", "common_in_nested_lists", "extract_singly", "larg_nnum"), _AS_SETS
    ),
    **dict.fromkeys(("intersection_array", "find_dissimilar", "Diff"), _AS_SETS),
    **dict.fromkeys(("check_str", "text_match_three", "text_starta_endb"), _IS_FOUND),
    "are_equivalent": "True",
    "sum_div": "out in (expected, 0)",
    "surface_Area": (
        "out == expected or abs(out - round(inputs[0] ** 2 + "
        "2 * inputs[0] * ((inputs[0] / 2) ** 2 + inputs[1] ** 2) ** 0.5)) <= atol"
    ),
    "digit_distance_nums": (
        "out in (expected, sum(abs(int(a) - int(b)) for a, b in zip(*("
        "str(number).zfill(max(len(str(inputs[0])), len(str(inputs[1])))) for number in inputs))))"
    ),
}
_IS_A_ZERO = "abs(sum(factor * out**power for power, factor in enumerate(inputs[0]))) <= atol"  # of HumanEval's task 32


def evalplus_problem(row: Mapping[str, Any], where: str = "a row of EvalPlus") -> Problem:
    """One row of a release file as a problem: of HumanEval+ as in HumanEval, of MBPP+ as in MBPP, with `plus_tests`.

    A program of MBPP+ must pass MBPP's asserts too, which the prompt shows.
    Raises: ConfigError naming the field, what it holds and what was expected.
    """
    reader = RowReader(row, where)
    prompt, entry_point = reader.text("prompt", required=True), reader.text("entry_point", required=True)
    test = plus_tests(row, where)
    tree = reader.parse("prompt", prompt)
    if entry_point in module_names(tree.body):
        return humaneval_problem({**row, "test": test}, where)
    description, _, own_asserts = inspect.cleandoc(ast.get_docstring(tree) or prompt).partition("\nassert ")
    asserts = reader.text("assertion", required=False) or f"assert {own_asserts}"
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
    inputs = [reader.arguments(name) for name in ("base_input", "plus_input")]
    entry_point, number = reader.text("entry_point", required=True), reader.task_id()
    of_mbpp = str(row["task_id"]).startswith("Mbpp/")
    exact, expected = _EXACT_OF.get(entry_point, _EQUAL) if of_mbpp else _EQUAL, "reference(*copy.deepcopy(inputs))"
    if exact == _IS_FOUND:
        expected += " is not None"
    if not of_mbpp and entry_point == "find_zero":
        exact, expected = _IS_A_ZERO, "None"
    return _TEST.format(
        exact=exact,
        expected=expected,
        arguments=_ARGUMENTS_OF.get(number, "given") if of_mbpp else "given",
        text=json.dumps([*inputs[0], *inputs[1]]),
        entry_point=entry_point,
        atol=reader.number("atol"),
    )
