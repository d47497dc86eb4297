"""Phase 5.1 on the page: how many prompts of which behaviours, and which were left out."""

from common.handoffs.circuit_prompts import CircuitPromptsDocument, PromptsOfSplit
from common.report.blocks import Cell, Column, Heading, Paragraph, Section, Table, count_cell, word_columns
from common.report.collect import Collected, PhaseResult
from common.words import count, listed, plural
from phase5_attribution_graphs.page import circuits


def section(phase: PhaseResult, _collected: Collected) -> Section:
    document: CircuitPromptsDocument = phase.document()
    section = circuits(phase.place)
    section.blocks = [Heading("Prompts"), Paragraph(_words(document)), _table(document)]
    section.warnings = [
        Paragraph(f"Of {behaviour}, {split}, there are {_short(one)}", "warning", "Fewer prompts than were asked for")
        for behaviour, splits in document.behaviours.items()
        for split, one in splits.items()
        if one.n < one.asked - 1  # partners come in twos
    ]
    return section


def _words(document: CircuitPromptsDocument) -> str:
    n = sum(one.n for splits in document.behaviours.values() for one in splits.values())
    names = listed([*document.behaviours])
    front = listed([f"“{token.text}”" for token in document.front])
    if document.sink is None:
        first = f"In front of each stands {front}, once."
    else:
        first = f"The tokenizer puts no BOS in front: {front} stands there, as an attention sink."
    return (
        f"{plural(n, 'prompt')} of {names}, each with a right and a wrong answer, from {document.source}. What a "
        f"prompt is about is in one split alone. {first} The tokens that both answers begin with belong to the prompt."
    )


def _short(one: PromptsOfSplit) -> str:
    reasons = "; ".join(f"{count(prompts.n)} refused, {reason}" for reason, prompts in one.refused.items())
    return f"{count(one.n)} of {plural(one.asked, 'prompt')}{f' ({reasons})' if reasons else ''}."


def _table(document: CircuitPromptsDocument) -> Table:
    columns = [
        *word_columns("Behaviour", "Split"),
        Column("Prompts"),
        Column("Entities", "nouns, countries, contexts or pairs of operands that they are about"),
        Column("Tokens", "of the shortest and the longest, with what stands in front"),
        Column("With a partner", "another prompt of as many tokens that it is patched with"),
        Column("Refused", "tokens that change with the answer, answers that do not differ, partners of unequal length"),
    ]
    rows = [
        [
            Cell(behaviour),
            Cell(split),
            count_cell(one.n),
            count_cell(one.n_entities),
            Cell(f"{one.shortest} to {one.longest}", sort=one.longest),
            count_cell(one.n_paired),
            count_cell(sum(prompts.n for prompts in one.refused.values())),
        ]
        for behaviour, splits in document.behaviours.items()
        for split, one in splits.items()
    ]
    return Table("Prompts of behaviours", columns, rows)
