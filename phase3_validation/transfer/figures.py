"""The figure of phase 3.6: both models, or datasets, side by side."""

from typing import Any

from common.handoffs.changes import TransferredCards, TransferredDirection, TransferredSteering
from common.handoffs.estimates import Interval
from common.plots import BLUE, GREY, ORANGE, error_bars, new_figure, svg_bytes
from common.words import direction_words
from phase3_validation.transfer.findings import Names

STYLES = ((BLUE, "o", 0.15), (ORANGE, "s", -0.15))


def side_by_side(names: Names, directions: dict[str, TransferredDirection]) -> bytes:
    """AUROC of each latent, and net change of the pass rate by each steered direction, with 95 % intervals."""
    areas, changes = {}, {}
    for name, entry in directions.items():
        cards, steered = entry.detection, entry.steering
        there = cards.source_threshold.auroc if isinstance(cards, TransferredCards) else None
        areas[name] = (cards.source.auroc, there)
        if isinstance(steered, TransferredSteering):
            home = steered.source.effect
            changes[name] = (home and home.net_change, steered.effect.net_change)
    with new_figure(9, 3.0, n_columns=2) as (figure, (left, right)):
        _draw(left, areas, names, 1)
        left.axvline(0.5, color=GREY, linewidth=0.8)
        left.set(xlabel="AUROC for the direction's label", title="prediction")
        _draw(right, changes, names, 100)
        right.axvline(0, color=GREY, linewidth=0.8)
        right.set(xlabel="net change of the pass rate [points]", title=f"steering, at {names.first}'s coefficient")
        figure.legend(*left.get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=2)
        return svg_bytes(figure, "transfer")


def _draw(axis: Any, pairs: dict[str, tuple[Interval | None, Interval | None]], names: Names, scale: float) -> None:
    for place, (color, marker, shift) in enumerate(STYLES):
        known = [
            (row, one)
            for row, one in enumerate(pair[place] for pair in pairs.values())
            if one is not None and one.value is not None
        ]
        lengths = error_bars(one.times(scale) for _, one in known)
        axis.errorbar([scale * one.known for _, one in known], [-row + shift for row, _ in known], xerr=lengths,
                      color=color, marker=marker, capsize=3, linestyle="none", label=names.short[place])  # fmt: skip
    axis.set_yticks([-row for row in range(len(pairs))], [direction_words(name) for name in pairs])
    axis.set_ylim(-len(pairs) + 0.4, 0.6)
