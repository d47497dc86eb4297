"""A dataset's setup code: what of it the program needs, and what belongs to the tests.

Setup runs after the program and before the tests, with the tests. But a class or function that the program
itself uses must exist on its side; a *value* that it uses could hold what is expected, and never goes there.
"""

import ast
import builtins

from common.sandbox.entry_point import parse_quietly

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def split_setup(setup: str, code: str) -> tuple[str, str, str | None]:
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


def _wanted_names(setup: ast.Module, code: str) -> set[str]:
    """Names that the program needs of the setup: those that it reads, and what the definitions among them read."""
    program = parse_quietly(code)
    wanted = _free_names(program) if program is not None else set()
    definitions = {node.name: node for node in setup.body if isinstance(node, _DEFINITIONS)}
    unread = wanted & definitions.keys()
    while unread:
        found = _free_names(definitions[unread.pop()]) - wanted
        wanted |= found
        unread |= found & definitions.keys()
    return wanted


def _free_names(tree: ast.AST) -> set[str]:
    """Names that a program or a definition reads and does not bind anywhere."""
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    read = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in names if not isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.alias):
            bound.add((node.asname or node.name).split(".")[0])
    return read - bound - set(dir(builtins))
