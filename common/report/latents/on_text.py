"""One latent on the general text of phase 1.1: how often it fires beside the others of its layer, and on what.

Beside the strongest documents stand some of every quarter of those on which it fires: the strongest alone make a latent
look more of one meaning than it is.

Source: Bricken et al. 2023, "Towards Monosemanticity", section "Feature activation distribution".
"""

import numpy as np

from common.plots import BLUE, ORANGE, new_figure, png_bytes
from common.report.blocks import Block, Figure, Passage, Passages
from common.report.figures import drawn
from common.report.latents.inputs import Fired, Inputs
from common.report.latents.missing import or_why
from common.report.latents.on_prompts import N_TOP, UNITS, firing_table
from common.report.latents.tokens import AROUND, in_its_text
from common.words import count, number

N_OF_A_QUARTER = 3
QUARTERS = ("strongest", "second", "third", "weakest")


def blocks_on_text(inputs: Inputs, layer: int, latent: int) -> list[Block]:
    """Raises: PipelineErrors for what is not there."""
    fired = inputs.on_text(layer, latent)
    note = "One position of each document, drawn at random, without its first token."
    blocks: list[Block] = [firing_table("How often it fires", "Documents", {"general text": fired.activations}, note)]
    blocks += or_why(lambda: [_density(inputs.statistics(layer)["general_text_rate"], latent)])
    if fired.strongest_first:
        blocks += or_why(lambda: _documents(inputs, fired))
    return blocks


def _density(rates: np.ndarray, latent: int) -> Figure:
    """Where a latent stands among those of its layer."""
    rate, fires = float(rates[latent]), rates > 0
    denser = int((rates < rate).sum())
    with new_figure(6, 3) as (figure, axis):
        axis.hist(np.log10(rates[fires]), bins=40, color=BLUE)
        if rate > 0:
            axis.axvline(np.log10(rate), color=ORANGE, label=f"latent {latent}: {100 * rate:.3g} %")
            axis.legend()
        axis.set(xlabel="log10 of the share of general-text documents", ylabel="latents of the layer")
        drawing = png_bytes(figure)
    caption = (
        "Horizontal: log10 of the share of documents on which a latent fires. Vertical: latents of its layer. "
        f"Line: this one, which fires on more than {count(denser)} of the {count(len(rates))} do. "
        f"{count(int((~fires).sum()))} fire on none and are not drawn."
    )
    return drawn("How dense it is beside the others of its layer", caption, drawing)


def _documents(inputs: Inputs, fired: Fired) -> list[Block]:
    order = fired.strongest_first
    note = (
        f"The {count(min(N_TOP, len(order)))} strongest of the {count(len(order))} on which it fires. Marked: the "
        f"token of the stored position, with up to {AROUND} tokens to either side; the model had read "
        f"only those before it. Activations are {UNITS}."
    )
    blocks: list[Block] = [Passages("Texts on which it is most active", _passages(inputs, fired, order[:N_TOP]), note)]
    if len(order) > N_TOP:
        note = f"At even distances within each quarter of the {count(len(order))} documents, by activation."
        places = quarters(order[N_TOP:], len(order))
        blocks.append(Passages("Over the whole range of its activation", _of_quarters(inputs, fired, places), note))
    return blocks


def quarters(rest: list[int], n: int) -> dict[str, list[int]]:
    """Some of each quarter of `n` places, of which `rest` are those that are not shown yet, strongest first."""
    ranks = np.arange(n - len(rest), n)
    chosen = {}
    for quarter, name in enumerate(QUARTERS):
        inside = [place for place, rank in zip(rest, ranks, strict=True) if 4 * rank // n == quarter]
        spaced = np.linspace(0, len(inside) - 1, min(N_OF_A_QUARTER, len(inside)))
        chosen[name] = [inside[i] for i in np.unique(spaced.round().astype(int))]
    return chosen


def _of_quarters(inputs: Inputs, fired: Fired, places: dict[str, list[int]]) -> list[Passage]:
    return [passage for name, some in places.items() for passage in _passages(inputs, fired, some, f"{name} quarter, ")]


def _passages(inputs: Inputs, fired: Fired, places: list[int], where: str = "") -> list[Passage]:
    passages = []
    for place in places:
        row = fired.rows[place]
        text = inputs.documents[row["document"]]
        before, token, after = in_its_text(inputs.tokenizer, text, row["position"], row["token_id"])
        beside = f"{where}document {row['document']}, token {row['position']}"
        passages.append(Passage(before, token, after, number(float(fired.activations[place])), beside))
    return passages
