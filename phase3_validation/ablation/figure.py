"""The figure of phase 3.7: pass rates under each prompt, and how far the latents' activations move."""

from typing import Any

from common.handoffs.changes import AblationDocument
from common.handoffs.estimates import Interval
from common.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, error_bars, new_figure, svg_bytes

STYLES = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"))  # a direction each


def draw(result: AblationDocument, title: str) -> bytes:
    """Pass rate with Wilson's interval; change of each latent in standard deviations, 95 % interval over problems."""
    names = list(result.ablations)
    with new_figure(10, 1.6 + 0.45 * len(names), n_columns=2) as (figure, (left, right)):
        figure.suptitle(title, fontsize=9)
        for place, name in enumerate(names):
            _point(left, place, result.ablations[name].pass_rate, BLUE, "o", None)
        whole = result.ablations[names[0]].pass_rate.value
        if whole is not None:
            left.axvline(whole, color=GREY, linestyle=":", linewidth=1)
        left.set(xlabel="pass rate, 95 % interval", xlim=(0, 1))
        for number, (direction, ablated) in enumerate(result.directions.items()):
            color, marker = STYLES[number % len(STYLES)]
            for place, name in enumerate(names[1:], start=1):
                change = ablated.ablations[name].change_in_sd
                label = direction if place == 1 else None
                _point(right, place + 0.16 * (number - 1.5), change, color, marker, label)
        right.axvline(0, color=GREY, linestyle=":", linewidth=1)
        right.set(xlabel="change of activation [standard deviations], 95 % interval")
        right.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        for axis in (left, right):
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.4, -0.6)
        return svg_bytes(figure, "prompt_ablation")


def _point(axis: Any, place: float, estimate: Interval | None, color: str, marker: str, label: str | None) -> None:
    """A value with its interval; nothing where it is not known."""
    if estimate is None or estimate.value is None:
        return
    axis.errorbar(
        [estimate.value], [place], xerr=error_bars([estimate]), color=color, marker=marker, markersize=4, capsize=2,
        linestyle="none", label=label,
    )  # fmt: skip
