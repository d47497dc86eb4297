"""The tests given, in the project's own sandbox: values judged outside, so that a program cannot forge a pass."""

from collections.abc import Sequence

from common.errors import SandboxError
from common.sandbox import Program, Sandbox, infer_entry_point
from common.sandbox.verdict import Verdict
from phase4_anomaly_detection.verification.checks import ERROR, FAILED, PASSED, SKIPPED, Check
from phase4_anomaly_detection.verification.processes import Patience

NAME = "tests"
_STATUS = {"correct": PASSED, "incorrect": FAILED, "unsupported": SKIPPED, "not_run": ERROR}
_TICK_S = 0.1


class GivenUp(SandboxError):
    """No verdict was waited for; the sandbox still runs the program."""


def check_tests(code: str, tests: Sequence[str], setup: str, sandbox: Sandbox, patience: Patience) -> Check:
    """passed when every assert holds; skipped where they cannot be judged by value. Raises: GivenUp."""
    verdict = _verdict(Program(code, tuple(tests), infer_entry_point(code, tuple(tests)), setup), sandbox, patience)
    if verdict.label == "correct":
        return Check(NAME, PASSED, f"{len(tests)} test{'s' if len(tests) != 1 else ''} passed")
    parts = [
        verdict.error or verdict.label,
        verdict.message,
        f"in: {verdict.failed_test}" if verdict.failed_test else "",
    ]
    return Check(NAME, _STATUS[verdict.label], "; ".join(part for part in parts if part))


def _verdict(program: Program, sandbox: Sandbox, patience: Patience) -> Verdict:
    answer = sandbox.submit(program)
    while patience.ended_by is None:
        try:
            return answer.result(min(_TICK_S, patience.left_s))
        except TimeoutError:
            if answer.done():  # the sandbox's own
                raise
    raise GivenUp(patience.ended_by)
