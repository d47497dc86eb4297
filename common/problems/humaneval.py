"""HumanEval rewritten to MBPP's schema: description, reference program, and literal asserts."""

import ast
import builtins
import inspect
from collections.abc import Mapping
from typing import Any

from common.problems.record import Problem, problem_from_row
from common.problems.syntax import parse_python


def humaneval_problem(row: Mapping[str, Any]) -> Problem | None:
    """One row of HumanEval as a problem, or None when no assert of it can be taken literally.

    The description is the docstring of the tested function, examples included. An assert is
    taken when it calls `candidate` and reads nothing but builtins, modules the test imports
    and the tested function: those that depend on a loop or a computed value are left out, and
    so are `assert True` and the messages (which would tell the model about the tests).

    Raises: ConfigError when the row is not in HumanEval's schema. Source: Chen et al. 2021, arXiv 2107.03374.
    """
    where = f"openai/openai_humaneval, {row['task_id']}"
    entry_point = row["entry_point"]
    tests, imports = literal_asserts(row["test"], entry_point)
    if not tests:
        return None
    return problem_from_row(
        {
            "task_id": int(row["task_id"].rpartition("/")[2]),
            "text": _description(row["prompt"], entry_point),
            "code": row["prompt"] + row["canonical_solution"],
            "test_list": tests,
            "test_imports": imports,
            "entry_point": entry_point,
        },
        where,
    )


def literal_asserts(test: str, entry_point: str) -> tuple[list[str], list[str]]:
    """Asserts of `check(candidate)` that stand alone, calling `entry_point`, and the imports they need."""
    tree = parse_python(test)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    module_of = {alias.asname or alias.name.split(".")[0]: node for node in imports for alias in node.names}
    known = {*dir(builtins), *module_of, entry_point}
    asserts, needed = [], []
    for statement in (node for node in ast.walk(tree) if isinstance(node, ast.Assert)):
        condition = _Renamed("candidate", entry_point).visit(statement.test)
        names = [node for node in ast.walk(condition) if isinstance(node, ast.Name)]
        bound = {name.id for name in names if isinstance(name.ctx, ast.Store)}
        read = {name.id for name in names} - bound
        if entry_point in read and read <= known:
            asserts.append(f"assert {ast.unparse(condition)}")
            needed += [ast.unparse(module_of[name]) for name in sorted(read & module_of.keys())]
    return asserts, list(dict.fromkeys(needed))


def _description(prompt: str, entry_point: str) -> str:
    functions = [node for node in parse_python(prompt).body if isinstance(node, ast.FunctionDef)]
    docstrings = [ast.get_docstring(node, clean=False) for node in functions if node.name == entry_point]
    return inspect.cleandoc(docstrings[-1] or "") if docstrings else ""


class _Renamed(ast.NodeTransformer):
    """Replaces one name by another."""

    def __init__(self, old: str, new: str):
        self._old, self._new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self._new, node.ctx), node) if node.id == self._old else node
