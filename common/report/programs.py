"""Phases 0, 0.1, 1, 1.1 and 1.2 on the page: the problems, what the model wrote, and how much of it is right."""

from collections import Counter
from typing import Any

from common.evaluation.statistics import wilson_interval
from common.handoffs import DIFFICULTY, GENERAL_TEXT, GENERATIONS, SPLIT, SPLIT_NAMES, TEMPERATURE
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Paragraph,
    Scale,
    Section,
    Table,
    count_cell,
    figure_cell,
    share,
)
from common.report.collect import Collected, PhaseResult
from common.report.figures import figures_of
from common.words import count, number, percent

_PERCENT = Scale(0, 100)
_WHAT_FOR = {"sae": "to select latents", "hyperparams": "to tune", "validation": "to report"}
Row = dict[str, Any]


def programs_section(collected: Collected) -> Section:
    """What phases 1 and 1.2 made."""
    section = Section("programs", "Programs", "What does the model write, and how much of it passes its tests?")
    generations, samples = collected.finished(GENERATIONS), collected.finished(TEMPERATURE)
    if generations is not None:
        section.source = generations.place
        rows = generations.artifact.table("dataset.parquet")
        section.blocks.append(Paragraph(_in_words(rows, generations.manifest["settings"])))
        section.blocks += [_by_split(rows, collected.finished(SPLIT)), _by_complexity(rows)]
        section.blocks += [_errors(rows), _stops(rows)]
    if samples is not None:
        section.blocks.append(_temperatures(samples.json("temperature_metadata.json")))
        section.blocks += figures_of(samples)
    return section


def problems_section(collected: Collected) -> Section:
    """What phases 0, 0.1 and 1.1 prepared."""
    section = Section("problems", "Problems and splits", "Which problems select, tune and report?")
    difficulty, split, text = (collected.finished(handoff) for handoff in (DIFFICULTY, SPLIT, GENERAL_TEXT))
    if difficulty is not None:
        summary = difficulty.manifest["summary"]
        section.blocks.append(Paragraph(
            f"{count(summary['problems'])} problems; the mean cyclomatic complexity of their reference solutions is "
            f"{number(summary['mean_complexity'])}, the largest {count(summary['largest_complexity'])}."
        ))  # fmt: skip
    if split is not None:
        section.source = split.place
        section.blocks += _splits(split.json("split_metadata.json"))
    if text is not None:
        summary = text.manifest["summary"]
        often = summary["latents_that_fire_on_more_than_2_percent"]
        section.blocks.append(Paragraph(
            f"General text: {count(summary['documents'])} documents; of the latents in "
            f"{count(summary['layers_with_an_sae'])} layers, {count(often)} fire on more than 2 % of them."
        ))  # fmt: skip
    return section


def rate_of(rows: list[Row]) -> dict[str, float] | None:
    """Share of the judged programs that pass, with Wilson's interval; None where none was judged."""
    labels = Counter(row["label"] for row in rows)
    judged = labels["correct"] + labels["incorrect"]
    if not judged:
        return None
    low, high = wilson_interval(labels["correct"], judged)
    return {"value": labels["correct"] / judged, "low": low, "high": high}


def _in_words(rows: list[Row], settings: dict[str, Any]) -> str:
    labels = Counter(row["label"] for row in rows)
    how = "greedily" if settings["temperature"] == 0 else f"at temperature {settings['temperature']:g}"
    unjudged = labels["not_run"] + labels["unsupported"]
    rest = f"; {count(unjudged)} could not be judged" if unjudged else ""
    return (
        f"One program per problem, written {how}, at most {count(settings['max_new_tokens'])} tokens, judged by the "
        f"problem's own tests in a sandbox. {count(labels['correct'])} of {count(len(rows))} pass: "
        f"{percent(rate_of(rows))}{rest}. Intervals: Wilson, 95 %."
    )


def _by_split(rows: list[Row], split: PhaseResult | None) -> Table:
    columns = [Column("Split", numeric=False), Column("Programs"), Column("Pass"), Column("Pass rate")]
    groups = {"all": rows}
    if split is not None:
        for name in SPLIT_NAMES:
            members = {row["task_id"] for row in split.artifact.table(f"{name}_{{dataset}}.parquet")}
            groups[f"{name}, {_WHAT_FOR[name]}"] = [row for row in rows if row["task_id"] in members]
    return Table("Pass rate by split", columns, [_rate_row(name, group) for name, group in groups.items()])


def _by_complexity(rows: list[Row]) -> Table:
    columns = [Column("Complexity", "cyclomatic, of the reference solution"), Column("Programs"), Column("Pass"),
               Column("Pass rate")]  # fmt: skip
    values = sorted({row["complexity"] for row in rows})
    made = []
    for value in values:
        group = [row for row in rows if row["complexity"] == value]
        made.append([Cell(str(value), sort=value), *_rate_row("", group)[1:]])
    return Table("Pass rate by difficulty", columns, made)


def _rate_row(name: str, rows: list[Row]) -> list[Cell]:
    n_correct = sum(row["label"] == "correct" for row in rows)
    return [Cell(name), count_cell(len(rows)), count_cell(n_correct), share(rate_of(rows), _PERCENT)]


def _errors(rows: list[Row]) -> Table:
    return _counts("Why programs fail", "Reason", Counter(row["error"] for row in rows if row["error"]))


def _stops(rows: list[Row]) -> Table:
    return _counts("Why generation stopped", "Reason", Counter(row["stop_reason"] for row in rows), folded=True)


def _counts(title: str, what: str, counts: Counter[str], folded: bool = False) -> Table:
    total = counts.total()
    rows = [[Cell(name.replace("_", " ")), count_cell(n), share(n / total)] for name, n in counts.most_common()]
    return Table(title, [Column(what, numeric=False), Column("Programs"), Column("Share")], rows, folded=folded)


def _temperatures(metadata: dict[str, Any]) -> Table:
    columns = [Column("Temperature"), Column("Problems"), Column("Programs"), Column("Pass rate"),
               Column("Solved at least once"), Column("Solved always")]  # fmt: skip
    rows = []
    for found in metadata["temperatures"]:
        low, high = found["pass_rate_95_percent_interval"] or (None, None)
        rate = {"value": found["pass_rate"], "low": low, "high": high}
        rows.append([
            figure_cell(found["temperature"], 1), count_cell(found["problems"]), count_cell(found["programs"]),
            share(rate, _PERCENT), count_cell(found["problems_with_a_correct_program"]),
            count_cell(found["problems_with_only_correct_programs"]),
        ])  # fmt: skip
    note = f"Interval: {metadata['interval']}."
    return Table("Samples of the validation split by temperature", columns, rows, note=note)


def _splits(metadata: dict[str, Any]) -> list[Block]:
    columns = [Column("Split", numeric=False), Column("Problems"), Column("Mean complexity", "with its standard error")]
    rows = [
        [
            Cell(f"{name}, {_WHAT_FOR.get(name, '')}"), count_cell(metadata["sizes"][name]),
            Cell(number(found["mean"]), f"± {number(found['standard_error'])}", found["mean"]),
        ]
        for name, found in metadata["complexity"].items()
    ]  # fmt: skip
    worst = min(metadata["kolmogorov_smirnov_p"].values())
    words = (
        f"Split by complexity with seed {metadata['seed']}. {count(metadata['n_groups'])} groups of near duplicates "
        f"were kept together; {count(len(metadata['pairs_across_splits']))} pairs lie in different splits. The "
        f"smallest Kolmogorov-Smirnov p between the complexities of two splits is {number(worst)}."
    )
    return [Paragraph(words), Table("The splits", columns, rows)]
