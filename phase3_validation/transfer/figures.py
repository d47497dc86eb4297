"""The figure of phase 3.6: both models side by side."""

from typing import Any

from common.plots import new_figure, svg_bytes
from common.words import direction_words
from phase3_validation.transfer.findings import Names

FIRST, OTHER, GREY = "#1f77b4", "#ff7f0e", "#7f7f7f"
STYLES = ((FIRST, "o", 0.15), (OTHER, "s", -0.15))
Entry = dict[str, Any]


def side_by_side(names: Names, found: dict[str, Entry]) -> bytes:
    """AUROC of each latent, and net change of the pass rate by each steered direction, with 95 % intervals."""
    areas = {name: (entry["detection"]["source"]["auroc"], entry["detection"].get("source_threshold", {}).get("auroc"))
             for name, entry in found.items()}  # fmt: skip
    changes = {}
    for name, entry in found.items():
        steered = entry["steering"]
        if steered is not None and "effect" in steered:
            home = steered["source"]["effect"]
            changes[name] = (home and home["net_change"], steered["effect"]["net_change"])
    with new_figure(9, 3.0, n_columns=2) as (figure, (left, right)):
        _draw(left, areas, names, 1)
        left.axvline(0.5, color=GREY, linewidth=0.8)
        left.set(xlabel="AUROC for the direction's label", title="prediction")
        _draw(right, changes, names, 100)
        right.axvline(0, color=GREY, linewidth=0.8)
        right.set(xlabel="net change of the pass rate [points]", title="steering, at the first model's coefficient")
        figure.legend(*left.get_legend_handles_labels(), fontsize=8, loc="outside upper center", ncols=2)
        return svg_bytes(figure, "transfer")


def _draw(axis: Any, pairs: dict[str, tuple[Entry | None, Entry | None]], names: Names, scale: float) -> None:
    for place, (color, marker, shift) in enumerate(STYLES):
        known = [(row, one) for row, pair in enumerate(pairs.values())
                 if (one := pair[place]) is not None and one["value"] is not None]  # fmt: skip
        lengths = [[scale * max(0.0, one["value"] - one["low"]) for _, one in known],
                   [scale * max(0.0, one["high"] - one["value"]) for _, one in known]]  # fmt: skip
        axis.errorbar([scale * one["value"] for _, one in known], [-row + shift for row, _ in known], xerr=lengths,
                      color=color, marker=marker, capsize=3, linestyle="none", label=names.short[place])  # fmt: skip
    axis.set_yticks([-row for row in range(len(pairs))], [direction_words(name) for name in pairs])
    axis.set_ylim(-len(pairs) + 0.4, 0.6)
