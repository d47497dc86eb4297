"""The figure of phase 3.5: what the loss of each direction does, among that of its matched latents."""

from common.handoffs.changes import RemovedDirection
from common.handoffs.steering import MATCHED_LATENT
from common.plots import BLUE, GREY, ORANGE, error_bars, new_figure, svg_bytes
from common.words import direction_words


def among_matched(entries: dict[str, RemovedDirection]) -> bytes:
    """Net change of the pass rate without a direction (with interval) and without each matched latent."""
    with new_figure(6.4, 1.2 + 1.0 * len(entries)) as (figure, axis):
        names = []
        for number, (name, entry) in enumerate(entries.items()):
            height, change = 2 * (len(entries) - 1 - number), entry.effect.net_change
            names.append((height, f"without {direction_words(name)}\n(should {entry.wanted})"))
            each = [control.net_change for control in entry.controls[MATCHED_LATENT].each]
            known = [100 * value for value in each if value is not None]
            lower = [
                height - 0.4 - 0.16 * known[:place].count(value) for place, value in enumerate(known)
            ]  # side by side
            axis.plot(known, lower, marker="s", markersize=4, color=ORANGE, linestyle="none",
                      label=None if number else "without a matched latent")  # fmt: skip
            if change.value is not None:
                label = None if number else "without the direction"
                style = {"marker": "o", "capsize": 3, "color": BLUE, "linestyle": "none", "label": label}
                axis.errorbar([100 * change.value], [height], xerr=error_bars([change.times(100)]), **style)
        axis.axvline(0, color=GREY, linewidth=0.8)
        axis.set_yticks([height for height, _ in names], [label for _, label in names])
        axis.set(xlabel="net change of the pass rate [points]", ylim=(-1.6, 2 * len(entries) - 1.2))
        axis.legend(fontsize=7, loc="best")
        return svg_bytes(figure, "orthogonalisation")
