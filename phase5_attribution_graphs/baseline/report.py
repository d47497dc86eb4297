"""Phase 5.2 on the page: which behaviours the model shows, and how clearly."""

from common.handoffs.circuit_prompts import BaselineDocument, BaselineMetrics
from common.report.blocks import (
    Cell,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    counted,
    figure_cell,
    warning,
    word_columns,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count, listed, number, percent
from phase5_attribution_graphs.baseline.figures import CAPTIONS
from phase5_attribution_graphs.page import circuits


def section(phase: PhaseResult, _collected: Collected) -> Section:
    document: BaselineDocument = phase.document()
    section = circuits(phase.place)
    section.answer = _answer(document)
    section.blocks = [
        Heading("Does the model show the behaviours?"),
        Paragraph(section.answer, "verdict"),
        Paragraph(
            "Of both answers the log-probability is read over all their tokens and divided by their number; the margin "
            "is the right answer's minus the wrong one's. A behaviour passes when in each split enough prompts have a "
            "margin above its threshold."
        ),
        _table(document),
        *figures_of(phase, CAPTIONS),
    ]
    section.warnings = [
        warning("A behaviour that the model does not show", f"{name}: {_missed(document.behaviours[name])}")
        for name in document.missed
    ]
    return section


def _answer(document: BaselineDocument) -> str:
    passed = [name for name in document.behaviours if name not in document.missed]
    words = [
        f"the model shows {listed(passed)}" if passed else "",
        f"it does not pass {listed(document.missed)}" if document.missed else "",
    ]
    told = ", and ".join(filter(None, words))
    went_on = "; what is traced of that all the same says little" if document.missed else ""
    return f"Of {count(len(document.behaviours))} behaviours, {told}{went_on}."


def _missed(splits: dict[str, BaselineMetrics]) -> str:
    told = [
        f"in {split} {percent(one.accuracy.rate)} of the margins are above {number(one.threshold)}, "
        f"{100 * one.needed:.0f} % are needed (above 0: {number(100 * one.sign_accuracy.rate.known, 1)} %)"
        for split, one in splits.items()
        if not one.passes
    ]
    return f"{'; '.join(told)}. The run went on with --force."


def _table(document: BaselineDocument) -> Table:
    columns = [
        *word_columns("Behaviour", "Split"),
        Column("Prompts"),
        Column("Threshold", "of the margin [nats a token]"),
        Column("Above it", "share of prompts, with Wilson's 95 % interval"),
        Column("Needed"),
        Column("Above 0", "the right answer is more likely than the wrong one"),
        Column("Mean margin", "nats a token"),
        Column("Logit difference", "mean, at the first token in which the answers differ"),
        *word_columns("Passes"),
    ]
    rows = [
        [
            Cell(behaviour),
            Cell(split),
            count_cell(one.n),
            figure_cell(one.threshold, 1),
            counted(one.accuracy),
            Cell(f"{100 * one.needed:.0f} %", sort=one.needed),
            counted(one.sign_accuracy),
            figure_cell(one.mean_margin, 2, signed=True),
            figure_cell(one.logit_difference, 2, signed=True),
            Cell("yes" if one.passes else "no"),
        ]
        for behaviour, splits in document.behaviours.items()
        for split, one in splits.items()
    ]
    return Table("Margins of the right answers", columns, rows)
