"""One programming problem, and the checks every problem passes, wherever it was read."""

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from common.errors import ConfigError
from common.problems.shown_asserts import shown_asserts
from common.problems.syntax import module_names, parse_python, tested_name

_LARGEST_TASK_ID = 2**63 - 1  # parquet's int64
_SCHEMA_FIELDS = {"task_id", "text", "prompt", "code", "test_list", "test_setup_code", "test_imports"}
_SCHEMA_FIELDS |= {"challenge_test_list", "entry_point", "test"}
_NUMBERED_NAME = re.compile(r"\w+/(\d{1,19})")  # of HumanEval and EvalPlus: "HumanEval/12", "Mbpp/2"

ProblemRow = dict[str, Any]  # `Problem.row()`, and the columns that phases 0 and 0.1 add


@dataclass(frozen=True)
class Problem:
    """A problem in MBPP's schema; line ends are \\n throughout.

    `test_list` holds what a program must pass: asserts, one statement and one line each, and after them whole test
    code where the dataset has it (`test` of HumanEval and EvalPlus). The prompt shows what `shown_asserts` takes of it.
    `test_setup_code` runs after the program and before the tests: in MBPP it builds objects
    of a class that the program defines. `attributes` are the file's further fields.
    """

    task_id: int
    text: str
    code: str
    test_list: tuple[str, ...]
    test_setup_code: str = ""
    challenge_test_list: tuple[str, ...] = ()
    entry_point: str = ""
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)

    def row(self) -> dict[str, Any]:
        """The problem as the tables of phases 0 and 0.1 hold it."""
        tests, further = list(self.test_list), list(self.challenge_test_list)
        attributes = json.dumps(self.attributes, sort_keys=True)
        return {**vars(self), "test_list": tests, "challenge_test_list": further, "attributes": attributes}

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> "Problem":
        """What a `row` says of the problem itself: its number, words, solution and tests."""
        told = {name: row[name] for name in ("task_id", "text", "code", "entry_point")}
        return cls(**told, test_list=tuple(row["test_list"]))


def problem_from_row(row: Mapping[str, Any], where: str) -> Problem:
    """The problem in one row of MBPP's schema (text, test_setup_code) or sanitized MBPP's (prompt, test_imports).

    Either may have `test`, whole test code beside the asserts or in their place, as EvalPlus' rows of MBPP+ do.

    `where` opens every message: "problems.jsonl, line 3".

    Raises: ConfigError naming the field, what it holds and what was expected.
    """
    reader = RowReader(row, where)
    text_field = "text" if "text" in row or "prompt" not in row else "prompt"
    code = reader.text("code", required=True)
    whole = reader.whole_test()
    asserts = reader.tests("test_list", required=not whole)
    return Problem(
        task_id=reader.task_id(),
        text=reader.text(text_field, required=True),
        code=code,
        test_list=(*asserts, *whole),
        test_setup_code=reader.setup_code(),
        challenge_test_list=reader.tests("challenge_test_list", required=False),
        entry_point=reader.entry_point(code, asserts or whole),
        attributes=reader.attributes(),
    )


def one_line_ends(source: str) -> str:
    """`source` with every line end as \\n. Python reads \\r\\n and \\r as line ends too, so code keeps its meaning."""
    return source.replace("\r\n", "\n").replace("\r", "\n")


