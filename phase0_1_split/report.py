"""Phase 0.1 on the page: the splits."""

from common.handoffs import SPLIT_PURPOSES
from common.handoffs.preparation import SplitDocument
from common.report.blocks import Cell, Column, Paragraph, Section, Table, count_cell
from common.report.collect import Collected, PhaseResult
from common.words import number, plural


def section(phase: PhaseResult, _collected: Collected) -> Section:
    metadata: SplitDocument = phase.document()
    columns = [Column("Split", numeric=False), Column("Problems"), Column("Mean complexity", "with its standard error")]
    rows = [
        [
            Cell(f"{name}, {SPLIT_PURPOSES[name]}"),
            count_cell(metadata.sizes[name]),
            Cell(number(estimate.mean), f"± {number(estimate.standard_error)}", estimate.mean),
        ]
        for name, estimate in metadata.complexity.items()
    ]
    worst = min(p for p in metadata.kolmogorov_smirnov_p.values() if p is not None)
    words = (
        f"Split by complexity with seed {metadata.seed}. {plural(metadata.n_groups, 'group')} of near duplicates "
        f"were kept together; {plural(len(metadata.pairs_across_splits), 'pair')} in different splits. The "
        f"smallest Kolmogorov-Smirnov p between the complexities of two splits is {number(worst)}."
    )
    return Section("problems", blocks=[Paragraph(words), Table("The splits", columns, rows)], source=phase.place)
