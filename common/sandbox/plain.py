"""Tests that are plain: one call of the program with literal arguments, compared with literals.

    assert sorted(f(3)) == [1, 2, 3]    the child evaluates    f(3)
                                        the judge evaluates    sorted(value) == [1, 2, 3]

They need no process of their own: as long as every value that comes back is of a plain class, the judge's
comparison is the one that Python would make. Everything else runs as it is written (proxies/).
"""

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from types import CodeType, EllipsisType, NoneType
from typing import Any

from common.sandbox.entry_point import BUILTIN_NAMES, imported_names, parse_quietly

VALUE_NAME = "value"
# Builtins that read their arguments and nothing else, and give plain values for plain ones.
_PURE = frozenset(
    "abs all any bool dict float frozenset int isinstance len list max min round set sorted str sum tuple".split()
)
_SINGLE = (bool, NoneType, EllipsisType)  # classes whose equal objects are one object
# Modules of which the judge has its own copy, which no program can have patched.
_MODULES = frozenset({"math", "cmath"})


class _NotPlain(Exception):
    pass


@dataclass(frozen=True)
class PlainTest:
    """One assert: a call for the child, and what the judge decides about its value."""

    text: str
    call: str
    condition: CodeType


@dataclass(frozen=True)
class PlainTests:
    """All asserts in order; `imports` is source for both sides."""

    tests: tuple[PlainTest, ...]
    imports: str


def plain_tests(tests: Sequence[str], setup: str, entry_point: str | None) -> PlainTests | None:
    """The tests, if all of them are plain; else None."""
    imports: list[ast.stmt] = []
    plain: list[PlainTest] = []
    try:
        for node in _statements(setup):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                return None
            imports.append(node)
        for text in tests:
            statements = _statements(text)
            for node in statements:
                if isinstance(node, ast.Assert):
                    shown = text if len(statements) == 1 else ast.get_source_segment(text, node) or text
                    plain.append(_plain_test(shown, node, imports, entry_point))
                elif isinstance(node, ast.Import | ast.ImportFrom):
                    imports.append(node)
                elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
                    return None
    except (_NotPlain, RecursionError):
        return None
    return PlainTests(tuple(plain), "\n".join(map(ast.unparse, imports))) if plain else None


def _statements(source: str) -> list[ast.stmt]:
    tree = parse_quietly(source)
    if tree is None:
        raise _NotPlain
    return tree.body


def _plain_test(text: str, node: ast.Assert, imports: list[ast.stmt], entry_point: str | None) -> PlainTest:
    imported = imported_names(ast.Module(imports, []))
    taker = _TakeCall(imported, entry_point)
    condition = ast.Expression(taker.take(node.test))
    if taker.call is None:
        raise _NotPlain
    return PlainTest(text, taker.call, compile(ast.fix_missing_locations(condition), "<assert>", "eval"))


class _TakeCall(ast.NodeTransformer):
    """Replaces the one call of the program by `value`; refuses whatever Python might evaluate in another way."""

    _ALLOWED = (
        ast.Compare,
        ast.BinOp,
        ast.UnaryOp,
        ast.Constant,
        ast.List,
        ast.Tuple,
        ast.Set,
        ast.Dict,
        ast.keyword,
        ast.operator,
        ast.unaryop,
        ast.cmpop,
        ast.expr_context,
    )

    def __init__(self, imported: set[str], entry_point: str | None) -> None:
        self.imported, self.entry_point = imported, entry_point
        self.call: str | None = None

    def take(self, node: ast.expr) -> ast.expr:
        """The expression without the call. Raises: _NotPlain."""
        return self.visit(node)

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.Call):
            return self._visit_call(node)
        if isinstance(node, ast.Name):
            if node.id not in _PURE or node.id == self.entry_point:
                raise _NotPlain
            return node
        if isinstance(node, ast.Attribute):
            if not (isinstance(node.value, ast.Name) and node.value.id in _MODULES & self.imported):
                raise _NotPlain
            return node
        if not isinstance(node, self._ALLOWED) or (isinstance(node, ast.Compare) and _asks_for_identity(node)):
            raise _NotPlain
        return self.generic_visit(node)

    def _visit_call(self, node: ast.Call) -> ast.AST:
        if isinstance(node.func, ast.Name) and self._is_of_program(node.func.id):
            if self.call is not None or not all(map(_is_literal, _arguments(node))):
                raise _NotPlain
            self.call = ast.unparse(node)
            return ast.copy_location(ast.Name(VALUE_NAME, ast.Load()), node)
        return self.generic_visit(node)

    def _is_of_program(self, name: str) -> bool:
        return name not in BUILTIN_NAMES and name not in self.imported


def is_single(node: ast.expr) -> bool:
    """Whether it is a constant of which there is only one object, so that `is` needs no care."""
    return isinstance(node, ast.Constant) and isinstance(node.value, _SINGLE)


def _asks_for_identity(node: ast.Compare) -> bool:
    """`is`, other than with an object of which there is only one."""
    sides = [node.left, *node.comparators]
    return any(
        isinstance(operator, ast.Is | ast.IsNot) and not any(map(is_single, pair))
        for operator, *pair in zip(node.ops, sides, sides[1:], strict=False)
    )


def _arguments(node: ast.Call) -> list[ast.expr]:
    if any(keyword.arg is None for keyword in node.keywords):
        raise _NotPlain
    return [*node.args, *(keyword.value for keyword in node.keywords)]


def _is_literal(node: ast.expr) -> bool:
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True
