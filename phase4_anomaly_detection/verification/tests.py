"""The tests given, in the project's own sandbox: values judged outside, so that a program cannot forge a pass."""

from collections.abc import Sequence

from common.sandbox import Program, Sandbox, infer_entry_point
from phase4_anomaly_detection.verification.checks import ERROR, FAILED, PASSED, SKIPPED, Check

NAME = "tests"
_STATUS = {"correct": PASSED, "incorrect": FAILED, "unsupported": SKIPPED, "not_run": ERROR}


def check_tests(code: str, tests: Sequence[str], setup: str, sandbox: Sandbox) -> Check:
    """passed when every assert holds; skipped where they cannot be judged by value."""
    program = Program(code, tuple(tests), infer_entry_point(code, tuple(tests)), setup)
    verdict = sandbox.submit(program).result()
    if verdict.label == "correct":
        return Check(NAME, PASSED, f"{len(tests)} test{'s' if len(tests) != 1 else ''} passed")
    parts = [
        verdict.error or verdict.label,
        verdict.message,
        f"in: {verdict.failed_test}" if verdict.failed_test else "",
    ]
    return Check(NAME, _STATUS[verdict.label], "; ".join(part for part in parts if part))
