"""A dataset's setup code: what of it the program needs, and what belongs to the tests.

Setup runs after the program and before the tests, with the tests. But a class or function that the program
itself uses must exist on its side. A *value* that it uses could hold what is expected, and so could a definition
that checks, or a function that the tests call too: none of these ever goes there.
"""

import ast
import builtins
import re
from collections.abc import Sequence

from common.sandbox.entry_point import imported_names, parse_quietly

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_DEFINITIONS = (*_FUNCTIONS, ast.ClassDef)


def split_setup(setup: str, code: str, tests: Sequence[str] = ()) -> tuple[str, str, str | None]:
    """(source for the program's side, source for the tests' side, why these tests cannot be judged or None)."""
    tree = parse_quietly(setup)
    if tree is None or not tree.body:
        return "", setup, None
    wanted = _wanted_names(tree, code)
    given: list[ast.stmt] = []
    kept: list[ast.stmt] = []
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            given.append(node)
            kept.append(node)
        elif isinstance(node, _DEFINITIONS):
            if node.name in wanted and _may_hold_answers(node, tests):
                return "", "", f"the program uses {node.name}, which the tests' setup holds for its tests"
            (given if node.name in wanted else kept).append(node)
        else:
            kept.append(node)
            assigned = {
                part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
            if assigned & wanted:
                name = sorted(assigned & wanted)[0]
                return "", "", f"the program reads {name}, a value that the tests' setup holds"
    return "\n".join(map(ast.unparse, given)), "\n".join(map(ast.unparse, kept)), None


def _may_hold_answers(node: ast.stmt, tests: Sequence[str]) -> bool:
    """Whether a definition checks something, or is a function that the tests call beside the program."""
    if any(isinstance(part, ast.Assert) or _names_a_check(part) for part in ast.walk(node)):
        return True
    return isinstance(node, _FUNCTIONS) and any(re.search(rf"\b{node.name}\b", test) for test in tests)


def _names_a_check(node: ast.AST) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.startswith(("assert", "AssertionError"))


def _wanted_names(setup: ast.Module, code: str) -> set[str]:
    """Names that the program needs of the setup: those that it reads, and what the definitions among them read."""
    program = parse_quietly(code)
    wanted = _free_names(program) if program is not None else set()
    definitions = {node.name: node for node in setup.body if isinstance(node, _DEFINITIONS)}
    unread = wanted & definitions.keys()
    while unread:
        names = _free_names(definitions[unread.pop()]) - wanted
        wanted |= names
        unread |= names & definitions.keys()
    return wanted


def _free_names(tree: ast.AST) -> set[str]:
    """Names that a program or a definition reads and does not bind anywhere."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    bound = imported_names(tree) | {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
    return read - bound - set(dir(builtins))
