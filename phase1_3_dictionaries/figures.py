"""Two figures: how often the latents of each layer fire, and how well the dictionaries fit."""

import numpy as np

from common.handoffs.dictionaries import DictionariesDocument
from common.plots import BLUE, GREEN, ORANGE, new_figure, png_bytes, whole_numbers

CAPTIONS = {
    "firing_rates": (
        "How often latents fire",
        "Horizontal: share of tokens of text on which a latent fires, on a logarithmic scale. Vertical: latents. One "
        "line for each layer. Dead latents are not shown.",
    ),
    "fit": (
        "How well the dictionaries fit",
        "Horizontal: layer. Left: fraction of variance unexplained on held-out text, at held-out last prompt tokens "
        "once the mean error is taken off, and on the layers beside. Right: share of the cross-entropy that is "
        "recovered.",
    ),
}


def all_figures(document: DictionariesDocument) -> dict[str, bytes]:
    """Each figure as PNG, by file name."""
    return {"firing_rates.png": firing_rates(document), "fit.png": fit(document)}


def firing_rates(document: DictionariesDocument) -> bytes:
    with new_figure(6, 3.5) as (figure, axis):
        for place, (layer, card) in enumerate(document.layers.items()):
            shade = (place + 1) / len(document.layers)
            edges, look = 10 ** np.array(card.firing.edges), {"color": BLUE, "alpha": 0.2 + 0.8 * shade}
            axis.stairs(card.firing.counts, edges, label=f"layer {layer}", **look)
        axis.set(xscale="log", xlabel="share of tokens on which a latent fires", ylabel="latents")
        if len(document.layers) <= 8:
            axis.legend()
        return png_bytes(figure)


def fit(document: DictionariesDocument) -> bytes:
    layers = [int(layer) for layer in document.layers]
    cards = document.layers.values()
    with new_figure(10, 3.5, n_columns=2) as (figure, (left, right)):
        left.plot(layers, [card.text.fvu for card in cards], marker="o", color=BLUE, label="held-out text")
        for name in next(iter(cards)).last_tokens:
            between = [card.last_tokens[name].fvu_between for card in cards]
            heights = [np.nan if height is None else height for height in between]
            left.plot(layers, heights, marker="s", color=ORANGE, label=f"last token, {name.rpartition('/')[2]}")
        for layer, card in zip(layers, cards, strict=True):
            beside = [one.fvu for one in card.neighbours]
            left.scatter([layer] * len(beside), beside, marker="_", color=GREEN)
        left.set(xlabel="layer", ylabel="fraction of variance unexplained", yscale="log")
        left.legend()
        recovered = [np.nan if (share := card.cross_entropy.recovered) is None else share for card in cards]
        right.plot(layers, recovered, marker="o", color=BLUE)
        right.set(xlabel="layer", ylabel="share of the cross-entropy recovered")
        for axis in (left, right):
            whole_numbers(axis.xaxis)
        return png_bytes(figure)
