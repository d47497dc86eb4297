"""HumanEval's rows, which EvalPlus' rows of HumanEval+ are too, as problems.

The test code is kept whole, and runs as it stands. What the prompt says of the problem:

1. the docstring of the tested function, examples included, wherever it stands in the body (task 115 imports first);
2. before it, such further functions of the row's prompt as the docstring names (tasks 32, 38 and 50), in full;
3. and the signature, where neither the docstring nor an assert that is shown names the tested function.

Source: Chen et al. 2021, arXiv 2107.03374.
"""

import ast
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

from common.problems.problem import Problem, RowReader, problem_from_row
from common.problems.syntax import module_names, unbound_names

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def humaneval_problem(row: Mapping[str, Any], where: str) -> Problem:
    """One row with the fields task_id, prompt, canonical_solution, entry_point and test as a problem.

    What the test looks up and the row's prompt defines (the imports and helpers of tasks 32, 38 and 50) becomes setup
    code: in HumanEval a program begins with that prompt; here it is what a model writes, and may lack them.

    Raises: ConfigError naming the field, what it holds and what was expected.
    """
    reader = RowReader(row, where)
    prompt, solution = reader.text("prompt", required=True), reader.text("canonical_solution", required=True)
    entry_point, test = reader.text("entry_point", required=True), reader.text("test", required=True)
    body = reader.parse("canonical_solution", prompt + solution).body
    tested = [node for node in body if isinstance(node, _Function) and node.name == entry_point]
    if not tested:
        raise reader.fail("entry_point", f"is {entry_point!r}, which field 'prompt' does not define", "its function")
    test = _calling_check(test, entry_point)
    n_lines = prompt.count("\n") + (not prompt.endswith("\n"))
    rest = [node for node in body if node not in tested and node.lineno <= n_lines]
    return problem_from_row(
        {
            "task_id": row.get("task_id"),
            "text": _description(tested[-1], rest, prompt, reader.shown_of(test)),
            "code": prompt + solution,
            "test": test,
            "test_setup_code": _needed_by(test, rest, prompt),
            "entry_point": entry_point,
        },
        where,
    )


def _calling_check(test: str, entry_point: str) -> str:
    """The test with the call that HumanEval's harness adds: `check(entry_point)`, unless it stands there already."""
    defined, called = (re.search(pattern, test, re.MULTILINE) for pattern in (r"^def check\(", r"^check\("))
    return test if called or not defined else f"{test.rstrip()}\n\n\ncheck({entry_point})\n"


def _description(tested: _Function, rest: Sequence[ast.stmt], prompt: str, shown: Sequence[str]) -> str:
    docstring = inspect.cleandoc(next(filter(None, map(_text_of, tested.body)), ""))
    helpers = [node for node in rest if isinstance(node, _Function | ast.ClassDef) and _names(docstring, node.name)]
    parts = [_source(node, prompt) for node in helpers]
    if not _names("\n".join([docstring, *shown]), tested.name):
        parts.append(_signature(tested))
    return "\n\n".join(filter(None, [*parts, docstring]))


def _text_of(statement: ast.stmt) -> str:
    match statement:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return text
    return ""


def _names(text: str, name: str) -> bool:
    return re.search(rf"\b{re.escape(name)}\b", text) is not None


def _signature(function: _Function) -> str:
    keyword = "async def" if isinstance(function, ast.AsyncFunctionDef) else "def"
    returns = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return f"{keyword} {function.name}({ast.unparse(function.args)}){returns}:"


def _needed_by(test: str, rest: Sequence[ast.stmt], prompt: str) -> str:
    """The statements of the prompt that the test needs, and those that they need, in the prompt's order."""
    if not any(name in test for name in module_names(rest)):
        return ""  # so for nearly every row, and the test may be megabytes
    needed: set[int] = set()
    wanted = unbound_names(test)
    while True:
        more = {i for i, node in enumerate(rest) if i not in needed and wanted & module_names([node]).keys()}
        if not more:
            return "\n".join(_source(rest[i], prompt) for i in sorted(needed))
        needed |= more
        wanted = {name for i in more for name in unbound_names(_source(rest[i], prompt))}


def _source(node: ast.stmt, prompt: str) -> str:
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return "\n".join(prompt.split("\n")[first - 1 : node.end_lineno])
