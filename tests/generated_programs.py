"""Programs with tests in many shapes, made at random and harmless by construction. Half of the programs are wrong.

A subject is code with a script: statements, and observations of what they did. The right program tells what is
expected of each observation; the tests then say so in one of many forms, inside one of many frames.
"""

import ast
import random
from collections.abc import Callable, Iterator
from typing import Any

from generated_classes import classes
from generated_functions import callbacks, closures, errors, states, yields
from generated_objects import records, trees, values
from generated_values import arithmetic, collected, lists, mutating, nested, strings, tables
from mutations import mutated

from common.sandbox import Program

ABOUT_VALUES = [arithmetic, strings, lists, mutating, nested, tables, collected]
ABOUT_FUNCTIONS = [yields, errors, closures, callbacks, states]
ABOUT_OBJECTS = [values, records, trees, classes, classes]
SUBJECTS = [*ABOUT_VALUES, *ABOUT_FUNCTIONS, *ABOUT_OBJECTS]
PLAIN = (int, str, float, bool, bytes, complex, type(None))


def generated_program(rng: random.Random) -> Program:
    """One program with its tests."""
    for _ in range(100):
        code, entry_point, script = rng.choice(SUBJECTS)(rng)
        lines = list(_asserted(rng, code, script))
        if any(line.startswith(("assert", "    assert", "self.")) or "raise AssertionError" in line for line in lines):
            tests = _framed(rng, lines, entry_point)
            if rng.random() < 0.75:
                code = next(filter(None, (mutated(code, rng) for _ in range(5))), code)
            return Program(code, tests, entry_point)
    raise AssertionError("no subject can be observed")


