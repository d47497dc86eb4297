"""Phase 6.4b on the page: circuits of heads and neurons."""

from common.handoffs.error_dense import DenseVerdict, ErrorDenseDocument
from common.handoffs.error_gate import GateVerdict
from common.report.blocks import (
    Block,
    Column,
    Heading,
    Paragraph,
    Section,
    Table,
    count_cell,
    estimate,
    figure_cell,
    number_cell,
    table_of,
    text,
    warning,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count, sentence_case
from phase6_error_circuits.dense.figures import CAPTIONS
from phase6_error_circuits.estimates import caution
from phase6_error_circuits.page import errors


def section(phase: PhaseResult, _collected: Collected) -> Section:
    result: ErrorDenseDocument = phase.document()
    made = errors(phase.place)
    made.blocks = [
        Heading("Heads and neurons", f"{result.contrast}, {result.format}"),
        Paragraph(_answer(result), "verdict"),
        *(Paragraph(f"{sentence_case(sentence)}.") for sentence in result.sentences),
        Paragraph(
            "All nodes but a circuit's have the values of the corrupted run, place by place; the embeddings are the "
            "clean prompt's. With every node kept the metric of a pair is that of the clean run within "
            f"{result.everything_kept:.0e}, with none that of the corrupted run within {result.nothing_kept:.0e}."
        ),
        *figures_of(phase, CAPTIONS),
        _curves(result),
        _nodes(result),
        *_directions(result),
    ]
    if result.gate is not GateVerdict.PASS:
        words = sentence_case(caution(result.gate, result.contrast))
        made.warnings = [warning("An answer that the model does not give", f"{words}.")]
    return made


def _answer(result: ErrorDenseDocument) -> str:
    if result.verdict is not DenseVerdict.FOUND or result.smallest_enough is None:
        return f"{sentence_case(result.verdict)}."
    return f"{count(result.smallest_enough)} of {count(result.n_nodes)} heads and neurons suffice on other pairs."


def _curves(result: ErrorDenseDocument) -> Table:
    columns = [
        Column("Nodes", "heads and neurons at positions"),
        Column("Faithfulness", "share of the total that the circuit keeps, on the pairs that select"),
        Column("Held out", "the same on pairs of other words"),
        Column("Without it, held out", "share of the total that all but the circuit keeps"),
        Column("Random, held out", "as many random nodes of every layer, kind and position"),
    ]
    held_out = result.held_out
    rows = [
        [count_cell(size), *(estimate(share) for share in shares)]
        for size, *shares in zip(
            result.sizes,
            result.faithfulness,
            held_out.faithfulness,
            held_out.completeness,
            held_out.random,
            strict=True,
        )
    ]
    return Table("Circuits by size", columns, rows)


def _nodes(result: ErrorDenseDocument) -> Table:
    columns = [
        Column("Node", numeric=False, cell=lambda one: text(f"{one.kind} {one.layer}.{one.unit}")),
        Column("Position", cell=lambda one: number_cell(one.pos)),
        Column("Token", "clean/corrupted where they differ", numeric=False, cell=lambda one: text(one.token)),
        Column("Importance", "by integrated gradients", cell=lambda one: figure_cell(one.importance, 3)),
    ]
    return table_of("The first nodes", columns, result.nodes, folded=True)


def _directions(result: ErrorDenseDocument) -> list[Block]:
    if not result.directions:
        return []
    columns = [
        Column("Layer", cell=lambda one: number_cell(one.layer)),
        Column("Position", numeric=False, cell=lambda one: text(one.position)),
        Column("Direction", "held-out share along the mean difference", cell=lambda one: estimate(one.direction)),
        Column("Whole", "held-out share with each pair's whole difference", cell=lambda one: estimate(one.whole)),
    ]
    return [table_of("Mean differences as directions", columns, result.directions, folded=True)]
