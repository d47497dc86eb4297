"""What phase 2 measured of one latent, where it ranks, and what phases 3.1 and 3.3 found of it."""

from collections.abc import Callable

import numpy as np

from common.handoffs import DETECTION, LATENT_FIELDS, LATENTS, STEERING, ArtifactSchema
from common.handoffs.detection import DetectedDirection
from common.handoffs.selected import SelectedDocument
from common.handoffs.steering import NotSteered, SteeredDirection
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Commands,
    Paragraph,
    Table,
    change,
    count_cell,
    estimate,
    figure_cell,
    p_cell,
    share,
    text,
    word_columns,
)
from common.report.collect import FINISHED, Collected
from common.report.latents.inputs import Inputs
from common.words import any_value, count, direction_words, listed

_CELLS: dict[str, Callable[[float], Cell]] = {
    **dict.fromkeys(("f_correct", "f_incorrect", "general_text_rate"), share),
    **dict.fromkeys(("separation", "t", "t_active"), lambda value: figure_cell(value, 2, signed=True)),
    **dict.fromkeys(("p", "q", "p_max"), p_cell),
    **dict.fromkeys(("df", "auroc", "decoder_norm"), figure_cell),
    "n_active": count_cell,
}


def blocks_of_statistics(inputs: Inputs, layer: int, latent: int) -> list[Block]:
    """Raises: PipelineErrors for what is not there."""
    result = inputs.collected.needed(LATENTS).document()
    columns = inputs.statistics(layer)
    note = (
        f"Of the {count(result.problems)} problems of the selection split ({count(result.correct)} correct, "
        f"{count(result.incorrect)} incorrect); {count(result.latents)} latents were analysed, "
        f"{count(result.kept)} kept."
    )
    shown = {name: field for name, field in LATENT_FIELDS.items() if name not in ("layer", "latent")}
    rows = [[Cell(name, code=True), _cell(name, columns[name][latent]), Cell(f.meaning)] for name, f in shown.items()]
    table = Table("Its row of latents.parquet", word_columns("Statistic", "Value", "Meaning"), rows, note=note)
    return [table, _ranks(result, layer, latent), *_later(inputs.collected, result, layer, latent)]


def _cell(name: str, value: np.generic) -> Cell:
    plain = value.item()
    known = plain if np.isfinite(plain) else None
    made = _CELLS.get(name, lambda flag: Cell(any_value(bool(flag))))(known) if known is not None else text(None)
    return Cell(made.text)


def _ranks(result: SelectedDocument, layer: int, latent: int) -> Table:
    rows = []
    for name, entry in result.directions.items():
        ranks = [each.rank for each in entry.latents if (each.layer, each.latent) == (layer, latent)]
        rank = f"{ranks[0]} of {len(entry.latents)}" if ranks else f"not among the first {len(entry.latents)}"
        rows.append([Cell(direction_words(name)), Cell(rank), Cell(entry.criterion)])
    return Table("Its place in the selection", word_columns("Direction", "Rank", "Ranked by"), rows)


def _later(collected: Collected, result: SelectedDocument, layer: int, latent: int) -> list[Block]:
    """What was found on the validation split, where this latent stands for a direction."""
    chosen = [
        name
        for name, entry in result.directions.items()
        if entry.latents and (entry.latents[0].layer, entry.latents[0].latent) == (layer, latent)
    ]
    if not chosen:
        words = "It is the first of no direction: phases 3.1 and 3.3 have no result of it on the validation split."
        return [Paragraph(words)]
    blocks: list[Block] = []
    for schema, table in ((DETECTION, _detected), (STEERING, _steered)):
        phase = collected.phases[schema.name]
        if phase.state == FINISHED:
            directions = phase.document().directions
            blocks.append(table({name: directions[name] for name in chosen if name in directions}))
        else:
            blocks += _not_yet(schema, chosen, phase.state, phase.command)
    return blocks


def _not_yet(schema: ArtifactSchema, chosen: list[str], state: str, command: str) -> list[Block]:
    words = f"It stands for {listed([direction_words(name) for name in chosen])}; phase {schema.phase} is {state}."
    return [Paragraph(words), Commands([command])]


def _detected(directions: dict[str, DetectedDirection]) -> Table:
    columns = [
        Column("Direction", numeric=False),
        Column("Verdict", numeric=False),
        Column("AUROC", "for what the direction stands for"),
        Column("Programs", "of the validation split"),
    ]
    rows = [
        [Cell(direction_words(name)), Cell(str(entry.verdict)), estimate(entry.card.auroc), count_cell(entry.card.n)]
        for name, entry in directions.items()
    ]
    return Table("What phase 3.1 found: does it predict?", columns, rows, note="" if rows else "Nothing of it.")


def _steered(directions: dict[str, SteeredDirection | NotSteered]) -> Table:
    columns = [
        Column("Direction", numeric=False),
        Column("Verdict", numeric=False),
        Column("Net change", "of the pass rate on the validation split, in points"),
        Column("Programs"),
    ]
    rows = []
    for name, entry in directions.items():
        effect = entry.effect if isinstance(entry, SteeredDirection) else None
        measured = [change(effect.net_change), count_cell(effect.n)] if effect else [text(None), text(None)]
        rows.append([Cell(direction_words(name)), Cell(str(entry.verdict)), *measured])
    return Table("What phase 3.3 found: does it cause?", columns, rows, note="" if rows else "It was not steered.")
