"""One figure: the margin of every prompt, with the threshold of its behaviour."""

from collections.abc import Mapping, Sequence
from typing import Any

from common.handoffs.circuit_prompts import BaselineMetrics
from common.plots import BLUE, GREY, ORANGE, new_figure, png_bytes

CAPTIONS = {
    "margins": (
        "How sure the model is of the right answers",
        "Horizontal: log-probability of a token of the right answer minus that of the wrong one [nats]. Vertical: "
        "behaviours, a point for each prompt. Black: the threshold that most points have to be above.",
    ),
}
COLOURS = {"train": BLUE, "test": ORANGE}


def margins(rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, Mapping[str, BaselineMetrics]]) -> bytes:
    with new_figure(7, 0.9 + 0.7 * len(metrics)) as (figure, axis):
        for place, (behaviour, splits) in enumerate(metrics.items()):
            for split, one in splits.items():
                shown = [row["margin"] for row in rows if (row["behaviour"], row["split"]) == (behaviour, split)]
                middle = place + (-0.18 if split == "train" else 0.18)
                # Points are spread in the order of the prompts: the same rows give the same picture.
                heights = [middle + 0.12 * (2 * (number * 0.618 % 1) - 1) for number in range(len(shown))]
                axis.scatter(shown, heights, s=10, alpha=0.6, linewidths=0, color=COLOURS[split])
                axis.plot([one.threshold] * 2, [place - 0.36, place + 0.36], color="black", linewidth=1.2)
        for split, colour in COLOURS.items():
            axis.scatter([], [], s=10, color=colour, label=split)
        axis.axvline(0, color=GREY, linewidth=0.8)
        axis.set(xlabel="margin [nats a token]", yticks=range(len(metrics)), yticklabels=list(metrics))
        axis.set_ylim(len(metrics) - 0.5, -0.5)
        axis.legend(loc="lower right")
        return png_bytes(figure)
