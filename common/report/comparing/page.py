"""`run.py report --compare`: one table and one forest plot of all experiments, as a page and for the terminal."""

import datetime
from pathlib import Path

from common.handoffs.detection import PROBE, PROMPT_TEXT, Known
from common.handoffs.estimates import UNDEFINED, Interval
from common.report.blocks import (
    AREA,
    Block,
    Cell,
    Column,
    Commands,
    Forest,
    ForestRow,
    Paragraph,
    Section,
    Table,
    estimate,
    number_cell,
    table_of,
    warning,
)
from common.report.comparing.rows import Compared, not_comparable
from common.report.forest import AXIS, scale_of
from common.report.page import Page, write_page
from common.words import UNKNOWN, count, direction_words, plural, points

HEADING = "Experiments side by side"
GAP = "  "


def write_comparison(rows: list[Compared], path: Path, now: datetime.datetime | None = None) -> int:
    """Write the page; returns its size in bytes. Raises: PipelineError when the file cannot be written."""
    folders = [str(folder) for folder in dict.fromkeys(row.collected.data_dir for row in rows)]
    described = [("Experiments", count(len(rows))), ("Data", ", ".join(folders))]
    return write_page(Page(HEADING, "PVA-SAE", HEADING, described, [_section(rows)]), path, now)


def _section(rows: list[Compared]) -> Section:
    section = Section("comparison", "Comparison", "Which models know, by which dictionaries, and which can be steered?")
    section.blocks += [warning("Not comparable", words) for words in not_comparable(rows)]
    section.blocks += [forest_of_rows(rows), table_of_rows(rows)]
    section.blocks += _missing(rows)
    return section


def forest_of_rows(rows: list[Compared]) -> Forest:
    """The headline's AUROC of each experiment."""
    drawn = [ForestRow(f"{row.group} {row.model}", _beside(row), _area(row), Known.BEFORE) for row in rows]
    words = f"{AXIS}; of the direction that was chosen on other problems, with its 95 % interval; the line is chance."
    return Forest(
        "How well one latent tells", f"{words} Compare rows of one letter.", drawn, scale_of(map(_area, rows))
    )


def _area(row: Compared) -> Interval:
    return UNDEFINED if row.headline is None else row.headline[1].card.auroc


def _beside(row: Compared) -> str:
    return ", ".join(filter(None, [row.dataset, row.made_of]))


def table_of_rows(rows: list[Compared]) -> Table:
    """A row for each experiment."""
    columns = [
        Column("Model", numeric=False, cell=lambda row: Cell(row.model, row.made_of)),
        Column("Group", "rows of one letter may be compared", False, lambda row: Cell(row.group)),
        Column("Problems", numeric=False, cell=_problems),
        Column("Layer", "of the direction that was chosen on other problems", cell=_layer),
        Column("AUROC", "its own on validation; 0.5 is chance (the line)", cell=_area_cell),
        Column("Knows", numeric=False, cell=lambda row: Cell(row.knows.verdict)),
        Column("Probe", "AUROC of a probe of the whole stream", cell=lambda row: _baseline(row, PROBE)),
        Column(
            "Text", "AUROC of what the text of the prompt alone tells", cell=lambda row: _baseline(row, PROMPT_TEXT)
        ),
        Column("Can be steered", numeric=False, cell=_steered),
    ]
    return table_of("All experiments", columns, rows)


def _problems(row: Compared) -> Cell:
    return Cell(row.dataset, "" if row.headline is None else f"{plural(row.headline[1].card.n, 'problem')} judged")


def _layer(row: Compared) -> Cell:
    if row.headline is None:
        return Cell(UNKNOWN)
    name, entry = row.headline
    cell = number_cell(entry.latent.layer)
    return Cell(cell.text, direction_words(name), cell.sort)


def _area_cell(row: Compared) -> Cell:
    return estimate(_area(row), scale=AREA)


def _baseline(row: Compared, name: str) -> Cell:
    known = {} if row.headline is None else row.headline[1].baselines
    return estimate(known[name].auroc if name in known else None)


def _steered(row: Compared) -> Cell:
    change = "" if row.direction is None else f"{points(row.direction.effect.net_change)}"
    return Cell(row.steered.verdict, change)


def _missing(rows: list[Compared]) -> list[Block]:
    commands = dict.fromkeys(outcome.command for row in rows for outcome in (row.knows, row.steered) if outcome.command)
    return [Paragraph("To measure what is missing:"), Commands([*commands])] if commands else []


def as_text(table: Table) -> list[str]:
    """A table's lines for the terminal, its columns below each other."""
    heads = [column.title for column in table.columns]
    cells = [[_in_one_line(cell) for cell in row] for row in table.rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    return [
        GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *cells)
    ]


def _in_one_line(cell: Cell) -> str:
    between = "" if not cell.under else " " if cell.under.startswith("(") else ", "
    return f"{cell.text}{between}{cell.under}"


def terminal_lines(rows: list[Compared]) -> list[str]:
    """The table of the page as text, and what is not comparable."""
    return [*as_text(table_of_rows(rows)), *not_comparable(rows)]
