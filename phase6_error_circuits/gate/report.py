"""Phase 6.1b on the page: which errors the model tells apart, in which format, and what is studied."""

from collections.abc import Iterator

from common.handoffs.error_gate import (
    AnswersOfFormat,
    ErrorGateDocument,
    GateFigures,
    GateOfContrast,
    GateResult,
    GateVerdict,
)
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    counted,
    figure_cell,
    share,
    text,
    warning,
    word_columns,
)
from common.report.collect import Collected, PhaseResult
from common.words import count, number, percent, plural
from phase6_error_circuits.page import errors

Results = Iterator[tuple[str, str, str, GateResult]]  # contrast, template, format


def section(phase: PhaseResult, _collected: Collected) -> Section:
    document: ErrorGateDocument = phase.document()
    section = errors(phase.place)
    section.answer = _answer(document)
    section.blocks = [
        Heading("Does the model tell these errors apart?"),
        Paragraph(section.answer, "verdict"),
        Paragraph(
            "The logit difference is that of the clean program's error minus that of the corrupted one's. Both signs "
            "are right where it is above 0 after the clean prompt and below 0 after the corrupted one. A template "
            "passes when the lower bound of that share reaches 80 %; it is weak when it does not, but the clean prompt "
            "has the larger difference in 95 % of the pairs. Pairs that select decide; held-out pairs are of other "
            "words."
        ),
        _contrasts(document),
        _formats(document),
        _errors(document),
        _templates(document),
        _answers_of_templates(document),
    ]
    section.warnings = [*_warnings(document)]
    return section


def _answer(document: ErrorGateDocument) -> str:
    chosen = document.studied
    passing = [name for name, forms in document.contrasts.items() if _best(forms) is GateVerdict.PASS]
    of = plural(len(document.contrasts), "contrast")
    n = f"Of {of} of two errors, the model gives both answers in {len(passing)}"
    if chosen is None:
        return f"{n}, and what it says of the others is no ground to ask what carries it."
    gate = document.contrasts[chosen.contrast][chosen.format]
    held_out = gate.together.held_out
    others = f", and {percent(held_out.both_signs.rate)} of those held out" if held_out else ""
    return (
        f"{n}. Studied is {chosen.contrast} in the format {chosen.format}: it {chosen.verdict}, with both signs right "
        f"in {percent(gate.together.select.both_signs.rate)} of the pairs that select{others}."
    )


def _best(forms: dict[str, GateOfContrast]) -> GateVerdict:
    return min((gate.verdict for gate in forms.values()), key=list(GateVerdict).index)


def _warnings(document: ErrorGateDocument) -> Iterator[Block]:
    chosen = document.studied
    if chosen is not None and chosen.verdict is not GateVerdict.PASS:
        yield warning(
            "An answer that the model does not give",
            f"{chosen.contrast} is studied although it {chosen.verdict}: what is found carries a tendency at most.",
        )
    for contrast, template, form, result in _results(document):
        if result.null_pairs is not None and result.null_pairs.verdict.goes_on:
            yield warning(
                "Null pairs that pass the gate",
                f"Two clean programs of {contrast}, {template}, {form}, are told apart as the real pairs are.",
            )


def _results(document: ErrorGateDocument) -> Results:
    for contrast, forms in document.contrasts.items():
        for form, gate in forms.items():
            for template, result in gate.by_template.items():
                yield contrast, template, form, result


def _contrasts(document: ErrorGateDocument) -> Table:
    rows = [
        [
            Cell(contrast),
            Cell(form),
            Cell(gate.verdict.name, sort=list(GateVerdict).index(gate.verdict)),
            Cell(f"{len(gate.templates)} of {len(gate.by_template)}", sort=len(gate.templates)),
            *_figures(gate.together),
        ]
        for contrast, forms in document.contrasts.items()
        for form, gate in forms.items()
    ]
    columns = [
        *word_columns("Contrast", "Format"),
        Column("Verdict", numeric=False),
        Column("Templates", "that have this verdict and go on; the figures are theirs, or of all where none goes on"),
        *_COLUMNS,
    ]
    return Table("Contrasts", columns, rows)


