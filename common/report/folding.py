"""What of a section stands open and what a click opens, and where each part of the page is found.

1. A section shows its words, every warning, and the first figure or table that is small, unless the words are long.
   Every part under a heading of its own, every other table and every other figure is opened with a click, or by a link
   to it.
2. Each figure, table and part has a place of its own, which links lead to (`placed`).
"""

import itertools
import re
from collections import Counter
from dataclasses import dataclass, replace

from common.report.blocks import (
    Block,
    Commands,
    Drawing,
    Example,
    Facts,
    Figure,
    Fold,
    Forest,
    Heading,
    Paragraph,
    Section,
    Table,
    parts_of,
)
from common.words import plural

TALLEST, MOST_ROWS, MOST_PAIRS = 440, 8, 8  # of a figure [CSS pixels], a table and facts that stand open
MOST_WORDS, MOST_COMMANDS = 1200, 3  # characters of the words above a figure that stands open; lines to be typed
Shown = Figure | Drawing | Table | Forest  # what links lead to


def fold_away(sections: list[Section]) -> list[Section]:
    """The same sections, of which little stands open; nothing is left out."""
    return [replace(section, blocks=_folded(section.blocks)) for section in sections]


def _folded(blocks: list[Block]) -> list[Block]:
    starts = [place for place, block in enumerate(blocks) if isinstance(block, Heading)]
    lead = blocks[: starts[0]] if starts else blocks
    ranges = itertools.pairwise([*starts, len(blocks)])
    return [*_lead(lead), *(_part(blocks[start], blocks[start + 1 : end]) for start, end in ranges)]


def _part(heading: Block, blocks: list[Block]) -> Fold:
    """What stands under a heading; its answer, if it begins with one, is not folded."""
    assert isinstance(heading, Heading)
    first = blocks[0] if blocks else None
    says = first.text if isinstance(first, Paragraph) and first.tone == "verdict" else ""
    return Fold("", heading.text, heading.beside, blocks[1:] if says else blocks, heading.tone, says)


def _lead(blocks: list[Block]) -> list[Block]:
    """What comes before the first heading: words, and what is small; then the rest, folded."""
    opened: list[Block] = []
    tables: list[Block] = []
    figures: list[Block] = []
    examples: list[Block] = []
    for block in blocks:
        said = sum(len(one.text) for one in opened if isinstance(one, Paragraph))
        shows_something = said > MOST_WORDS or any(isinstance(one, Shown | Example) for one in opened)
        if _stays(block, shows_something):
            opened.append(block)
        elif isinstance(block, Figure | Drawing):
            figures.append(block)
        elif isinstance(block, Table):
            tables.append(replace(block, folded=True))
        elif isinstance(block, Example):
            examples.append(block)
        else:
            opened.append(_in_its_place(block))
    more = "more " * any(isinstance(block, Figure | Drawing) for block in opened)
    folds = [_fold_of(examples, "more example"), _fold_of(figures, f"{more}figure")]
    return [*opened, *(fold for fold in folds if fold.blocks), *tables]


def _stays(block: Block, shows_something: bool) -> bool:
    match block:
        case Figure():
            return not shows_something and block.height <= TALLEST
        case Table():
            return block.folded or not block.rows or (not shows_something and len(block.rows) <= MOST_ROWS)
        case Drawing() | Example():
            return not shows_something
        case Facts():
            return len(block.pairs) <= MOST_PAIRS
        case Commands():
            return len(block.lines) <= MOST_COMMANDS
    return True


def _in_its_place(block: Block) -> Fold:
    """What belongs to the words before it."""
    n = len(block.lines) if isinstance(block, Commands) else 0
    return Fold("", plural(n, "command") if n else "Details", "", [block])


def _fold_of(blocks: list[Block], what: str) -> Fold:
    titles = [block.title for block in blocks if isinstance(block, Figure | Drawing | Example)]
    return Fold("", plural(len(blocks), what), "; ".join(titles[:3]) + "; …" * (len(titles) > 3), blocks)


@dataclass(frozen=True)
class Place:
    """Where something is found on the page, and what it is called."""

    id: str
    title: str


def placed(sections: list[Section]) -> list[Section]:
    """The same sections, in which everything that has a title has an id that no other has."""
    taken = Counter(section.id for section in sections)
    every = [block for section in sections for part in parts_of(section.blocks) for block in part]
    taken.update(block.id for block in every if isinstance(block, Shown | Fold) and block.id)

    def with_id(block: Block, section: str) -> Block:
        if isinstance(block, Fold):
            block = replace(block, blocks=[with_id(inner, section) for inner in block.blocks])
        if not isinstance(block, Shown | Fold) or block.id:
            return block
        name = re.sub(r"[^a-z0-9]+", "-", f"{section} {block.title}".lower()).strip("-")[:80]
        taken[name] += 1
        return replace(block, id=name if taken[name] == 1 else f"{name}-{taken[name]}")

    return [replace(one, blocks=[with_id(block, one.id) for block in one.blocks]) for one in sections]


def figures_and_tables(section: Section) -> list[Place]:
    """Those of a placed section that have something to show, in the order of the page."""
    parts = parts_of(section.blocks)
    shown = [block for part in parts for block in part if isinstance(block, Shown)]
    return [Place(block.id, block.title) for block in shown if not isinstance(block, Table) or block.rows]
