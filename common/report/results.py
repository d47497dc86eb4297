"""Phases that bring their own sentences and tables with their figures: 3.4 to 3.7."""

from common.handoffs.changes import ResultTable
from common.report.blocks import Column, Paragraph, Section, Table, value_cell
from common.report.collect import PhaseResult
from common.report.figures import Captions, figures_of
from common.words import sentence_case


def results_section(phase: PhaseResult, title: str, question: str, captions: Captions) -> Section:
    """Sentences, figures, tables; what a table's cells are is told by their values."""
    result = phase.document()
    section = Section(phase.schema.name.replace("_", "-"), title, question, source=phase.place)
    section.blocks += [Paragraph(sentence_case(sentence)) for sentence in result.sentences]
    section.blocks += figures_of(phase, captions)
    section.blocks += [_table(table) for table in result.tables]
    return section


def _table(table: ResultTable) -> Table:
    rows = [[value_cell(value) for value in row] for row in table.rows]
    columns = [
        Column(sentence_case(name), numeric=any(row[place].sort is not None for row in rows))
        for place, name in enumerate(table.columns)
    ]
    return Table(sentence_case(table.title), columns, rows, folded=len(rows) > 30)
