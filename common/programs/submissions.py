"""One program to judge, and the field of its row that holds it."""

from dataclasses import dataclass
from typing import Any

from common.errors import ConfigError
from common.problems.json_values import field_of
from common.programs.problem_files import Problems
from common.programs.suites import REFERENCE_FIELD, Suite, has_tests, suite_of
from common.sandbox import Program

# Where several stand in a row, the first of a pair is what was judged by whoever wrote the row: the original
# pva_sae has the reference in `code`; EvalPlus takes `solution` where there is a `completion` too.
_PREFERRED = (("generated_code", "code"), ("solution", "completion"))
FIELDS = ("code", "generated_code", "solution", "completion")
_CONTINUATIONS = ("completion", REFERENCE_FIELD)  # of the problem's prompt


@dataclass(frozen=True)
class Submission:
    """What its owner calls it, the program, and a hash of all that judges it."""

    id: str | int
    program: Program
    suite_sha256: str


class ProgramField:
    """Which field of a row holds the program; one for each file, since rows of one file must agree.

    `name` is the user's choice.
    """

    def __init__(self, name: str | None):
        self.name = name
        self._code_alone = ""  # where that was seen first
        self._code_beside_generated = False

    def of(self, row: dict[str, Any], where: str) -> str:
        """The field's name. Raises: ConfigError when none holds a program, or nobody can say which does."""
        if self.name is not None:
            field_of(row, (self.name,), (str,), where)
            return self.name
        given = [name for name in FIELDS if row.get(name) is not None]
        if not given:
            field_of(row, FIELDS[:2], (str,), where)  # says that it is missing
        self._refuse_a_reference(row, where)
        for preferred, other in _PREFERRED:
            if preferred in given and other in given:
                given.remove(other)
        if len({field_of(row, (name,), (str,), where) for name in given}) > 1:
            raise ConfigError(
                f"{where}: fields {' and '.join(map(repr, given))} both hold a program\nSay which: --field {given[0]}"
            )
        return given[0]

    def _refuse_a_reference(self, row: dict[str, Any], where: str) -> None:
        """Where `generated_code` stands beside it, `code` is the reference; alone there, it is nobody's answer."""
        if row.get("code") is None:
            return
        if row.get("generated_code") is None:
            self._code_alone = self._code_alone or where
        else:
            self._code_beside_generated = True
        if self._code_alone and (self._code_beside_generated or "generated_code" in row):
            raise ConfigError(
                f"{self._code_alone}: field 'code' has no 'generated_code' beside it, and is the reference where it has"
                f"\nAdd the program that is to be judged, or say which field holds it: --field code"
            )


def submission_of(row: dict[str, Any], where: str, problems: Problems | None, field: ProgramField) -> Submission:
    """The program of one row, judged by the row's own tests or else by the problem that its task_id names.

    Raises: ConfigError, naming field and value.
    """
    name = field_of(row, ("id", "task_id"), (str, int), where)
    chosen = field.of(row, where)
    if problems is not None and not has_tests(row):
        suite = problems.find(field_of(row, ("task_id", "id"), (str, int), where), where)
    elif not has_tests(row) and chosen in ("solution", "completion"):
        raise ConfigError(
            f"{where}: field 'tests' is missing, as in samples of HumanEval and EvalPlus: {name!r}\n"
            f"Give the file of problems: --dataset HumanEval.jsonl"
        )
    else:
        suite = suite_of(row, where)
    code = row[chosen]
    if chosen in _CONTINUATIONS:
        if suite.prompt is None and field.name is None:
            raise ConfigError(
                f"{where}: field '{chosen}' continues a prompt, and {name!r} has none that is code\n"
                f"Give the file of problems with --dataset, or say that it is the whole program: --field {chosen}"
            )
        code = (suite.prompt or "") + code
    return made(name, code, suite, where)


def made(name: str | int, code: str, suite: Suite, where: str) -> Submission:
    """Raises: ConfigError when nothing says which function of the program is tested."""
    return Submission(name, suite.program(code, where), suite.sha256)
