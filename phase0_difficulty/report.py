"""Phase 0 on the page: the problems."""

from common.report.blocks import Paragraph, Section
from common.report.collect import Collected, PhaseResult
from common.words import count, number


def section(phase: PhaseResult, _collected: Collected) -> Section:
    summary = phase.manifest["summary"]
    found = Section("problems", "Problems and splits", "Which problems select, tune and report?")
    found.blocks.append(
        Paragraph(
            f"{count(summary['problems'])} problems; the mean cyclomatic complexity of their reference solutions is "
            f"{number(summary['mean_complexity'])}, the largest {count(summary['largest_complexity'])}."
        )
    )
    return found