def _templates(document: ErrorGateDocument) -> Table:
    rows = [
        [
            Cell(contrast),
            Cell(template),
            Cell(form),
            Cell(result.verdict.name, sort=list(GateVerdict).index(result.verdict)),
            *_figures(result),
        ]
        for contrast, template, form, result in _results(document)
    ]
    columns = [*word_columns("Contrast", "Template", "Format", "Verdict"), *_COLUMNS]
    return Table("Templates", columns, rows, folded=True)


def _answers_of_templates(document: ErrorGateDocument) -> Table:
    rows = [
        [Cell(contrast), Cell(template), Cell(form), *_answers(result.select)]
        for contrast, template, form, result in _results(document)
    ]
    columns = [*word_columns("Contrast", "Template", "Format"), *_ANSWER_COLUMNS]
    return Table("What is said after each template", columns, rows, folded=True)


_COLUMNS = [
    Column("Pairs", "that select"),
    Column("Clean", "mean logit difference after the clean prompt"),
    Column("Corrupted", "the same after the corrupted prompt"),
    Column("Both signs", "share of pairs, with Wilson's 95 % interval"),
    Column("Clean above", "share of pairs in which the clean prompt has the larger difference"),
    Column("Held out", "both signs right, in pairs of other words"),
    Column("Null pairs", "both signs right, of two clean programs; that should be none"),
]
_ANSWER_COLUMNS = [
    Column("Of eight", "share of prompts whose most likely one of the eight names is right"),
    Column("Prior-corrected", "the same, with each name's mean logit of the format taken off"),
    Column("Of all", "share of prompts whose most likely token of all is right"),
    Column("Mass", "probability of the eight names together, mean"),
    Column("Said most", "most likely tokens, and after how many prompts", numeric=False),
]


def _figures(result: GateResult) -> list[Cell]:
    select = result.select
    return [
        count_cell(select.n),
        figure_cell(select.clean, signed=True),
        figure_cell(select.corrupted, signed=True),
        counted(select.both_signs),
        counted(select.clean_above),
        *(text(None) if one is None else counted(one.both_signs) for one in (result.held_out, result.null_pairs)),
    ]


def _answers(figures: GateFigures) -> list[Cell]:
    said = ", ".join(f"“{token}” {count(n)}" for token, n in figures.top_tokens.items())
    return [
        counted(figures.accuracy),
        counted(figures.prior_corrected),
        counted(figures.top),
        share(figures.mass),
        Cell(said),
    ]


def _formats(document: ErrorGateDocument) -> Table:
    columns = [*word_columns("Format"), Column("Prompts"), *_ANSWER_COLUMNS[:4]]
    rows = [
        [
            Cell(name),
            count_cell(form.n),
            counted(form.accuracy),
            counted(form.prior_corrected),
            counted(form.top),
            share(form.mass),
        ]
        for name, form in document.formats.items()
    ]
    return Table("Formats, all contrasts together", columns, rows)


def _errors(document: ErrorGateDocument) -> Table:
    errors = dict.fromkeys(error for form in document.formats.values() for error in form.by_error)
    columns = [*word_columns("Format"), *(Column(error) for error in errors)]
    rows = [[Cell(name), *(_of_error(form, error) for error in errors)] for name, form in document.formats.items()]
    note = "Share right among the eight names; below: prior-corrected, and the share of all prompts it is said after."
    return Table("Errors", columns, rows, note=note, folded=True)


def _of_error(form: AnswersOfFormat, error: str) -> Cell:
    right = form.by_error.get(error)
    if right is None:
        return text(None)
    corrected = form.prior_corrected_by_error[error].rate.known
    under = f"{number(100 * corrected, 1)} %; said after {number(100 * form.predicted[error], 1)} %"
    return Cell(share(right.rate).text, under=under, sort=right.rate.value)
