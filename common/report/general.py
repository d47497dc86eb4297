"""Phases 3.4 to 3.7 on the page: each brings its own sentences and tables, and its figures."""

from typing import Any

from common.handoffs import ABLATION, ATTENTION, ORTHOGONALISATION, TRANSFER, Handoff
from common.report.blocks import Column, Paragraph, Section, Table, value_cell
from common.report.collect import PhaseResult
from common.report.figures import figures_of
from common.words import sentence_case

SECTIONS: tuple[tuple[Handoff, str, str], ...] = (  # what each asks, in the order of the page
    (ATTENTION, "Attention", "Where does the last prompt token look when a direction is added?"),
    (ORTHOGONALISATION, "Orthogonalisation", "What happens when the model can no longer write a direction?"),
    (TRANSFER, "Transfer", "Do the same latents hold in another model of the same shape?"),
    (ABLATION, "Prompt ablation", "Which part of the prompt do the programs and the latents depend on?"),
)


def general_section(phase: PhaseResult, title: str, question: str) -> Section:
    """`sentences` become paragraphs, `tables` tables; what a table's cells are is told by their values."""
    result = phase.json(f"{phase.handoff.name}.json")
    section = Section(phase.handoff.name.replace("_", "-"), title, question, source=phase.place)
    section.blocks += [Paragraph(sentence_case(str(sentence))) for sentence in result["sentences"]]
    section.blocks += figures_of(phase)
    section.blocks += [_table(table) for table in result["tables"]]
    return section


def _table(table: dict[str, Any]) -> Table:
    rows = [[value_cell(value) for value in row] for row in table["rows"]]
    columns = [
        Column(sentence_case(str(name)), numeric=any(row[place].sort is not None for row in rows))
        for place, name in enumerate(table["columns"])
    ]
    return Table(
        sentence_case(str(table["title"])), columns, rows, note=str(table.get("note", "")), folded=len(rows) > 30
    )
