"""EvalPlus' way of judging, as tests in Python: a program and the reference solution get the same inputs.

`comparison` writes the tests of one problem of HumanEvalPlus.jsonl or MbppPlus.jsonl. Outputs are equal, or close
where the problem has a tolerance or the reference returns floats; a few problems have an oracle of their own.

Source: Liu et al. 2023, arXiv 2305.01210; evalplus 0.3, evalplus/eval and evalplus/data/mbpp.py.
"""

import json
from typing import Any

from common.errors import ConfigError
from common.problems.record import shown
from common.programs.json_values import field_of

REFERENCE_FIELD = "canonical_solution"

# JSON has no tuples, sets and complex numbers: what makes them of the inputs of a problem of MBPP.
_CONVERSIONS = {
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
_HUMANEVAL_ORACLES = {"find_zero": "abs(_polynomial(*args, got)) <= atol"}

_COMPARISON = """\
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


def _is_right(got, expected, args, atol):
    if {oracle}:
        return True
    return {may_be_close} and atol != 0 and type(got) == type(expected) and _is_close(got, expected, atol)


for _inputs in _json.loads({inputs}):
    _atol = {atol}
    for args in _inputs:
        args = {conversion}
        _expected = reference(*_copy.deepcopy(args))
        _got = {entry_point}(*_copy.deepcopy(args))
        if _atol == 0 and _is_floats(_expected):
            _atol = 1e-6
        assert _is_right(_got, _expected, args, _atol), "{entry_point}" + f"{{tuple(args)!r:.200}}"
"""


def comparison(row: dict[str, Any], where: str) -> str:
    """Tests that call the entry point of `row` and `reference` with its base and plus inputs.

    Raises: ConfigError, naming field and value.
    """
    task_id = str(field_of(row, ("task_id",), (str, int), where))
    entry_point = field_of(row, ("entry_point",), (str,), where)
    if not entry_point.isidentifier():
        raise ConfigError(f"{where}: field 'entry_point' is {shown(entry_point)}\nGive the name of a function")
    base = field_of(row, ("base_input",), (list,), where)
    plus = field_of(row, ("plus_input",), (list,), where, default=[])
    is_mbpp = task_id.casefold().startswith("mbpp")
    oracles = _MBPP_ORACLES if is_mbpp else _HUMANEVAL_ORACLES
    number = task_id.rpartition("/")[2]
    conversion = next((code for code, ids in _CONVERSIONS.items() if is_mbpp and number in ids.split()), "args")
    return _COMPARISON.format(
        oracle=oracles.get(entry_point, "got == expected"),
        may_be_close=entry_point not in _HUMANEVAL_ORACLES,
        inputs=repr(_json_text([base, plus], where)),
        atol=repr(field_of(row, ("atol",), (int, float), where, default=0)),
        conversion=conversion,
        entry_point=entry_point,
    )


def _json_text(inputs: list[Any], where: str) -> str:
    if not any(inputs):
        raise ConfigError(f"{where}: field 'base_input' is {shown(inputs[0])}\nGive a list of lists of arguments")
    for group in inputs:
        for arguments in group:
            if not isinstance(arguments, list):
                raise ConfigError(f"{where}: {shown(arguments)} is no list of arguments\nGive a list for each call")
    try:
        return json.dumps(inputs)
    except RecursionError as error:
        raise ConfigError(f"{where}: {shown(inputs)}\nGive inputs that are not nested so deeply") from error
