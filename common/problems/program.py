"""The program in the lines of one block: as many as parse together, without what only tests, shows or talks."""

import ast
import re
from collections.abc import Sequence

from common.problems.statements import definitions_only, idle_statements
from common.problems.syntax import module_names, parse_python

_UNREADABLE = re.compile("[\0\ud800-\udfff]")  # the parser refuses these without naming a line


def program_in(lines: list[str], body: Sequence[ast.stmt], entry_point: str) -> str:
    """The program, ending with one newline, in lines and their statements, which define the function."""
    return _without(lines, body, idle_statements(body, entry_point))


def helpers_in(lines: Sequence[str], tested: str = "") -> str | None:
    """What lines define besides the tested function's own runs, as a program; None if that is nothing."""
    good, body = longest_prefix(lines)
    idle = definitions_only(body, tested)
    kept = [item for index, item in enumerate(body) if index not in idle]
    return _without(good, body, idle) if module_names(kept) else None


def longest_prefix(lines: Sequence[str]) -> tuple[list[str], list[ast.stmt]]:
    """The most lines from the beginning that parse together, and their statements.

    An error at line n is an error of every prefix that holds line n, so the next try ends
    before it. The parser names no line when its stack is full: the longest line is the likely cause.
    """
    unreadable = (index for index, line in enumerate(lines) if _UNREADABLE.search(line))
    good = list(lines[: next(unreadable, len(lines))])
    while good:
        try:
            return good, parse_python("\n".join(good) + "\n").body
        except SyntaxError as error:
            n_longest = max(range(len(good)), key=lambda index: len(good[index]))
            n_good = n_longest if error.lineno is None else error.lineno - 1
            good = good[: max(0, min(n_good, len(good) - 1))]
    return [], []


def _without(lines: list[str], body: Sequence[ast.stmt], idle: set[int]) -> str:
    """The lines up to the last statement that is kept, without those that hold only idle ones."""
    kept = [item for index, item in enumerate(body) if index not in idle]
    last = kept[-1]
    after = next((item for item in body if item.lineno == last.end_lineno and item.col_offset > last.col_offset), None)
    wanted = {number for item in kept for number in _line_numbers(item)}
    unwanted = {number for index in idle for number in _line_numbers(body[index])} - wanted
    program = [line for number, line in enumerate(lines[: last.end_lineno], 1) if number not in unwanted]
    if after is not None:
        program[-1] = program[-1].encode()[: last.end_col_offset].decode()
    return "\n".join(program) + "\n"


def _line_numbers(statement: ast.stmt) -> range:
    """Of a definition, those of its decorators too."""
    first = min([statement.lineno, *(item.lineno for item in getattr(statement, "decorator_list", []))])
    return range(first, (statement.end_lineno or first) + 1)
