"""Phase 6.4b on the page: circuits of heads and neurons."""

from common.handoffs.error_dense import ErrorDenseDocument
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
from common.words import sentence_case
from phase6_error_circuits.dense.figures import CAPTIONS
from phase6_error_circuits.estimates import caution


def section(phase: PhaseResult, _collected: Collected) -> Section:
    found: ErrorDenseDocument = phase.document()
    made = Section("errors", "Errors", "What carries the name of the error that is to come?", source=phase.place)
    made.blocks = [
        Heading("Heads and neurons", f"{found.contrast}, {found.format}"),
        Paragraph(f"{sentence_case(found.verdict)}.", "verdict"),
        *(Paragraph(f"{sentence_case(sentence)}.") for sentence in found.sentences),
        Paragraph(
            "All nodes but a circuit's have the values of the corrupted run, place by place; the embeddings are the "
            "clean prompt's. With every node kept the metric of a pair is that of the clean run within "
            f"{found.everything_kept:.0e}, with none that of the corrupted run within {found.nothing_kept:.0e}."
        ),
        *figures_of(phase, CAPTIONS),
        _curves(found),
        _nodes(found),
        *_directions(found),
    ]
    if found.gate is not GateVerdict.PASS:
        words = sentence_case(caution(found.gate, found.contrast))
        made.warnings = [warning("An answer that the model does not give", f"{words}.")]
    return made


def _curves(found: ErrorDenseDocument) -> Table:
    columns = [
        Column("Nodes", "heads and neurons at positions"),
        Column("Faithfulness", "share of the total that the circuit keeps, on the pairs that select"),
        Column("Held out", "the same on pairs of other words"),
        Column("Without it, held out", "share of the total that all but the circuit keeps"),
        Column("Random, held out", "as many random nodes of every layer, kind and position"),
    ]
    own = found.held_out
    rows = [
        [count_cell(size), *(estimate(share) for share in shares)]
        for size, *shares in zip(
            found.sizes, found.faithfulness, own.faithfulness, own.completeness, own.random, strict=True
        )
    ]
    return Table("Circuits by size", columns, rows)


def _nodes(found: ErrorDenseDocument) -> Table:
    columns = [
        Column("Node", numeric=False, cell=lambda one: text(f"{one.kind} {one.layer}.{one.unit}")),
        Column("Position", cell=lambda one: number_cell(one.pos)),
        Column("Token", "clean/corrupted where they differ", numeric=False, cell=lambda one: text(one.token)),
        Column("Importance", "by integrated gradients", cell=lambda one: figure_cell(one.importance, 3)),
    ]
    return table_of("The first nodes", columns, found.nodes, folded=True)


def _directions(found: ErrorDenseDocument) -> list[Block]:
    if not found.directions:
        return []
    columns = [
        Column("Layer", cell=lambda one: number_cell(one.layer)),
        Column("Position", numeric=False, cell=lambda one: text(one.position)),
        Column("Direction", "held-out share along the mean difference", cell=lambda one: estimate(one.direction)),
        Column("Whole", "held-out share with each pair's whole difference", cell=lambda one: estimate(one.whole)),
    ]
    return [table_of("Mean differences as directions", columns, found.directions, folded=True)]
