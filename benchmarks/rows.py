"""One row of the table of benchmarks, and how the table is written."""

import dataclasses
import operator
from collections.abc import Sequence

HEADER = "| what | beside what | ratio: median (least to most) | goal | holds | measured |\n|---|---|---|---|---|---|"
COMPARISONS = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}


@dataclasses.dataclass(frozen=True)
class Row:
    """What was measured beside what. `ratio` is the median over the rounds, `low` and `high` the least and the most.

    `goal` is a comparison and a number, as in '>= 25', or empty. `text` says what was measured in its own units, and
    what was extrapolated. A row without a ratio has its text alone.
    """

    name: str
    against: str = ""
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    goal: str = ""
    text: str = ""
    n_rounds: int = 1


def holds(row: Row) -> bool | None:
    """Whether the ratio meets the row's goal; None where it has none."""
    if not row.goal:
        return None
    sign, number = row.goal.split()
    assert sign in COMPARISONS, f"goal is '{row.goal}'; it begins with one of {', '.join(COMPARISONS)}"
    return row.ratio is not None and COMPARISONS[sign](row.ratio, float(number))


def render(row: Row) -> str:
    """The row as a line of the table that HEADER begins."""
    shown = "" if row.ratio is None else number(row.ratio)
    if row.low is not None and row.high is not None and row.n_rounds > 1:
        shown += f" ({number(row.low)} to {number(row.high)})"
    held = {None: "", True: "yes", False: "**no**"}[holds(row)]
    rounds = f"{row.n_rounds} rounds" if row.n_rounds > 1 and row.ratio is not None else ""
    measured = "; ".join(part for part in (row.text, rounds) if part)
    cells = (row.name, row.against, shown, row.goal, held, measured)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def render_table(rows: Sequence[Row]) -> str:
    return "\n".join([HEADER, *map(render, rows)])


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
