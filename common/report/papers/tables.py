"""A table of the report as CSV, for a program to read, and as LaTeX, for a paper to include."""

import csv
import io

from common.report.blocks import Cell, Table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "–": "--",
    "−": "$-$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "→": r"$\to$",
}


def csv_of(table: Table) -> str:
    """What is shown, a row each; beside a column of numbers, under `<title> (number)`, those that it sorts by."""
    numbers = [place for place, column in enumerate(table.columns) if column.numeric and _has_numbers(table, place)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    titles = [column.title for column in table.columns]
    writer.writerow([*titles, *(f"{titles[place]} (number)" for place in numbers)])
    for row in table.rows:
        sorts = [row[place].sort for place in numbers]
        writer.writerow([*map(shown, row), *("" if number is None else repr(number) for number in sorts)])
    return out.getvalue()


def latex_of(table: Table, label: str) -> str:
    r"""A table environment, for \usepackage{booktabs}; the caption is the title and what stands below the table."""
    spec = "".join("r" if column.numeric else "l" for column in table.columns)
    meanings = "; ".join(f"{column.title}: {column.meaning}" for column in table.meanings)
    below = " ".join(filter(None, [table.note, f"{meanings}." if meanings else ""]))
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(' '.join(filter(None, [f'{table.title}.', below])))}}}",
        rf"\label{{tab:{label}}}",
        rf"\begin{{tabular}}{{{spec}}}",
        r"\toprule",
        " & ".join(escaped(column.title) for column in table.columns) + r" \\",
        r"\midrule",
        *(" & ".join(escaped(shown(cell)) for cell in row) + r" \\" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def shown(cell: Cell) -> str:
    """Its text, and in the same line what stands below it."""
    return " ".join(filter(None, [cell.text, cell.under]))


def escaped(text: str) -> str:
    """Text as LaTeX sets it; characters that it may not have are left as they are, for XeLaTeX and LuaLaTeX."""
    return "".join(_LATEX.get(character, character) for character in " ".join(text.split()))


def _has_numbers(table: Table, place: int) -> bool:
    return any(row[place].sort is not None for row in table.rows)
