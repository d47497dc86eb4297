"""What judges the programs of one problem, out of a row of any of the schemas in which problems are published.

The tests stay as they are written: a list of statements, one text, or HumanEval's `check(candidate)`.
"""

import ast
import functools
import json
from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError
from common.files import text_sha256
from common.problems.evalplus import plus_tests
from common.problems.record import shown
from common.programs.json_values import field_of
from common.sandbox import Program, infer_entry_point
from common.sandbox.entry_point import defined_names, parse_quietly

REFERENCE_FIELD = "canonical_solution"
_TEST_LISTS = ("tests", "test_list")
_INPUTS = ("base_input", "plus_input")


@dataclass(frozen=True)
class Suite:
    """`prompt` is the code that a completion continues, None where a program stands alone.

    Without `entry_point`, it is found in each program by what the tests call.
    """

    tests: tuple[str, ...]
    entry_point: str | None = None
    setup: str = ""
    reference: str = ""
    prompt: str | None = None

    def program(self, code: str, where: str) -> Program:
        """Raises: ConfigError when nothing says which function is tested."""
        entry_point = self.entry_point or tested_function(code, self.tests, where)
        return Program(code, self.tests, entry_point, self.setup, self.reference)

    @functools.cached_property
    def sha256(self) -> str:
        """Of all that a verdict depends on besides the code; computed once for all programs of a problem."""
        return text_sha256(json.dumps([self.tests, self.entry_point, self.setup, self.reference]))


def has_tests(row: dict[str, Any]) -> bool:
    return any(row.get(name) is not None for name in (*_TEST_LISTS, "test", *_INPUTS))


def suite_of(row: dict[str, Any], where: str, solution: str | None = None) -> Suite:
    """The suite of a problem in the schema of MBPP (full, sanitized or plus), HumanEval or EvalPlus.

    `solution` is a program that is known to be right: it tells the tested function where no field does.
    Raises: ConfigError, naming field and value.
    """
    entry_point = field_of(row, ("entry_point",), (str,), where, default="") or None
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or (REFERENCE_FIELD not in row and not defined_names(prompt)):
        prompt = None  # words, not the beginning of a program
    if row.get(_INPUTS[0]) is not None:
        reference = (prompt or "") + field_of(row, (REFERENCE_FIELD,), (str,), where)
        tests, setup = (plus_tests(row, where),), ""
    else:
        tests, setup, reference = _tests(row, where), _setup(row, where), ""
    if entry_point is None and solution is not None:
        entry_point = tested_function(solution, tests, where)
    return Suite(tests, entry_point, setup, reference, prompt)


def tested_function(code: str, tests: tuple[str, ...], where: str) -> str | None:
    """The function of `code` that the tests are about; None when they call none.

    Raises: ConfigError when only `check(candidate)` says so, and the code has several functions.
    """
    checks, argument = _check(tests)
    if not checks:
        return infer_entry_point(code, tests)
    functions = sorted(defined_names(code))
    if argument is None and len(functions) != 1:
        raise ConfigError(
            f"{where}: field 'entry_point' is missing: the tests call check(candidate), and the code defines "
            f"{', '.join(functions) or 'nothing'}\nAdd entry_point, the name of the tested function"
        )
    return argument or functions[0]


@functools.lru_cache(maxsize=256)
def _check(tests: tuple[str, ...]) -> tuple[bool, str | None]:
    """Whether the tests define HumanEval's `check(candidate)`, and the name that they call it with, if they do."""
    statements = [node for test in tests if "check" in test for node in getattr(parse_quietly(test), "body", [])]
    defines = any(isinstance(node, ast.FunctionDef) and node.name == "check" for node in statements)
    for node in statements:
        match node:
            case ast.Expr(value=ast.Call(func=ast.Name(id="check"), args=[ast.Name(id=argument)])):
                return defines, argument
    return defines, None


def _tests(row: dict[str, Any], where: str) -> tuple[str, ...]:
    given = [name for name in _TEST_LISTS if row.get(name) is not None]
    if len(given) > 1 and row[given[0]] != row[given[1]]:
        raise ConfigError(
            f"{where}: fields 'tests' and 'test_list' both stand there, and differ: {shown(row['test_list'])}\n"
            f"Leave one of them out"
        )
    names = [*given[:1], *(["test"] if row.get("test") is not None else [])]
    if not names:
        field_of(row, _TEST_LISTS, (list,), where)  # says that it is missing
    found: list[str] = []
    for name in names:
        tests = field_of(row, (name,), (list, str), where)
        found += [tests] if isinstance(tests, str) else tests
    if not all(isinstance(test, str) for test in found) or not "".join(found).strip():
        raise ConfigError(f"{where}: field '{names[0]}' is {shown(row[names[0]])}\nGive a list of asserts, as text")
    return tuple(found)


def _setup(row: dict[str, Any], where: str) -> str:
    imports = field_of(row, ("test_imports",), (list, str), where, default=[])
    imports = [imports] if isinstance(imports, str) else imports
    if not all(isinstance(line, str) for line in imports):
        raise ConfigError(f"{where}: field 'test_imports' is {shown(imports)}\nGive a list of import statements")
    setup = field_of(row, ("setup", "test_setup_code"), (str,), where, default="")
    return "\n".join([*imports, setup]) if imports else setup
