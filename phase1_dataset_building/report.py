"""Phases 1 and 1.1 on the page: what the model wrote, how much of it is right, and the general text beside it."""

from collections import Counter
from typing import Any

from common.evaluation.statistics import rate
from common.handoffs import SPLIT, SPLIT_FILES, SPLIT_NAMES, SPLIT_PURPOSES
from common.handoffs.estimates import Interval
from common.report.blocks import PERCENT, Cell, Column, Paragraph, Section, Table, count_cell, share
from common.report.collect import Collected, PhaseResult
from common.report.program_warnings import warnings_of
from common.tables import TableRow
from common.words import count, number, percent


def programs_section(phase: PhaseResult, collected: Collected) -> Section:
    section = Section("programs", "Programs", "What does the model write, and how much of it passes its tests?")
    rows = phase.artifact.table("dataset.parquet")
    section.source, section.warnings = phase.place, warnings_of(phase, rows)
    section.blocks.append(Paragraph(_in_words(rows, phase.manifest["settings"])))
    section.blocks += [_by_split(rows, collected.finished(SPLIT)), _by_complexity(rows), _errors(rows), _stops(rows)]
    return section


def general_text_section(phase: PhaseResult, _collected: Collected) -> Section:
    summary = phase.manifest["summary"]
    first, last = summary["mean_norm_of_resid_post"]
    words = (
        f"General text: {count(summary['documents'])} documents; on average the residual stream has a norm of "
        f"{number(first, 1)} behind the first block and of {number(last, 1)} behind the last."
    )
    return Section("problems", blocks=[Paragraph(words)])


def rate_of(rows: list[TableRow]) -> Interval | None:
    """Share of the judged programs that pass, with Wilson's interval; None where none was judged."""
    labels = Counter(row["label"] for row in rows)
    judged = labels["correct"] + labels["incorrect"]
    return rate(labels["correct"], judged) if judged else None


def _in_words(rows: list[TableRow], settings: dict[str, Any]) -> str:
    labels = Counter(row["label"] for row in rows)
    how = "greedily" if settings["temperature"] == 0 else f"at temperature {settings['temperature']:g}"
    unjudged = labels["not_run"] + labels["unsupported"]
    rest = f"; {count(unjudged)} could not be judged" if unjudged else ""
    return (
        f"One program per problem, written {how}, at most {count(settings['max_new_tokens'])} tokens, judged by the "
        f"problem's own tests in a sandbox. {count(labels['correct'])} of {count(len(rows))} pass: "
        f"{percent(rate_of(rows))}{rest}. Intervals: Wilson, 95 %."
    )


def _by_split(rows: list[TableRow], split: PhaseResult | None) -> Table:
    columns = [Column("Split", numeric=False), Column("Programs"), Column("Pass"), Column("Pass rate")]
    groups = {"all": rows}
    if split is not None:
        for name in SPLIT_NAMES:
            members = {row["task_id"] for row in split.artifact.table(SPLIT_FILES[name])}
            groups[f"{name}, {SPLIT_PURPOSES[name]}"] = [row for row in rows if row["task_id"] in members]
    return Table("Pass rate by split", columns, [_rate_row(name, group) for name, group in groups.items()])


def _by_complexity(rows: list[TableRow]) -> Table:
    columns = [
        Column("Complexity", "cyclomatic, of the reference solution"),
        Column("Programs"),
        Column("Pass"),
        Column("Pass rate"),
    ]
    values = sorted({row["complexity"] for row in rows})
    made = []
    for value in values:
        group = [row for row in rows if row["complexity"] == value]
        made.append([Cell(str(value), sort=value), *_rate_row("", group)[1:]])
    return Table("Pass rate by difficulty", columns, made)


def _rate_row(name: str, rows: list[TableRow]) -> list[Cell]:
    n_correct = sum(row["label"] == "correct" for row in rows)
    return [Cell(name), count_cell(len(rows)), count_cell(n_correct), share(rate_of(rows), PERCENT)]


def _errors(rows: list[TableRow]) -> Table:
    return _counts("Why programs fail", "Reason", Counter(row["error"] for row in rows if row["error"]))


def _stops(rows: list[TableRow]) -> Table:
    return _counts("Why generation stopped", "Reason", Counter(row["stop_reason"] for row in rows), folded=True)


def _counts(title: str, what: str, counts: Counter[str], folded: bool = False) -> Table:
    total = counts.total()
    rows = [[Cell(name.replace("_", " ")), count_cell(n), share(n / total)] for name, n in counts.most_common()]
    return Table(title, [Column(what, numeric=False), Column("Programs"), Column("Share")], rows, folded=folded)
