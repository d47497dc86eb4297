"""What judges the programs of one problem: the problem of a dataset, or the tests that a row brings.

A row's tests may be a list of statements, one text, or HumanEval's `check(candidate)`.
"""

import ast
import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError
from common.files import digest_of
from common.problems.evalplus import is_evalplus_row
from common.problems.for_sandbox import program_for
from common.problems.formats import problem_of
from common.problems.json_values import field_of
from common.problems.problem import Problem, shown
from common.sandbox import Program, infer_entry_point
from common.sandbox.entry_point import defined_names, parse_quietly

REFERENCE_FIELD = "canonical_solution"
_TEST_LISTS = ("tests", "test_list")


@dataclass(frozen=True)
class Suite:
    """What judges a program: one whose code is not there yet, without entry point where the tests say it of each.

    `prompt` is the code that a completion continues, None where a program stands alone.
    """

    judge: Program
    prompt: str | None = None

    def program(self, code: str, where: str) -> Program:
        """Raises: ConfigError when nothing says which function is tested."""
        return dataclasses.replace(self.judge, code=code, entry_point=self.entry_point(code, where))

    def entry_point(self, code: str, where: str) -> str | None:
        """The tested function of `code`. Raises: ConfigError, as `tested_function`."""
        return self.judge.entry_point or tested_function(code, self.judge.tests, where)

    @functools.cached_property
    def sha256(self) -> str:
        """Of all that a verdict depends on besides the code; computed once for all programs of a problem."""
        return digest_of(dataclasses.asdict(self.judge))


def has_tests(row: dict[str, Any]) -> bool:
    return is_evalplus_row(row) or any(row.get(name) is not None for name in (*_TEST_LISTS, "test"))


def suite_of_problem(problem: Problem, row: dict[str, Any]) -> Suite:
    """The suite of a problem, with the row that it was read from; one of EvalPlus' is judged as EvalPlus does."""
    judge = program_for(problem.row(), "")
    if judge.reference:  # EvalPlus runs its inputs alone, and shows MBPP's asserts
        judge = dataclasses.replace(judge, tests=judge.tests[-1:])
    return Suite(judge, row["prompt"] if REFERENCE_FIELD in row else None)


def suite_of(row: dict[str, Any], where: str, solution: str | None = None) -> Suite:
    """The suite in a row that has tests, which stay as they are written.

    `solution` is a program that is known to be right: it tells the tested function where no field does.
    Raises: ConfigError, naming field and value.
    """
    if is_evalplus_row(row):
        return suite_of_problem(problem_of(row, where), row)
    entry_point = field_of(row, ("entry_point",), (str,), where, default="") or None
    prompt = row.get("prompt")
    if not isinstance(prompt, str) or (REFERENCE_FIELD not in row and not defined_names(prompt)):
        prompt = None  # words, not the beginning of a program
    tests = _tests(row, where)
    if entry_point is None and solution is not None:
        entry_point = tested_function(solution, tests, where)
    return Suite(Program("", tests, entry_point, _setup(row, where)), prompt)


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
    all_tests: list[str] = []
    for name in names:
        tests = field_of(row, (name,), (list, str), where)
        all_tests += [tests] if isinstance(tests, str) else tests
    if not all(isinstance(test, str) for test in all_tests) or not "".join(all_tests).strip():
        raise ConfigError(f"{where}: field '{names[0]}' is {shown(row[names[0]])}\nGive a list of asserts, as text")
    return tuple(all_tests)


def _setup(row: dict[str, Any], where: str) -> str:
    imports = field_of(row, ("test_imports",), (list, str), where, default=[])
    imports = [imports] if isinstance(imports, str) else imports
    if not all(isinstance(line, str) for line in imports):
        raise ConfigError(f"{where}: field 'test_imports' is {shown(imports)}\nGive a list of import statements")
    setup = field_of(row, ("setup", "test_setup_code"), (str,), where, default="")
    return "\n".join([*imports, setup]) if imports else setup
