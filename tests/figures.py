"""How often the tests broke something: counted as they pass, written into tests/README.md when all have passed.

Fixtures and hooks of pytest; conftest.py takes them over.
"""

from collections import Counter
from pathlib import Path

import pytest

README = Path(__file__).with_name("README.md")
BEGIN, END = "<!-- written by the test run -->\n", "<!-- end -->\n"
ORDER = (
    "kills at a file operation", "full disks", "stop signals", "bytes flipped and files cut short",
    "runs at once on one folder", "workers killed", "requeues by a real Slurm",
)  # fmt: skip
NOT_EVERYWHERE = {"requeues by a real Slurm"}  # where Slurm is not installed, the earlier figure stays


class Figures:
    """What was done to what, and how often."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {what: Counter() for what in ORDER}
        self.has_failed = False

    def add(self, what: str, where: str, n: int) -> None:
        """Count `n` faults; called at the end of a test, so only when everything held."""
        self.counts[what][where] += n


_figures = Figures()


@pytest.fixture(scope="session")
def figures() -> Figures:
    return _figures


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _figures.has_failed |= report.failed


def pytest_sessionfinish() -> None:
    """Write the table, if every kind of fault had its turn and nothing failed."""
    missing = {what for what, counts in _figures.counts.items() if not counts}
    if _figures.has_failed or missing - NOT_EVERYWHERE:
        return
    before, rest = README.read_text().split(BEGIN)
    table, after = rest.split(END)
    earlier = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}
    lines = ["| what was done | to what | how often |", "|---|---|---|"]
    for what, counts in _figures.counts.items():
        row = f"| {what} | {', '.join(sorted(counts))} | {counts.total():,} |"
        lines += [row] if counts else [earlier[what]] if what in earlier else []
    lines += ["| records lost | | 0 |", "| labels changed | | 0 |"]
    README.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)
