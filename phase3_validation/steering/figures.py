"""Figures of phases 3.2 and 3.3: dose and response, a direction among its controls, what became of the programs."""

from typing import Any

from common.handoffs.steering import (
    DEGENERATE_LIMIT,
    MATCHED_LATENT,
    RANDOM_DIRECTION,
    AgainstControls,
    CoefficientCurve,
    ControlEffect,
    CurvePoint,
    SteeredDirection,
)
from common.plots import BLUE, GREY, ORANGE, error_bars, new_figure, svg_bytes

LINES = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))
KINDS = {MATCHED_LATENT: ("matched latents", ORANGE, "s"), RANDOM_DIRECTION: ("random directions", GREY, "^")}
CHANGE, KL = "net change of the pass rate [points]", "disturbance: KL [nats per token]"
LINEAR_BELOW = 1e-3  # of KLs, which range over powers of ten and may be zero


def dose_response(name: str, tuned: CoefficientCurve, tested: SteeredDirection | None = None) -> bytes:
    """Net change, newly degenerate share and KL against the coefficient, a line for each layer; hollow: not admissible.

    `tested` is what the same coefficient did on the validation split, and between what limits its controls lie.
    """
    layers = list(dict.fromkeys(point.layer for point in tuned.curve))
    with new_figure(10, 3.4, n_columns=3) as (figure, axes):
        for number, layer in enumerate(layers):
            points = [point for point in tuned.curve if point.layer == layer]
            _draw_layer(axes, points, layer, *LINES[number % len(LINES)])
        if tested is not None:
            _draw_tested(axes[0], tested)
        axes[0].axhline(0, color=GREY, linewidth=0.8)
        axes[1].axhline(100 * DEGENERATE_LIMIT, color=GREY, linestyle=":", label="limit")
        axes[0].set(ylabel=CHANGE, title=f"{name}: to {tuned.wanted} the pass rate")
        axes[1].set(ylabel="newly degenerate [%]", title="broken outputs (hollow: too many)", ylim=(0, None))
        axes[2].set(ylabel=KL, title="disturbance")
        axes[2].set_yscale("symlog", linthresh=LINEAR_BELOW)
        axes[2].set_ylim(0, None)
        for axis in axes:
            axis.set_xlabel("coefficient [mean norms]")
        axes[0].legend(fontsize=7)
        axes[1].legend(fontsize=7)
        return svg_bytes(figure, f"dose-response-{name}")


def _draw_layer(axes: list[Any], points: list[CurvePoint], layer: int, marker: str, line: str) -> None:
    x = [point.coefficient for point in points]
    intervals = [point.net_change for point in points]
    label = f"hyperparams, layer {layer}"
    style = {"color": BLUE, "linestyle": line}
    if all(interval.value is not None for interval in intervals):
        y = [100 * interval.known for interval in intervals]
        axes[0].errorbar(x, y, yerr=error_bars(each.times(100) for each in intervals), capsize=2, label=label, **style)
        _markers(axes[0], points, y, marker)
    y = [100 * point.newly_degenerate_rate for point in points if point.newly_degenerate_rate is not None]
    if len(y) == len(points):
        axes[1].plot(x, y, label=f"layer {layer}", **style)
        _markers(axes[1], points, y, marker)
        axes[2].plot(x, [point.trajectory_kl for point in points], marker=marker, **style)


def _markers(axis: Any, points: list[CurvePoint], heights: list[float], marker: str) -> None:
    for point, height in zip(points, heights, strict=True):
        axis.plot(
            point.coefficient,
            height,
            marker=marker,
            color=BLUE,
            linestyle="none",
            fillstyle="full" if point.admissible else "none",
        )


def _draw_tested(axis: Any, tested: SteeredDirection) -> None:
    """What validation says of the chosen coefficient, a little to the right of it, and its controls' range."""
    change, place = tested.effect.net_change, tested.coefficient
    if change.value is None:
        return
    style = {"marker": "*", "markersize": 9, "capsize": 2, "color": BLUE, "linestyle": "none", "label": "validation"}
    axis.errorbar([place + 0.04], [100 * change.value], yerr=error_bars([change.times(100)]), **style)
    for shift, (kind, (label, color, marker)) in enumerate(KINDS.items(), start=2):
        values = [100 * change for _, change in _judged(tested.controls[kind])]
        if values:
            axis.plot([place + 0.04 * shift] * 2, [min(values), max(values)], marker=marker, markersize=4, color=color,
                      linewidth=3, alpha=0.6, label=f"its {label}")  # fmt: skip


def among_controls(name: str, entry: SteeredDirection) -> bytes:
    """A direction's net change among those of its controls; and the same at the disturbance that each causes."""
    change = entry.effect.net_change
    rows = [(label, color, marker, _judged(entry.controls[kind])) for kind, (label, color, marker) in KINDS.items()]
    with new_figure(9, 3.2, n_columns=2) as (figure, (left, right)):
        if change.value is not None:
            value = 100 * change.value
            style = {"marker": "o", "color": BLUE, "linestyle": "none"}
            left.errorbar([value], [2], xerr=error_bars([change.times(100)]), capsize=3, **style)
            right.plot(entry.effect.trajectory_kl, value, label=name, zorder=3, **style)
            for height, (label, color, marker, each) in zip((1, 0), rows, strict=True):
                values = [100 * change for _, change in each]
                style = {"color": color, "marker": marker, "linestyle": "none", "alpha": 0.7}
                left.plot(values, [height] * len(values), **style)
                right.plot([control.trajectory_kl for control, _ in each], values, label=label, **style)
        left.axvline(0, color=GREY, linewidth=0.8)
        left.set_yticks([2, 1, 0], [name, *(row[0] for row in rows)])
        left.set(xlabel=CHANGE, ylim=(-0.6, 2.6), title=f"coefficient {entry.coefficient:g}")
        right.axhline(0, color=GREY, linewidth=0.8)
        right.set(xlabel=KL, ylabel=CHANGE, title="at equal length, unequal disturbance")
        right.set_xscale("symlog", linthresh=LINEAR_BELOW)
        right.set_xlim(left=0)
        right.legend(fontsize=7)
        return svg_bytes(figure, f"among-controls-{name}")


def transition_table(name: str, entry: SteeredDirection) -> bytes:
    """How many programs passed or failed without steering (rows) and with it (columns)."""
    counts, words = entry.transitions, ("pass", "fail")
    total = sum(counts.values())
    with new_figure(3.6, 2.6) as (figure, axis):
        for row, before in enumerate(words):
            for column, after in enumerate(words):
                n = counts[f"{before}_to_{after}"]
                color = GREY if before == after else BLUE if after == "pass" else ORANGE
                strength = 0.1 + 0.7 * n / total if total else 0.1
                axis.axhspan(1 - row - 0.5, 1 - row + 0.5, column / 2, (column + 1) / 2, color=color, alpha=strength)
                share = f"\n{100 * n / total:.1f} %" if total else ""
                axis.text(column, 1 - row, f"{n}{share}", ha="center", va="center")
        axis.set(xlim=(-0.5, 1.5), ylim=(-0.5, 1.5), title=name, xlabel="steered", ylabel="unsteered")
        axis.set_xticks([0, 1], words)
        axis.set_yticks([1, 0], words)
        return svg_bytes(figure, f"transitions-{name}")


def _judged(kind: AgainstControls) -> list[tuple[ControlEffect, float]]:
    """The controls of which a program could be judged, and their net change."""
    return [(control, control.net_change) for control in kind.each if control.net_change is not None]
