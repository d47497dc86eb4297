"""Phase 0 on the page: the problems."""

from common.report.blocks import Paragraph, Section
from common.report.collect import Collected, PhaseResult
from common.words import count, listed, number, plural


def section(phase: PhaseResult, _collected: Collected) -> Section:
    summary = phase.manifest["summary"]
    words = (
        f"{count(summary['problems'])} problems; the mean cyclomatic complexity of their reference solutions is "
        f"{number(summary['mean_complexity'])}, the largest {count(summary['largest_complexity'])}."
    )
    failing = [str(reference["task_id"]) for reference in phase.manifest.get("failing_references", [])]
    if failing:
        words += (
            f" {plural(len(failing), 'reference solution')} did not pass the problem's own tests, which no program may "
            f"then pass: task_id {listed(failing)}."
        )
    return Section(
        "problems", "Problems and splits", "Which problems select, tune and report?", blocks=[Paragraph(words)]
    )
