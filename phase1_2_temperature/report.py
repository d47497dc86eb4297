"""Phase 1.2 on the page: pass rates by sampling temperature."""

from common.handoffs.preparation import TemperatureDocument
from common.report.blocks import PERCENT, Column, Section, Table, count_cell, figure_cell, share
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.report.program_warnings import warnings_of

CAPTIONS = {
    "pass_rate_by_temperature": (
        "Pass rate by sampling temperature",
        "Horizontal: sampling temperature. Vertical: share of samples that pass, 95 % intervals over problems.",
    ),
}


def section(phase: PhaseResult, _collected: Collected) -> Section:
    metadata: TemperatureDocument = phase.document()
    rows = [row for each in metadata.temperatures for row in phase.artifact.table(each.file)]
    blocks = [_temperatures(metadata), *figures_of(phase, CAPTIONS)]
    return Section("programs", blocks=blocks, warnings=warnings_of(phase, rows))


def _temperatures(metadata: TemperatureDocument) -> Table:
    columns = [
        Column("Temperature"),
        Column("Problems"),
        Column("Programs"),
        Column("Pass rate"),
        Column("Solved at least once"),
        Column("Solved always"),
    ]
    rows = []
    for sampled in metadata.temperatures:
        rows.append(
            [
                figure_cell(sampled.temperature, 1),
                count_cell(sampled.problems),
                count_cell(sampled.programs),
                share(sampled.share, PERCENT),
                count_cell(sampled.problems_with_a_correct_program),
                count_cell(sampled.problems_with_only_correct_programs),
            ]
        )
    note = f"Interval: {metadata.interval}."
    return Table("Samples of the validation split by temperature", columns, rows, note=note)
