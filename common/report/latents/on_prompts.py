"""One latent on the prompts of the selection split: how often it fires, how strongly by label, and where most."""

import numpy as np

from common.evaluation.statistics import counted as counted_of
from common.plots import CORRECT, GREY, INCORRECT, new_figure, png_bytes
from common.report.blocks import (
    Block,
    Cell,
    Column,
    Passage,
    Passages,
    Table,
    count_cell,
    counted,
    figure_cell,
)
from common.report.figures import drawn
from common.report.latents.inputs import Fired, Inputs
from common.report.latents.tokens import last_token
from common.tables import TableRow
from common.words import count, number

N_TOP = 10
UNITS = "in the SAE's units"
LABELS = {"correct": CORRECT, "incorrect": INCORRECT}


def blocks_on_prompts(inputs: Inputs, layer: int, latent: int) -> list[Block]:
    """Raises: PipelineErrors for what is not there."""
    fired = inputs.on_prompts(layer, latent)
    blocks: list[Block] = [firing_table("Where it fires", "Prompts", _groups(fired))]
    if fired.strongest_first:
        blocks += [drawn(*_captions(fired), _histogram(fired)), _top(inputs, fired)]
    return blocks


def firing_table(title: str, item: str, groups: dict[str, np.ndarray], note: str = "") -> Table:
    """A row for each group of activations [n]."""
    columns = [
        Column(item, numeric=False),
        Column("Fires on", "share on which its activation is above 0, with Wilson's 95 % interval"),
        Column("Mean", f"activation over those on which it fires, {UNITS}"),
        Column("Largest", f"activation, {UNITS}"),
    ]
    return Table(title, columns, [_firing_row(name, values) for name, values in groups.items()], note=note)


def _firing_row(name: str, values: np.ndarray) -> list[Cell]:
    firing = values[values > 0]
    mean, largest = (float(firing.mean()), float(firing.max())) if len(firing) else (None, None)
    fires = counted(counted_of(len(firing), len(values))) if len(values) else count_cell(None)
    return [Cell(name), fires, figure_cell(mean), figure_cell(largest)]


def _groups(fired: Fired) -> dict[str, np.ndarray]:
    labels = np.array([row["label"] for row in fired.rows])
    groups = {"all of the selection split": fired.activations}
    groups |= {f"{label} programs": fired.activations[labels == label] for label in LABELS}
    other = ~np.isin(labels, list(LABELS))
    return groups | ({"not judged": fired.activations[other]} if other.any() else {})


def _captions(fired: Fired) -> tuple[str, str]:
    n_silent = int((fired.activations <= 0).sum())
    return (
        "Its activation on prompts, by label",
        f"Horizontal: activation at the last prompt token, {UNITS}. Vertical: prompts of the selection split on which "
        f"it fires; the other {count(n_silent)} of {count(len(fired.rows))} have activation 0. Grey: all; lines: those "
        "whose program is correct, and incorrect.",
    )


def _histogram(fired: Fired) -> bytes:
    labels = np.array([row["label"] for row in fired.rows])
    firing = fired.activations > 0
    bins = np.linspace(0, float(fired.activations.max()), 31)
    with new_figure(6, 3) as (figure, axis):
        axis.hist(fired.activations[firing], bins, color=GREY, alpha=0.3, label=f"all: {count(int(firing.sum()))}")
        for label, color in LABELS.items():
            activations = fired.activations[firing & (labels == label)]
            axis.hist(
                activations,
                bins,
                histtype="step",
                color=color,
                linewidth=1.4,
                label=f"{label}: {count(len(activations))}",
            )
        axis.set(xlabel="activation", ylabel="prompts")
        axis.legend()
        return png_bytes(figure)


def _top(inputs: Inputs, fired: Fired) -> Passages:
    """The prompts on which it is most active, with the token at which the model begins to write."""
    shown = fired.strongest_first[:N_TOP]
    passages = [_passage(inputs, fired.rows[place], float(fired.activations[place])) for place in shown]
    note = (
        f"The {count(len(shown))} strongest of the {count(len(fired.strongest_first))} on which it fires, all of the "
        f"selection split; no prompt of the validation split is shown. Marked: the last prompt token, where the "
        f"activation was stored. Activations are {UNITS}."
    )
    return Passages("Prompts on which it is most active", passages, note)


def _passage(inputs: Inputs, row: TableRow, activation: float) -> Passage:
    prompt = row["prompt"]
    before, token = last_token(inputs.tokenizer, prompt, inputs.bodies([prompt]))
    error = f": {row['error'].replace('_', ' ')}" if row["error"] else ""
    return Passage(before, token, "", number(activation), f"problem {row['task_id']}, {row['label']}{error}")
