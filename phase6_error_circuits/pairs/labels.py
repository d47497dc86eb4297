"""What programs really raise: all are run in the sandbox.

1. Fifty at a time go into one process there, each into a module of its own, one after the other. What they raise comes
   back as a value; if it is what was wanted, every one of them has its label.
2. Those of a process where anything is otherwise are run again, each in a process by itself.
"""

from collections.abc import Mapping, Sequence

from common.errors import SandboxError
from common.sandbox import Sandbox
from common.sandbox.programs import Program
from common.sandbox.verdict import Verdict

NOTHING = "nothing"
TOGETHER = 50
_STOPPED = ("timeout", "killed")
_RUN_ALL = """
def raised():
    names = []
    for code in CODES:
        try:
            exec(compile(code, "<code>", "exec"), {"__name__": "candidate"})
        except BaseException as error:
            names.append(type(error).__name__)
        else:
            names.append(NOTHING)
    return names
"""
# The sandbox runs a program and then its tests: one that fails by itself fails before its test, which is there to tell.
_REACHED = "assert reached() is None"


def raised_errors(sandbox: Sandbox, wanted: Mapping[str, str]) -> dict[str, str]:
    """By program, the class of the exception that it raises, or that compiling it does; NOTHING where there is none.

    `wanted` tells what each program should raise: that saves time where it does, and changes no label. A program that
    is stopped is named by what stopped it. Raises: SandboxError where one could not be run.
    """
    codes = list(wanted)
    groups = [codes[start : start + TOGETHER] for start in range(0, len(codes), TOGETHER)]
    verdicts = sandbox.grade(_all_of(group, [wanted[code] for code in group]) for group in groups)
    apart = [code for group, verdict in zip(groups, verdicts, strict=True) if not _passed(verdict) for code in group]
    alone = sandbox.grade(Program(code, (_REACHED,), None) for code in apart)
    return {**wanted, **{code: _raised(code, verdict) for code, verdict in zip(apart, alone, strict=True)}}


def _all_of(codes: Sequence[str], wanted: Sequence[str]) -> Program:
    head = f"NOTHING, CODES = {NOTHING!r}, {list(codes)!r}\n"
    return Program(head + _RUN_ALL, (f"assert raised() == {list(wanted)!r}",), "raised")


def _passed(verdict: Verdict) -> bool:
    return verdict.label == "correct"


def _raised(code: str, verdict: Verdict) -> str:
    if verdict.label == "not_run":
        raise SandboxError(f"a program of a pair could not be run: {verdict.message}, {code!r:.200}\nRun it again")
    if verdict.error in _STOPPED:
        return str(verdict.error)
    return NOTHING if verdict.failed_test is not None else verdict.message.partition(":")[0]