def shown(value: Any) -> str:
    """A value as an error message shows it: its repr, at most 80 characters."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a {type(value).__name__} that is nested too deeply"
    except ValueError:  # an int of more than 4300 digits has no repr
        return f"an int of {value.bit_length()} bits"
    return text if len(text) <= 80 else text[:77] + "..."


class RowReader:
    """Reads one row's fields, each with its own check."""

    def __init__(self, row: Mapping[str, Any], where: str):
        self._row, self._where = row, where

    def fail(self, name: str, complaint: str, expected: str) -> ConfigError:
        return ConfigError(f"{self._where}: field '{name}' {complaint}\nGive {expected}")

    def task_id(self) -> int:
        expected = f"a whole number from 0 to {_LARGEST_TASK_ID}, such as 17"
        if "task_id" not in self._row:
            raise self.fail("task_id", "is missing", expected)
        value = self._row["task_id"]
        numbered = _NUMBERED_NAME.fullmatch(value) if isinstance(value, str) else None
        if numbered:
            value = int(numbered[1])
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_TASK_ID:
            raise self.fail("task_id", f"is {shown(value)}", expected)
        return value

    def text(self, name: str, *, required: bool) -> str:
        value = self._row.get(name)
        if value is None and not required:
            return ""
        expected = "non-empty text" if required else "text"
        if name not in self._row:
            also = " (or 'prompt')" if name == "text" else ""
            raise self.fail(name, "is missing" + also, expected)
        value = self._checked_text(name, value, expected)
        if required and not value.strip():
            raise self.fail(name, f"is {shown(value)}", expected)
        value = one_line_ends(value)
        if name in ("code", "test_setup_code"):
            self.parse(name, value)
        return value

    def tests(self, name: str, *, required: bool) -> tuple[str, ...]:
        """Asserts, one statement and one line each."""
        expected = 'a list of assert statements, such as ["assert add(1, 2) == 3"]'
        value = self._row.get(name)
        if value is None and not required:
            return ()
        if name not in self._row:
            raise self.fail(name, "is missing", expected)
        if not isinstance(value, list) or (required and not value):
            raise self.fail(name, f"is {shown(value)}", expected)
        return tuple(self._one_assert(f"{name}[{index}]", test) for index, test in enumerate(value))

    def whole_test(self) -> tuple[str, ...]:
        """The row's test code, if it has any."""
        if self._row.get("test") is None:
            return ()
        test = self.text("test", required=True)
        self.shown_of(test)  # parses it
        return (test,)

    def shown_of(self, test: str) -> list[str]:
        """What a prompt shows of the row's test code."""
        try:
            return shown_asserts([test])
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise self._no_python("test", test, error) from None

    def arguments(self, name: str) -> list[list[Any]]:
        """Lists of arguments, one for each call of the tested function."""
        value = self._row.get(name)
        if not isinstance(value, list) or not all(isinstance(item, list) for item in value):
            raise self.fail(name, f"is {shown(value)}", "a list with one list of arguments for each call")
        return value

    def number(self, name: str) -> float:
        value = self._row.get(name, 0)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.fail(name, f"is {shown(value)}", "a number, such as 1e-06")
        return value

    def setup_code(self) -> str:
        imports = self._row.get("test_imports")
        if imports is None:
            return self.text("test_setup_code", required=False)
        if not isinstance(imports, list):
            raise self.fail(
                "test_imports", f"is {shown(imports)}", 'a list of import statements, such as ["import math"]'
            )
        for line in imports:
            self._checked_text("test_imports", line, "a list of import statements")
        source = one_line_ends("\n".join([*imports, self.text("test_setup_code", required=False)])).rstrip("\n")
        self.parse("test_imports", source)
        return source

    def entry_point(self, code: str, tests: tuple[str, ...]) -> str:
        tree = parse_python(code)
        given = self._row.get("entry_point")
        if given is not None:
            if not isinstance(given, str) or given not in module_names(tree.body):
                raise self.fail(
                    "entry_point", f"is {shown(given)}, which field 'code' does not define", self._names_defined(tree)
                )
            return given
        name = tested_name(tree, [parse_python(test) for test in tests])
        if name is None:
            raise self.fail(
                "test_list", f"calls nothing that field 'code' defines: {shown(tests[0])}", self._names_defined(tree)
            )
        return name

    def attributes(self) -> dict[str, Any]:
        extra = {name: value for name, value in self._row.items() if name not in _SCHEMA_FIELDS}
        try:
            json.dumps(extra, allow_nan=False, ensure_ascii=False).encode("utf-8")
        except (TypeError, ValueError) as error:
            raise self.fail(
                ", ".join(extra), f"cannot be written as JSON ({error})", "text, numbers, lists and objects"
            ) from None
        return extra

    def _names_defined(self, tree: ast.Module) -> str:
        names = ", ".join(module_names(tree.body)) or "nothing"
        return f"a name that the code defines at its top level (it defines: {names})"

    def _checked_text(self, name: str, value: Any, expected: str) -> str:
        if not isinstance(value, str):
            raise self.fail(name, f"is {shown(value)} ({type(value).__name__})", expected)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise self.fail(
                name, f"holds half a character (a lone surrogate) at position {error.start}", expected
            ) from None
        return value

    def parse(self, name: str, source: str) -> ast.Module:
        try:
            return parse_python(source)
        except SyntaxError as error:
            raise self._no_python(name, source, error) from None

    def _no_python(self, name: str, source: str, error: Exception) -> ConfigError:
        line, text = (error.lineno, error.text) if isinstance(error, SyntaxError) else (None, None)
        message = error.msg if isinstance(error, SyntaxError) else error
        complaint = f"does not parse: {message}, at its line {line or 1}: {shown((text or source).strip())}"
        return self.fail(name, complaint, "Python source")

    def _one_assert(self, name: str, test: Any) -> str:
        expected = 'one assert statement, such as "assert add(1, 2) == 3"'
        test = one_line_ends(self._checked_text(name, test, expected)).strip()
        body = self.parse(name, test).body
        if len(body) != 1 or not isinstance(body[0], ast.Assert):
            raise self.fail(name, f"is {shown(test)}", expected)
        # The prompt shows one test to a line, and each line must parse alone.
        return ast.unparse(body[0]) if "\n" in test else test
