"""Which of a problem's tests its prompt shows: the asserts that can be read alone.

A test is one assert in one line, which is shown as it stands, or whole test code (HumanEval's `check(candidate)`, the
loops of EvalPlus), which is run as it stands and shown by such of its asserts as depend on nothing else in it.
"""

import ast
import builtins
import functools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from common.sandbox.entry_point import imported_names


def shown_asserts(tests: Sequence[str]) -> list[str]:
    """One line for each assert that a prompt shows of `tests`. Raises: SyntaxError for what is no Python."""
    return [line for test in tests for line in _shown_of(test.strip())]


@functools.lru_cache(maxsize=4096)  # each phase, temperature and sample builds the prompts again
def _shown_of(test: str) -> tuple[str, ...]:
    if test.startswith("assert") and "\n" not in test:
        return (test,)
    return tuple(_literal_asserts(ast.parse(test)))


def _literal_asserts(tree: ast.Module) -> Iterator[str]:
    """Asserts that call the tested function and otherwise read nothing but builtins and what the test imports.

    Those that depend on a loop or a computed value are left out, and so are `assert True` and the messages, which
    would tell the model about the tests.
    """
    statements = list(_statements(tree.body))
    own_imports: list[ast.stmt] = [node for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    imports = imported_names(ast.Module(own_imports, []))
    computed = {name for node in statements for name in _names_made_by(node)} - imports
    given = {*dir(builtins), *imports} - computed
    for body, parameter, tested in _tested_bodies(tree):
        for statement in (node for node in _statements(body) if isinstance(node, ast.Assert)):
            condition = _Renamed(parameter, tested).visit(statement.test)
            names = [node for node in ast.walk(condition) if isinstance(node, ast.Name)]
            read = {name.id for name in names} - {name.id for name in names if isinstance(name.ctx, ast.Store)}
            if tested in read and read - {tested} <= given:
                yield f"assert {ast.unparse(condition)}"


def _tested_bodies(tree: ast.Module) -> Iterator[tuple[list[ast.stmt], str, str]]:
    """Bodies of functions that the test calls with a name: `check(add)` says what `candidate` is in `check`."""
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for statement in tree.body:
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id=name), args=[ast.Name(id=tested)])) if name in functions:
                arguments = functions[name].args.args
                if len(arguments) == 1:
                    yield functions[name].body, arguments[0].arg, tested


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements at any depth, outer ones first; expressions, which may be megabytes of data, are not entered."""
    waiting = deque(body)
    while waiting:
        node = waiting.popleft()
        yield node
        for part in (node, *getattr(node, "handlers", []), *getattr(node, "cases", [])):
            for field in ("body", "orelse", "finalbody"):
                waiting += getattr(part, field, [])


def _names_made_by(statement: ast.stmt) -> Iterator[str]:
    targets: list[ast.expr] = []
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield statement.name
            yield from (node.arg for node in ast.walk(statement.args) if isinstance(node, ast.arg))
        case ast.ClassDef():
            yield statement.name
        case ast.Assign():
            targets = statement.targets
        case ast.AugAssign() | ast.AnnAssign() | ast.For() | ast.AsyncFor():
            targets = [statement.target]
        case ast.With() | ast.AsyncWith():
            targets = [item.optional_vars for item in statement.items if item.optional_vars]
    for target in targets:
        yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


class _Renamed(ast.NodeTransformer):
    """Replaces one name by another."""

    def __init__(self, old: str, new: str):
        self._old, self._new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self._new, node.ctx), node) if node.id == self._old else node
