"""What a page is made of: sections of paragraphs, facts, tables, figures and examples. The template draws them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from common.handoffs.detection import Known
from common.handoffs.estimates import Counted, Interval
from common.words import UNKNOWN, any_value, bounds, count, number, p_value, telling

_LEADING_NUMBER = re.compile(r"([+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)")


@dataclass(frozen=True)
class Scale:
    """The axis on which a column's intervals are drawn, and the value that would mean that nothing was found."""

    low: float
    high: float
    nothing: float | None = None

    def place(self, value: float) -> float:
        """Where a value lies, in percent of the axis; values beyond its ends lie on them."""
        return round(100 * min(1.0, max(0.0, (value - self.low) / (self.high - self.low))), 2)


PERCENT = Scale(0, 100)
AREA = Scale(0, 1, 0.5)  # of an AUROC


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a smaller line below, what it sorts by, and an interval drawn beside the text.

    `code` cells are set as what one types.
    """

    text: str
    under: str = ""
    sort: float | None = None
    bar: dict[str, float] | None = None
    link: str | None = None
    code: bool = False


@dataclass(frozen=True)
class Column:
    """One column; `meaning` is shown below the table, `cell` is what stands in it for an entry (see `table_of`)."""

    title: str
    meaning: str = ""
    numeric: bool = True
    cell: Callable[[Any], Cell] = lambda entry: Cell(str(entry))


@dataclass(frozen=True)
class Table:
    """A table that readers can sort. `folded` tables are opened with a click."""

    kind: ClassVar[str] = "table"
    title: str
    columns: list[Column]
    rows: list[list[Cell]]
    note: str = ""
    folded: bool = False
    id: str = ""

    @property
    def meanings(self) -> list[Column]:
        return [column for column in self.columns if column.meaning]


@dataclass(frozen=True)
class Figure:
    """A drawing that is part of the page, as the data URI `source` of a picture on a light card.

    `path` is the file that it was made from, '' where it was drawn for the page; `width` and `height` its natural ones
    in CSS pixels.
    """

    kind: ClassVar[str] = "figure"
    title: str
    caption: str
    path: str
    width: int
    height: int
    source: str
    id: str = ""

    @property
    def alt(self) -> str:
        return f"{self.title}. {self.caption}"

    @property
    def n_bytes(self) -> int:
        return len(self.source)


@dataclass(frozen=True)
class Drawing:
    """A drawing in the page's own colours: an SVG element that is written into it, made by this program alone."""

    kind: ClassVar[str] = "drawing"
    title: str
    caption: str
    svg: str
    id: str = ""


@dataclass(frozen=True)
class ForestRow:
    """One estimate of a forest plot. `known` has a colour and a shape; `section` is where it is from."""

    label: str
    beside: str
    value: Interval
    known: Known = Known.BEFORE
    section: str = ""


@dataclass(frozen=True)
class Forest:
    """Estimates with their intervals, one below the other, on one axis with ticks at tenths."""

    kind: ClassVar[str] = "forest"
    title: str
    caption: str
    rows: list[ForestRow]
    scale: Scale
    id: str = ""

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Where they are, in percent of the axis, and what they say."""
        tenths = range(round(10 * self.scale.low), round(10 * self.scale.high) + 1)
        return [(self.scale.place(tenth / 10), number(tenth / 10, 1)) for tenth in tenths]

    @property
    def chance(self) -> float | None:
        return None if self.scale.nothing is None else self.scale.place(self.scale.nothing)

    @property
    def drawn(self) -> list[tuple[ForestRow, Cell]]:
        """Each row, with the cell that has its numbers and where they lie."""
        return [(row, estimate(row.value, scale=self.scale)) for row in self.rows]

    @property
    def kinds(self) -> list[Known]:
        """Those of its rows."""
        return [known for known in Known if any(row.known is known for row in self.rows)]


@dataclass(frozen=True)
class Paragraph:
    """Words. `tone` is empty, 'note' (smaller), 'verdict' or 'warning'."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: str = ""
    label: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading inside a section, with what is set beside it."""

    kind: ClassVar[str] = "heading"
    text: str
    beside: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Facts:
    """Terms and what is known of them; a value may be a cell with a link."""

    kind: ClassVar[str] = "facts"
    pairs: list[tuple[str, Cell]]


@dataclass(frozen=True)
class Example:
    """A program, line by line: each with ' ', '-' or '+' for what a change did to it."""

    kind: ClassVar[str] = "example"
    title: str
    outcome: str
    problem: str
    lines: list[tuple[str, str]]
    legend: str = ""
    note: str = ""


@dataclass(frozen=True)
class Commands:
    """What to type, a command in each line."""

    kind: ClassVar[str] = "commands"
    lines: list[str]


@dataclass(frozen=True)
class Passage:
    """A text with one token marked; `measure` is what was measured there, `beside` where that is from."""

    before: str
    token: str
    after: str
    measure: str
    beside: str = ""


@dataclass(frozen=True)
class Passages:
    """Texts one below the other."""

    kind: ClassVar[str] = "passages"
    title: str
    passages: list[Passage]
    note: str = ""


@dataclass(frozen=True)
class Fold:
    """What is opened with a click, or by a link to its `id`.

    `tone` is that of what stands beside the title; `says` is the part's answer, which is read without a click.
    """

    kind: ClassVar[str] = "fold"
    id: str
    title: str
    beside: str
    blocks: list[Block]
    tone: str = ""
    says: str = ""


Block = Table | Figure | Drawing | Forest | Paragraph | Heading | Facts | Example | Commands | Passages | Fold


def parts_of(blocks: list[Block]) -> list[list[Block]]:
    """The blocks, and those of each fold among them."""
    return [blocks, *(part for block in blocks if isinstance(block, Fold) for part in parts_of(block.blocks))]


@dataclass
class Section:
    """One part of the page, with its place in the table of contents. `source` names the run it was made from.

    What several phases say under one `id` stands together, under the title of the first. `warnings` are shown with
    those of the other phases; `answer` is what the phase says to one of the page's three questions.
    """

    id: str
    title: str = ""
    question: str = ""
    blocks: list[Block] = field(default_factory=list)
    source: str = ""
    warnings: list[Block] = field(default_factory=list)
    answer: str = ""


def warning(label: str, words: str) -> Block:
    return Paragraph(words, "warning", label)


def text(value: Any, link: str | None = None) -> Cell:
    """A cell of words. A link must be a web page: what a data folder says must not run in the reader's browser."""
    known = link if link and link.startswith("https://") else None
    return Cell(UNKNOWN if value is None else str(value), link=known)