def _asserted(rng: random.Random, code: str, script: list[str]) -> Iterator[str]:
    """The lines of a test: `script` with every observation ("? expression") as asserts on its value."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(code, names)
    for number, line in enumerate(script):
        if not line.startswith("? "):
            try:
                exec(line, names)
            except Exception:
                return
            yield from line.split("\n")
            continue
        expression = line[2:]
        if not isinstance(ast.parse(expression, mode="eval").body, ast.Call | ast.Attribute | ast.Subscript | ast.Name):
            expression = f"({expression})"
        try:
            value = eval(expression, names)
        except Exception as error:
            yield from _raises(rng, expression, error, names)
            continue
        yield from _observed(rng, expression, value, f"x{number}")


def _is_plain(value: Any) -> bool:
    if type(value) in (list, tuple, set, frozenset):
        return all(map(_is_plain, value))
    if type(value) is dict:
        return all(map(_is_plain, [*value.keys(), *value.values()]))
    return type(value) in PLAIN and value == value


def _holds_set(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_set, [*value.keys(), *value.values()]))
    return isinstance(value, set | frozenset) or isinstance(value, list | tuple) and any(map(_holds_set, value))


def _raises(rng: random.Random, expression: str, error: Exception, names: dict[str, Any]) -> Iterator[str]:
    kind = type(error)
    shown = kind.__name__
    if kind.__module__ == "program" and names.get(shown) is not kind:
        return
    base = rng.choice(
        [each.__name__ for each in kind.__mro__ if each.__name__ in names or each.__module__ == "builtins"][:-2]
    )
    form = rng.randrange(5)
    if form == 0:
        yield from ["try:", f"    {expression}", f"except {base} as error:", f"    assert str(error) == {str(error)!r}"]
        yield from ["else:", "    raise AssertionError('nothing raised')"]
    elif form == 1:
        yield from ["try:", f"    {expression}", f"except {base}:", "    pass", "else:", "    assert False"]
    elif form == 2:
        yield from ["import pytest", f"with pytest.raises({base}) as raised:", f"    {expression}"]
        yield f"assert raised.value.args == {error.args!r}" if _is_plain(error.args) else "assert raised"
    elif form == 3:
        yield from ["failed = False", "try:", f"    {expression}", "except Exception as error:"]
        yield from [f"    failed = type(error).__name__ == {shown!r} and isinstance(error, {base})", "assert failed"]
    else:
        yield from ["import contextlib", f"with contextlib.suppress({base}):", f"    {expression}"]
        yield "    assert False, 'nothing raised'" if not issubclass(AssertionError, kind) else "    raise KeyError"


def _observed(rng: random.Random, expression: str, value: Any, name: str) -> Iterator[str]:
    """Asserts that hold when the value of `expression` is `value`."""
    if not _is_plain(value):
        if type(value).__module__ == "program" and type(value).__qualname__.isidentifier():
            yield f"assert type({expression}).__name__ == {type(value).__name__!r}"
        return
    shown = repr(value)
    forms: list[Callable[[], list[str]]] = [
        lambda: [f"assert {expression} == {shown}"],
        lambda: [f"assert {shown} == {expression}"],
        lambda: [f"{name} = {expression}", f"assert {name} == {shown}, {name}"],
        lambda: (
            [f"{name} = {expression}", f"assert {name} == {shown} and type({name}) is {type(value).__name__}"]
            if value is not None
            else [f"assert {expression} is None"]
        ),
        lambda: [f"assert not {expression} != {shown}"],
        lambda: [f"{name} = [{expression}]", f"assert {name} == [{shown}] and len({name}) == 1"],
        lambda: [f"assert {expression} in [{shown}, 'other']"],
        lambda: [f"{name} = {{'key': {expression}}}", f"assert {name}['key'] == {shown} and 'key' in {name}"],
        lambda: [f"{name} = {expression}", f"if {name} != {shown}:", f"    raise AssertionError({name})"],
        lambda: (
            [f"assert isinstance({expression}, {type(value).__name__})", f"assert bool({expression}) is {bool(value)}"]
            if value is not None
            else [f"assert ({expression}) is None"]
        ),
    ]
    if not _holds_set(value):  # whose order is not for tests to see
        forms += [
            lambda: [f"assert repr({expression}) == {shown!r}"],
            lambda: [f"{name} = {expression}", f"assert f'{{{name}}}|{{{name}!r:>5}}' == {f'{value}|{value!r:>5}'!r}"],
        ]
    yield from rng.choice(forms + 2 * _forms_of(rng, expression, value, name))()


def _forms_of(rng: random.Random, expression: str, value: Any, name: str) -> list[Callable[[], list[str]]]:
    """Further forms that suit values of one class."""
    if isinstance(value, bool):
        return [
            lambda: [f"assert {expression} is {value}"],
            lambda: [f"assert {'' if value else 'not '}({expression})"],
        ]
    if isinstance(value, int | float):
        return [
            lambda: [f"{name} = 10", f"{name} += {expression}", f"assert {name} == {10 + value!r}"],
            lambda: [f"assert {value!r} - 1 < {expression} < {value!r} + 1"],
            lambda: [f"assert abs({expression} - {value!r}) <= 1e-9"],
            lambda: ["import math", f"assert math.isclose({expression}, {value!r})"],
            lambda: [
                f"assert max({expression}, {value - 1!r}) == {value!r} and round({expression}) == {round(value)!r}"
            ],
        ]
    if isinstance(value, str):
        return [
            lambda: [f"assert ({expression}).upper() == {value.upper()!r} and len({expression}) == {len(value)}"],
            lambda: [f"assert {expression} + 'z' == {value + 'z'!r} and 'z' + {expression} == {'z' + value!r}"],
            lambda: [f"assert [c for c in {expression}] == {list(value)!r}"],
            lambda: [f"assert ({expression}).startswith({value[:2]!r}) and ({expression})[-1:] == {value[-1:]!r}"],
        ]
    if isinstance(value, list | tuple) and value:
        by_class = sorted(value, key=lambda item: str(type(item)))
        return [
            lambda: [
                f"first, *others = {expression}",
                f"assert first == {value[0]!r} and others == {list(value[1:])!r}",
            ],
            lambda: [f"{name} = {expression}", f"for got, want in zip({name}, {value!r}):", "    assert got == want"],
            lambda: [f"assert len({expression}) == {len(value)} and ({expression})[-1] == {value[-1]!r}"],
            lambda: [f"assert [item for item in {expression}][::-1] == {list(value)[::-1]!r}"],
            lambda: [f"assert all(a == b for a, b in zip({expression}, {value!r}))"],
            lambda: [f"assert sorted({expression}, key=lambda x: str(type(x))) == {by_class!r}"],
            lambda: [f"{name} = {expression}", f"assert {value[0]!r} in {name} and 'nowhere' not in {name}"],
        ]
    if isinstance(value, dict):
        return [
            lambda: [f"assert list(({expression}).items()) == {list(value.items())!r}"],
            lambda: [f"assert set({expression}) == set({list(value)!r})"],
            lambda: [f"{name} = {expression}", f"assert all({name}[k] == v for k, v in {list(value.items())!r})"],
            lambda: [
                f"assert {{k: v for k, v in ({expression}).items() if k}} == { {k: v for k, v in value.items() if k}!r}"
            ],
        ]
    if isinstance(value, set | frozenset):
        return [
            lambda: [f"assert len({expression}) == {len(value)} and {expression} <= {set(value)!r}"],
            lambda: [f"assert sorted({expression}, key=str) == {sorted(value, key=str)!r}"],
        ]
    return []


def _framed(rng: random.Random, lines: list[str], entry_point: str) -> tuple[str, ...]:
    """The lines as one or several texts of tests, at the top level or inside what tests are written in."""
    frame = rng.randrange(8)
    body = "\n".join(f"    {line}" for line in lines)
    if frame == 0:
        body = _renamed(body, entry_point, "candidate")
        return (f"METADATA = {{}}\n\n\ndef check(candidate):\n{body}\n\ncheck({entry_point})\n",)
    if frame == 1:
        return (f"def test_it():\n{body}\n\ntest_it()\n",)
    if frame == 2:
        deeper = "\n".join(f"    {line}" for line in body.split("\n"))
        run = "result = unittest.TestResult()\nunittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)\n"
        return (
            f"import unittest\nclass Case(unittest.TestCase):\n    def test_it(self):\n{deeper}\n{run}"
            "assert result.wasSuccessful()\n",
        )
    if frame == 3:
        return (
            f"def helper(subject, twice=1):\n{_renamed(body, entry_point, 'subject')}\n    return True\n"
            f"assert helper({entry_point}, twice=2) is True\n",
        )
    if frame == 4:
        return (f"for subject in [{entry_point}]:\n{_renamed(body, entry_point, 'subject')}\n",)
    if frame == 5:
        tree = ast.parse("\n".join(lines))
        return tuple(map(ast.unparse, tree.body))
    if frame == 6:
        return (f"import contextlib\nwith contextlib.ExitStack() as stack:\n{body}\n",)
    return ("\n".join(lines) + "\n",)


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.new, node.ctx) if node.id == self.old else node


def _renamed(body: str, old: str, new: str) -> str:
    """The indented body with the program's function under another name; as it is where that cannot be said."""
    tree = ast.parse("if 1:\n" + body)
    renamed = ast.unparse(_Rename(old, new).visit(tree))
    return renamed.removeprefix("if 1:\n")
