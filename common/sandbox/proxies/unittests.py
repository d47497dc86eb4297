"""unittest keeps failures to itself and leaves running to a runner: both are brought back to the tests.

The library is imported when tests name it, and nothing here is done before.
"""

import sys
from collections.abc import Callable
from typing import Any

from common.sandbox.proxies.channel import Stop

_RECORDED = "_pva_recorded"


class Outcome:
    """What TestCases found, whoever ran them, until the tests could not go on."""

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self.skipped = False

    def note_error(self, _test: Any, raised: Any) -> None:
        if not Stop.noted:
            self.errors.append(raised[1])

    def note_subtest(self, test: Any, _subtest: Any, raised: Any) -> None:
        if raised is not None:
            self.note_error(test, raised)

    def note_unexpected_success(self, _test: Any) -> None:
        self.errors.append(AssertionError("a test that was expected to fail passed"))

    def note_skip(self, *_arguments: Any) -> None:
        self.skipped = True


def record(outcome: Outcome) -> None:
    """Have every TestResult note its findings in `outcome`, if unittest is here and does not do so yet."""
    unittest: Any = sys.modules.get("unittest")
    if unittest is None or hasattr(unittest.TestResult, _RECORDED):
        return
    notes = {
        "addFailure": outcome.note_error,
        "addError": outcome.note_error,
        "addSubTest": outcome.note_subtest,
        "addUnexpectedSuccess": outcome.note_unexpected_success,
        "addSkip": outcome.note_skip,
        "addExpectedFailure": outcome.note_skip,
    }
    for name, note in notes.items():
        setattr(unittest.TestResult, name, _after(note, getattr(unittest.TestResult, name)))
    setattr(unittest.TestResult, _RECORDED, True)
    unittest.main = lambda *_arguments, **_keywords: None  # what it would run is run at the end


def _after(note: Callable[..., None], method: Callable[..., None]) -> Callable[..., None]:
    def noting(result: Any, *arguments: Any) -> None:
        note(*arguments)
        method(result, *arguments)

    return noting


def run_left_over(namespace: dict[str, Any], entered: set[str]) -> None:
    """Run the TestCase classes of the tests of which no test has run."""
    unittest = sys.modules.get("unittest")
    if unittest is None:
        return
    for kind in list(namespace.values()):
        is_case = isinstance(kind, type) and issubclass(kind, unittest.TestCase) and kind.__module__ == "__main__"
        if is_case and not any(name in entered for name in dir(kind)):
            unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(unittest.TestResult())
