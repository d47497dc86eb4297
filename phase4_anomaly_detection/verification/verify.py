"""Look at one program with everything this machine has, and say what each look found.

    verify("def double(n: int) -> int:\\n    return n + n", ["assert double(2) == 4"])
    {"checks": [{"name": "syntax", "status": "passed", "detail": "it parses", "seconds": 0.04}, ...],
     "verdict": "passed"}

| check | with | runs the program |
|---|---|---|
| syntax | Python's parser | no |
| types | pyright or mypy, where one is installed | no |
| tests | the sandbox (common/sandbox), where tests are given | yes, confined |
| symbolic | CrossHair, where it is installed, on functions whose parameters all have types | yes, confined |

Verdicts: failed (it does not parse, or fails a test: it is wrong) | doubtful (types or CrossHair found something, which
correct programs have too) | passed (its tests passed, and nothing was found) | inconclusive (nothing was found, and no
tests were judged).
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from common.errors import ConfigError, SandboxError
from common.sandbox import Limits, Sandbox
from common.sandbox.levels import ISOLATIONS
from phase4_anomaly_detection.verification.checks import ERROR, FAILED, PASSED, SKIPPED, Check
from phase4_anomaly_detection.verification.symbolic import check_symbolic
from phase4_anomaly_detection.verification.syntax import check_syntax
from phase4_anomaly_detection.verification.tests import check_tests
from phase4_anomaly_detection.verification.types import check_types

CHECKS = ("syntax", "types", "tests", "symbolic")
VERDICTS = ("failed", "doubtful", "passed", "inconclusive")
SECONDS = 10.0


class Verifier:
    """Keeps a sandbox between programs. Thread-safe; programs are looked at one after the other."""

    def __init__(self, checks: Sequence[str] = CHECKS, isolation: str = "auto", seconds: float = SECONDS):
        """`isolation` is that of --sandbox; `seconds` is what types, tests and symbolic get, each."""
        unknown = [name for name in checks if name not in CHECKS]
        if unknown:
            raise ConfigError(f"there is no check '{unknown[0]}'\nGive some of: {', '.join(CHECKS)}")
        if isolation not in ISOLATIONS:
            raise ConfigError(f"the isolation is '{isolation}'\nGive one of: {', '.join(ISOLATIONS)}")
        if not 0 < seconds <= 3600:
            raise ConfigError(f"the time for a check is {seconds} s\nGive more than 0, and 3600 at most")
        self.checks, self.isolation, self.seconds = tuple(checks), isolation, seconds
        self._sandbox: Sandbox | None = None
        self._lock = threading.Lock()

    def verify(self, code: str, tests: Sequence[str] = (), setup: str = "") -> dict[str, Any]:
        """{"checks": [{name, status, detail, seconds}], "verdict"}; `setup` runs before the tests."""
        if not isinstance(code, str) or isinstance(tests, str) or not all(isinstance(test, str) for test in tests):
            raise ConfigError("a program is a text, and its tests are a list of texts\nGive verify(code, [test, ...])")
        with self._lock:
            found, parses = [], True
            for name in self.checks:
                began = time.monotonic()
                check = self._check(name, code, tests, setup) if parses else Check(name, SKIPPED, "it does not parse")
                parses = parses and not (name == "syntax" and check.status == FAILED)
                found.append((check, time.monotonic() - began))
        checks = [check for check, _ in found]
        return {"checks": [check.as_json(seconds) for check, seconds in found], "verdict": verdict_of(checks)}

    def _check(self, name: str, code: str, tests: Sequence[str], setup: str) -> Check:
        if name == "tests" and not tests:
            return Check(name, SKIPPED, "no tests were given")
        acts: dict[str, Callable[[], Check]] = {
            "syntax": lambda: check_syntax(code),
            "types": lambda: check_types(code, self.seconds),
            "tests": lambda: check_tests(code, tests, setup, self._open_sandbox()),
            "symbolic": lambda: check_symbolic(code, self.seconds, self.isolation),
        }
        try:
            return acts[name]()
        except (SandboxError, OSError) as error:  # the machine's fault; what the other checks find still counts
            return Check(name, ERROR, str(error).partition("\n")[0])

    def _open_sandbox(self) -> Sandbox:
        if self._sandbox is None:
            limits = Limits(cpu_s=self.seconds, blocked_s=self.seconds)
            self._sandbox = Sandbox(isolation=self.isolation, workers=1, limits=limits)
        return self._sandbox

    def close(self) -> None:
        """End the sandbox's processes."""
        with self._lock:
            if self._sandbox is not None:
                self._sandbox.close()
                self._sandbox = None

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


def verdict_of(checks: Sequence[Check]) -> str:
    """failed, doubtful, passed or inconclusive."""
    status = {check.name: check.status for check in checks}
    if FAILED in (status.get("syntax"), status.get("tests")):
        return "failed"
    if FAILED in status.values():
        return "doubtful"
    return "passed" if status.get("tests") == PASSED else "inconclusive"


def verify(
    code: str, tests: Sequence[str] = (), *, setup: str = "", checks: Sequence[str] = CHECKS,
    isolation: str = "auto", seconds: float = SECONDS,
) -> dict[str, Any]:  # fmt: skip
    """`Verifier.verify` for one program."""
    with Verifier(checks, isolation, seconds) as verifier:
        return verifier.verify(code, tests, setup)
