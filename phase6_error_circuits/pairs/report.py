"""Phase 6.1 on the page: which pairs there are, which were refused, and what lengths tell."""

from collections.abc import Iterator

from common.handoffs.error_pairs import ErrorPairsDocument, PairsOfTemplate, PartLengths, TemplateOfPairs
from common.report.blocks import Cell, Column, Heading, Paragraph, Section, Table, count_cell, share, word_columns
from common.report.collect import Collected, PhaseResult
from common.words import count, listed, plural
from phase6_error_circuits.page import errors

Told = tuple[str, str, TemplateOfPairs, str, PairsOfTemplate]  # contrast, name, template, format, its pairs


def section(phase: PhaseResult, _collected: Collected) -> Section:
    document: ErrorPairsDocument = phase.document()
    section = errors(phase.place)
    section.blocks = [Heading("Pairs of programs"), Paragraph(_words(document)), _pairs(document), _lengths(document)]
    section.blocks += [Paragraph(f"No pairs: {'; '.join(document.without)}.", "note")] if document.without else []
    return section


def _words(document: ErrorPairsDocument) -> str:
    names = listed([*document.contrasts])
    front = listed([f"“{token.text}”" for token in document.front])
    sink = ", as an attention sink, since the tokenizer has no BOS" if document.front[0].is_sink else ""
    refused = "".join(f" {name}: {form.refused}." for name, form in document.formats.items() if form.refused)
    return (
        f"{plural(document.n, 'pair')} of {names}, in the formats {listed([*document.formats])}: both programs have "
        f"as many tokens for this model, and Python {document.python} was seen to raise these errors. Of them "
        f"{count(document.held_out)} are of words that the others lack; {plural(document.null_pairs, 'null pair')} "
        f"are of two clean programs each. In front stands {front}{sink}.{refused}"
    )


def _told(document: ErrorPairsDocument) -> Iterator[Told]:
    for contrast, templates in document.contrasts.items():
        for name, template in templates.items():
            for form, pairs in template.formats.items():
                yield contrast, name, template, form, pairs


def _pairs(document: ErrorPairsDocument) -> Table:
    columns = [
        *word_columns("Contrast", "Template", "Format"),
        Column("Draws"),
        Column("Aligned", "draws with as many tokens in both programs"),
        Column("Pairs", "that are kept, and how many of each shape: their tokens mean the same place by place"),
        Column("Held out", "of words that the others lack"),
        Column("Null pairs", "of two clean programs of one shape"),
        Column("Refused", "and why", numeric=False),
    ]
    rows = [
        [
            Cell(contrast),
            Cell(name, under=template.corruption),
            Cell(form),
            count_cell(pairs.n_draws),
            count_cell(pairs.n_aligned),
            Cell(
                count(pairs.n),
                under=" + ".join(count(shape.select + shape.held_out) for shape in pairs.shapes),
                sort=pairs.n,
            ),
            count_cell(pairs.held_out),
            count_cell(pairs.null_pairs),
            Cell("; ".join(f"{count(n)} {reason}" for reason, n in pairs.refused.items())),
        ]
        for contrast, name, template, form, pairs in _told(document)
    ]
    return Table("Pairs by template", columns, rows, folded=len(rows) > 40)


def _lengths(document: ErrorPairsDocument) -> Table:
    columns = [
        *word_columns("Contrast", "Template", "Format"),
        Column("Part", "of the template, whose number of tokens differs between the two programs", numeric=False),
        Column("Clean", "tokens, and in how many programs", numeric=False),
        Column("Corrupted", "the same", numeric=False),
        Column("Tells", "share of programs whose kind that number would tell; 50 % is nothing"),
        Column("Within a shape", "the same, in pairs of one shape alone"),
    ]
    rows = [
        [
            Cell(contrast),
            Cell(name),
            Cell(form),
            Cell(part, code=True),
            Cell(_counts(lengths.clean)),
            Cell(_counts(lengths.corrupted)),
            share(lengths.tells),
            share(lengths.tells_within),
        ]
        for contrast, name, _, form, pairs in _told(document)
        for part, lengths in _changed_first(pairs)
    ]
    note = "Where a token is missing, another part has to be longer: so a circuit is tried on another shape as well."
    return Table("Parts that differ in length", columns, rows, note=note, folded=True)


def _changed_first(pairs: PairsOfTemplate) -> list[tuple[str, PartLengths]]:
    return sorted(pairs.lengths.items(), key=lambda one: -one[1].tells)


def _counts(lengths: dict[str, int]) -> str:
    return ", ".join(f"{n}: {count(of)}" for n, of in lengths.items())
