"""Phase 6.2 on the page: where the answer is carried."""

from common.handoffs.error_gate import GateVerdict
from common.handoffs.error_patching import ErrorPatchingDocument, FirstOrder, PatchedPlace
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
    estimate,
    figure_cell,
    number_cell,
    table_of,
    text,
    warning,
    word_columns,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import number, sentence_case
from phase6_error_circuits.estimates import caution
from phase6_error_circuits.page import errors
from phase6_error_circuits.patching.figures import CAPTIONS
from phase6_error_circuits.patching.jobs import EVERYWHERE


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: ErrorPatchingDocument = phase.document()
    made = errors(phase.place)
    made.blocks = [
        Heading("Where the answer is carried", f"{result.contrast}, {result.format}"),
        *(Paragraph(f"{sentence_case(sentence)}.") for sentence in result.sentences),
        Paragraph(
            "A share is what a patch moves of the mean difference between clean and corrupted runs, with a bootstrap "
            "over pairs. The clean run's part in the corrupted run tells what suffices, the corrupted run's in the "
            "clean run what is needed; parts that stand in for each other have much of the first and little of the "
            f"second. What must be exact departs from it by {_worst(result)} of the total at most."
        ),
        *figures_of(phase, CAPTIONS),
        _places(result.strongest),
        *[block for direction, one in result.heads.items() for block in _heads(direction, one)],
        *_others(result),
    ]
    if result.verdict is not GateVerdict.PASS:
        words = sentence_case(caution(result.verdict, result.contrast))
        made.warnings = [warning("An answer that the model does not give", f"{words}.")]
    return made


def _worst(result: ErrorPatchingDocument) -> str:
    worst = max(result.holds.before_difference, result.holds.last_layer, result.holds.all_positions)
    return f"{worst:.0e}" if worst else number(0)


def _places(places: list[PatchedPlace]) -> Table:
    columns = [
        Column("Part", numeric=False, cell=lambda one: text(one.part)),
        Column("Layer", cell=lambda one: number_cell(one.layer)),
        Column("Position", cell=lambda one: Cell("all" if one.pos == EVERYWHERE else str(one.pos), sort=one.pos)),
        Column("Token", "clean/corrupted where they differ", numeric=False, cell=lambda one: text(one.token)),
        Column("Comes back", "share, clean into corrupted", cell=lambda one: estimate(one.denoising)),
        Column("Is lost", "share, corrupted into clean", cell=lambda one: estimate(one.noising)),
    ]
    return table_of("Places that move most", columns, places)


def _heads(direction: str, first_order: FirstOrder) -> list[Block]:
    if not first_order.heads:
        return []
    columns = [
        Column("Head", numeric=False, cell=lambda one: text(f"{one.layer}.{one.head}")),
        Column("Share", "at all positions", cell=lambda one: estimate(one.exact)),
        Column("First order", "what the gradient says", cell=lambda one: figure_cell(one.first_order)),
    ]
    note = f"The gradient is off by {number(first_order.largest_miss)} at most."
    return [table_of(f"Heads, {direction}", columns, first_order.heads, note=note, folded=True)]


def _others(result: ErrorPatchingDocument) -> list[Block]:
    if not result.others:
        return []
    rows = [
        [
            text(one.pairs.template),
            number_cell(one.pairs.shape),
            count_cell(one.pairs.n),
            estimate(one.pairs.total),
            counted(one.pairs.both_signs),
            figure_cell(one.largest_difference),
        ]
        for one in result.others
    ]
    columns = [
        *word_columns("Template"),
        Column("Shape"),
        Column("Pairs"),
        Column("Total", "mean difference of the logit difference, clean - corrupted"),
        Column("Both signs", "pairs with the right answer in both runs"),
        Column("Largest difference", "of its shares to those of the studied pairs, at named positions"),
    ]
    return [Table("Other shapes and templates", columns, rows)]