def latent_id(layer: int, latent: int) -> str:
    """The name of a selected latent's place on the report's page."""
    return f"latent-{layer}-{latent}"


def latent_cell(words: Any, layer: int, latent: int) -> Cell:
    """A cell of words that lead to that place."""
    return Cell(str(words), link=f"#{latent_id(layer, latent)}")


def table_of(title: str, columns: list[Column], entries: Iterable[Any], note: str = "", folded: bool = False) -> Table:
    """A row for each entry, of what each column's `cell` makes of it."""
    rows = [[column.cell(entry) for column in columns] for entry in entries]
    return Table(title, columns, rows, note=note, folded=folded)


def word_columns(*titles: str) -> list[Column]:
    return [Column(title, numeric=False) for title in titles]


def number_cell(number: int) -> Cell:
    """A cell of what has a number for its name: a layer, a latent, a problem."""
    return Cell(str(number), sort=number)


def value_cell(value: Any) -> Cell:
    """A cell of a value of any kind; numbers, intervals, and words that begin with a number sort by it."""
    if isinstance(value, Interval):
        return estimate(value)
    if isinstance(value, str):
        leading = _LEADING_NUMBER.match(value)
        return Cell(any_value(value), sort=float(leading[1].replace(",", "")) if leading else None)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Cell(any_value(value), sort=float(value) if is_number else None)


def count_cell(n: int | float | None) -> Cell:
    """A cell of a number of things."""
    return Cell(count(n), sort=n)


def p_cell(p: float | None) -> Cell:
    return Cell(p_value(p), sort=p)


def figure_cell(value: float | None, digits: int = 2, signed: bool = False) -> Cell:
    """A cell of one number with its rounding."""
    return Cell(telling(value, digits, signed), sort=value)


def share(value: Interval | float | None, scale: Scale | None = None) -> Cell:
    """A cell of a share in percent, its interval below when it has one."""
    if value is None or isinstance(value, int | float):
        return Cell(UNKNOWN if value is None else f"{number(100 * value, 1)} %", sort=value)
    made = estimate(value.times(100), 1, scale=scale)
    return made if made.sort is None else replace(made, text=f"{made.text} %")


def counted(entry: Counted) -> Cell:
    """A cell of a share with what was counted."""
    made = share(entry.rate)
    return replace(made, under=" ".join(filter(None, [f"{count(entry.n)} of {count(entry.of)}", made.under])))


def change(value: Interval | None, scale: Scale | None = None) -> Cell:
    """A cell of the change of a share, in percentage points, its interval below."""
    return Cell(UNKNOWN) if value is None else estimate(value.times(100), 1, signed=True, scale=scale)


def scale_of_changes(changes: list[Interval | None]) -> Scale:
    """An axis with zero in its middle on which all the changes [points] have room."""
    ends = [end for change in changes if change for end in (change.low, change.high)]
    widest = max([1.0, *(abs(100 * end) for end in ends if end is not None)])
    return Scale(-widest, widest, 0)


def estimate(value: Interval | None, digits: int = 2, signed: bool = False, scale: Scale | None = None) -> Cell:
    """A cell of an estimate, its interval below; drawn too when it has a scale."""
    if value is None or value.value is None:
        return Cell(UNKNOWN)
    bar, low, high = None, value.low, value.high
    if scale is not None and low is not None and high is not None:
        ends = {"low": scale.place(low), "high": scale.place(high)}
        nothing = {} if scale.nothing is None else {"nothing": scale.place(scale.nothing)}
        bar = {"value": scale.place(value.value), **ends, **nothing}
    return Cell(number(value.value, digits, signed), bounds(value, digits, signed), value.value, bar)
