"""Look at one program with everything this machine has, and say what each look found.

    Verifier().verify("def double(n: int) -> int:\\n    return n + n", ["assert double(2) == 4"])
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
from phase4_anomaly_detection.verification.processes import Patience
from phase4_anomaly_detection.verification.symbolic import check_symbolic
from phase4_anomaly_detection.verification.syntax import check_syntax
from phase4_anomaly_detection.verification.tests import GivenUp, check_tests
from phase4_anomaly_detection.verification.types import check_types

CHECKS = ("syntax", "types", "tests", "symbolic")
SECONDS, TOTAL_S = 10.0, 60.0


class Verifier:
    """Keeps a sandbox between programs. Thread-safe; programs are looked at one after the other."""

    def __init__(
        self,
        checks: Sequence[str] = CHECKS,
        isolation: str = "auto",
        seconds: float = SECONDS,
        total_s: float = TOTAL_S,
    ):
        """`isolation` is that of --sandbox; `seconds` is the processor's for types, tests and symbolic, each; `total_s`
        the clock's for all of them together.
        """
        unknown = [name for name in checks if name not in CHECKS]
        if unknown:
            raise ConfigError(f"there is no check '{unknown[0]}'\nGive some of: {', '.join(CHECKS)}")
        if isolation not in ISOLATIONS:
            raise ConfigError(f"the isolation is '{isolation}'\nGive one of: {', '.join(ISOLATIONS)}")
        for what, given in (("a check", seconds), ("a verification", total_s)):
            if not 0 < given <= 3600:
                raise ConfigError(f"the time for {what} is {given} s\nGive more than 0, and 3600 at most")
        self.checks, self.isolation, self.seconds, self.total_s = tuple(checks), isolation, seconds, total_s
        self._sandbox: Sandbox | None = None
        self._lock = threading.Lock()

    def verify(
        self, code: str, tests: Sequence[str] = (), setup: str = "", patience: Patience | None = None
    ) -> dict[str, Any]:
        """{"checks": [{name, status, detail, seconds}], "verdict"}; `setup` runs before the tests.

        `patience` takes the place of one of `total_s`, and begins when this verification does: checks that it leaves
        no time for say so as errors. Another thread may stop it.
        """
        if not isinstance(code, str) or isinstance(tests, str) or not all(isinstance(test, str) for test in tests):
            raise ConfigError(
                f"a program is a text, and its tests are a list of texts: these are {code!r:.40} and {tests!r:.40}\n"
                f"Give verify(code, [test, ...])"
            )
        patience = patience or Patience(self.total_s)
        with self._lock:
            patience.begin()
            timed, parses = [], True
            for name in self.checks:
                began = time.monotonic()
                if not parses:
                    check = Check(name, SKIPPED, "it does not parse")
                else:
                    check = self._check(name, code, tests, setup, patience)
                parses = parses and not (name == "syntax" and check.status == FAILED)
                timed.append((check, time.monotonic() - began))
        checks = [check for check, _ in timed]
        return {"checks": [check.as_json(seconds) for check, seconds in timed], "verdict": verdict_of(checks)}

    def _check(self, name: str, code: str, tests: Sequence[str], setup: str, patience: Patience) -> Check:
        if name == "tests" and not tests:
            return Check(name, SKIPPED, "no tests were given")
        if patience.ended_by is not None:
            return Check(name, ERROR, patience.ended_by)
        acts: dict[str, Callable[[], Check]] = {
            "syntax": lambda: check_syntax(code, patience),
            "types": lambda: check_types(code, self.seconds, patience),
            "tests": lambda: check_tests(code, tests, setup, self._open_sandbox(), patience),
            "symbolic": lambda: check_symbolic(code, self.seconds, self.isolation, patience),
        }
        try:
            return acts[name]()
        except GivenUp as error:
            self._end_sandbox(error)
            return Check(name, ERROR, str(error))
        except (SandboxError, OSError) as error:  # the machine's fault; what the other checks find still counts
            return Check(name, ERROR, str(error).partition("\n")[0])
        except (ValueError, RecursionError, MemoryError) as error:  # the program's or the tests': too deep, too large
            return Check(name, ERROR, f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": "))

    def _open_sandbox(self) -> Sandbox:
        if self._sandbox is None:
            limits = Limits(cpu_s=self.seconds, blocked_s=self.seconds)
            self._sandbox = Sandbox(isolation=self.isolation, workers=1, limits=limits)
        return self._sandbox

    def _end_sandbox(self, error: GivenUp) -> None:
        """End it with the program that it runs, as a with block does that an error leaves; another is opened later."""
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            sandbox.__exit__(type(error), error, None)

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
