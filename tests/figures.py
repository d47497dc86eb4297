"""How often the tests broke something: counted as they pass, written beside the tests' other leavings when all have.

    make test-sweeps && python3 tests/figures.py     puts the table into tests/README.md

Fixtures and hooks of pytest; conftest.py takes them over. A test run itself writes no tracked file.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from support import WHOLE_SWEEPS

README = Path(__file__).with_name("README.md")
COUNTED = README.parents[1] / ".build" / "faults.json"
BEGIN, END = "<!-- written by tests/figures.py -->\n", "<!-- end -->\n"
ORDER = (
    "kills at a file operation",
    "full disks",
    "stop signals",
    "bytes flipped and files cut short",
    "runs at once on one folder",
    "workers killed",
    "requeues by a real Slurm",
)
NOT_EVERYWHERE = {"requeues by a real Slurm"}  # where Slurm is not installed, the earlier figure stays
FAULTS = "faults"  # the property of a test's report that says what was done to what, and how often


class Figures:
    """What one test did to what, and how often: its report carries it to whoever collects reports."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self.properties = properties

    def add(self, what: str, where: str, n: int) -> None:
        """Count `n` faults; called at the end of a test, so only when everything held."""
        assert what in ORDER
        self.properties.append((FAULTS, [what, where, n]))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Figures:
    return Figures(request.node.user_properties)


_counts: dict[str, Counter[str]] = {what: Counter() for what in ORDER}
_failed: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _failed.append(report.nodeid)
    for name, value in report.user_properties if report.when == "call" and report.passed else ():
        if name == FAULTS:
            what, where, n = value
            _counts[what][where] += n


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the counts of whole sweeps, if every kind of fault had its turn and nothing failed.

    Processes that pytest-xdist started leave that to the one that collects their reports.
    """
    missing = {what for what, counts in _counts.items() if not counts} - NOT_EVERYWHERE
    if WHOLE_SWEEPS and not (_failed or missing or hasattr(session.config, "workerinput")):
        COUNTED.parent.mkdir(exist_ok=True)
        COUNTED.write_text(json.dumps(_counts))


def main() -> None:
    counts = json.loads(COUNTED.read_text())
    before, rest = README.read_text().split(BEGIN)
    table, after = rest.split(END)
    earlier = {line.split(" | ")[0].removeprefix("| "): line for line in table.splitlines()}
    lines = ["| what was done | to what | how often |", "|---|---|---|"]
    for what in ORDER:
        row = f"| {what} | {', '.join(sorted(counts[what]))} | {sum(counts[what].values()):,} |"
        lines += [row] if counts[what] else [earlier[what]] if what in earlier else []
    lines += ["| records lost | | 0 |", "| labels changed | | 0 |"]
    README.write_text(before + BEGIN + "\n".join(lines) + "\n" + END + after)


if __name__ == "__main__":
    main()
