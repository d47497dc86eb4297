"""Seven figures, one panel per direction: curves with bands, the threshold, calibration, difficulty, temperature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation.cards import always_positive_f1
from common.evaluation.score_verdicts import CHANCE
from common.handoffs.detection import LATENT, LOGISTIC_REGRESSION, AtTemperature, DetectedDirection, OfStratum
from common.plots import BLUE, GREY, ORANGE, error_bars, new_figure, svg_bytes
from common.words import latent_words
from phase3_validation.detection import curves
from phase3_validation.detection.evaluation import Scored

_BAND = {"color": BLUE, "alpha": 0.2, "linewidth": 0}
_CHANCE_LINE = {"color": GREY, "linestyle": ":"}
_ABOVE = {"loc": "lower left", "bbox_to_anchor": (0, 1), "fontsize": 7}


@dataclass(frozen=True)
class Judged:
    """A direction with its entry in detection.json, and the scores that its curves are drawn from."""

    name: str
    entry: DetectedDirection
    latent: Scored
    probe: Scored
    positive: Bool[np.ndarray, " n"]
    draws: Float[np.ndarray, "r n"]

    @property
    def title(self) -> str:
        return f"{self.name}: {latent_words(self.entry.latent)}"


def all_figures(directions: list[Judged]) -> dict[str, bytes]:
    """Each figure as SVG, by file name; by_temperature only where phase 1.2 has run."""
    panels: dict[str, Callable[[Any, Judged], None]] = {
        "roc": draw_roc,
        "precision_recall": draw_precision,
        "f1_by_threshold": draw_f1,
        "baselines": draw_baselines,
        "reliability": draw_reliability,
        "by_difficulty": draw_strata,
    }
    if any(judged.entry.temperatures for judged in directions):
        panels["by_temperature"] = draw_temperatures
    drawn = {}
    for name, draw in panels.items():
        with _panels(len(directions)) as (figure, axes):
            for axis, judged in zip(axes, directions, strict=False):
                draw(axis, judged)
                axis.set_title(judged.title, pad=28)
            drawn[f"{name}.svg"] = svg_bytes(figure, name)
    return drawn


def draw_roc(axis: Any, judged: Judged) -> None:
    """True against false positive rate; the diagonal is chance."""
    axis.plot([0, 1], [0, 1], label="chance", **_CHANCE_LINE)
    axis.fill_between(curves.GRID, *curves.roc_band(judged.latent.values, judged.positive, judged.draws), **_BAND)
    for label, scored, style in _latent_and_probe(judged):
        axis.plot(*curves.roc_points(scored.values, *_once(judged)), label=label, **style)
    axis.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(-0.02, 1.02), ylim=(0, 1.02))
    axis.legend(ncols=3, **_ABOVE)


def draw_precision(axis: Any, judged: Judged) -> None:
    """Precision against recall; the line is the base rate, the precision of always answering positive."""
    axis.axhline(judged.positive.mean(), label="base rate", **_CHANCE_LINE)
    axis.fill_between(curves.GRID, *curves.precision_band(judged.latent.values, judged.positive, judged.draws), **_BAND)
    for label, scored, style in _latent_and_probe(judged):
        recall, precision = curves.precision_points(scored.values, *_once(judged))
        axis.plot(recall, precision, label=label, drawstyle="steps-pre", **style)
    axis.set(xlabel="recall", ylabel="precision", xlim=(-0.02, 1.02), ylim=(0, 1.02))
    axis.legend(ncols=3, **_ABOVE)


def draw_f1(axis: Any, judged: Judged) -> None:
    """F1 on validation against the threshold; the lines are the threshold chosen, and always answering positive."""
    always = always_positive_f1(int(judged.positive.sum()), len(judged.positive))
    axis.axhline(always, color=ORANGE, linestyle="--", label="always positive")
    thresholds, f1, low, high = curves.f1_curve(judged.latent.values, judged.positive, judged.draws)
    if len(thresholds):
        axis.fill_between(thresholds, low, high, **_BAND)
        marker = "." if len(thresholds) < 40 else None
        axis.plot(thresholds, f1, color=BLUE, marker=marker, label="latent")
    chosen = judged.entry.card.threshold
    if chosen is not None:
        axis.axvline(chosen, color=GREY, linestyle=":", label="chosen on hyperparams")
    axis.set(xlabel="threshold on the activation", ylabel="F1 on validation", ylim=(0, 1))
    axis.legend(ncols=3, **_ABOVE)


def draw_baselines(axis: Any, judged: Judged) -> None:
    """AUROC of the latent and of each baseline with intervals; the bar is the middle 90 % of random latents."""
    cards = {LATENT: judged.entry.card, **judged.entry.baselines}
    random = judged.entry.random_latents
    if random.n:
        span = random.auroc.q05, random.auroc.q95
        axis.axvspan(*span, color=GREY, alpha=0.2, linewidth=0, label=f"5 to 95 % of {random.n} random latents")
    for place, (name, card) in enumerate(reversed(cards.items())):
        area, latent = card.auroc, name == LATENT
        axis.errorbar(area.value, place, xerr=error_bars([area]), capsize=2, marker="o" if latent else "s",
                      markersize=5 if latent else 3, color=BLUE if latent else GREY)  # fmt: skip
    axis.axvline(CHANCE, **_CHANCE_LINE)
    axis.set_yticks(range(len(cards)), list(cards)[::-1], fontsize=7)
    least = min(card.auroc.low for card in cards.values())
    axis.set(xlabel=f"AUROC for {judged.entry.positive}", xlim=(min(0.4, least - 0.02), 1.02))
    if random.n:
        axis.legend(**_ABOVE)


def draw_reliability(axis: Any, judged: Judged) -> None:
    """Share of positives against the probability that hyperparams gave; on the diagonal it keeps its word."""
    groups = judged.entry.calibration.groups
    axis.plot([0, 1], [0, 1], label="calibrated", **_CHANCE_LINE)
    observed = [group.observed for group in groups]
    axis.errorbar([group.predicted for group in groups], [each.value for each in observed],
                  yerr=error_bars(observed), capsize=3, marker="o", color=BLUE, label="latent")  # fmt: skip
    axis.set(
        xlabel="probability fitted on hyperparams",
        ylabel=f"share {judged.entry.positive}",
        xlim=(-0.03, 1.03),
        ylim=(0, 1),
    )
    axis.legend(ncols=2, **_ABOVE)


def draw_strata(axis: Any, judged: Judged) -> None:
    """AUROC and F1 by difficulty; dotted is chance for AUROC. Strata with too few of a label have none."""
    strata = judged.entry.strata
    _draw_two(axis, list(range(len(strata))), strata)
    names = [f"{each.stratum.removeprefix('complexity ')}\n({each.n})" for each in strata]
    axis.set_xticks(range(len(strata)), names, fontsize=7)
    axis.set(xlabel="complexity (problems)", xlim=(-0.5, len(strata) - 0.5))


def draw_temperatures(axis: Any, judged: Judged) -> None:
    """AUROC and F1 by sampling temperature; 0 is the greedy program."""
    temperatures = judged.entry.temperatures
    _draw_two(axis, [each.temperature for each in temperatures], temperatures)
    axis.set_xticks([each.temperature for each in temperatures])
    axis.set(xlabel="sampling temperature")


def _draw_two(axis: Any, places: list[float], entries: Sequence[OfStratum | AtTemperature]) -> None:
    width = 0.06 * (max(places) - min(places) or 1) / max(1, len(places) - 1)
    axis.axhline(CHANCE, **_CHANCE_LINE)
    styles = {"auroc": (BLUE, "o", "-", "AUROC"), "f1": (ORANGE, "s", "--", "F1")}
    for shift, (key, (color, marker, line, label)) in zip((-width, width), styles.items(), strict=True):
        known = [
            (place + shift, getattr(entry, key))
            for place, entry in zip(places, entries, strict=True)
            if getattr(entry, key).value is not None
        ]
        intervals = [each for _, each in known]
        axis.errorbar([place for place, _ in known], [each.value for each in intervals],
                      yerr=error_bars(intervals), capsize=3, color=color, marker=marker, linestyle=line,
                      label=label)  # fmt: skip
    axis.set(ylabel="AUROC, F1", ylim=(0, 1))
    axis.legend(ncols=2, **_ABOVE)


def _latent_and_probe(judged: Judged) -> Iterator[tuple[str, Scored, dict[str, Any]]]:
    yield LATENT, judged.latent, {"color": BLUE}
    yield LOGISTIC_REGRESSION, judged.probe, {"color": ORANGE, "linestyle": "--"}


def _once(judged: Judged) -> tuple[np.ndarray, np.ndarray]:
    return judged.positive.astype(float), (~judged.positive).astype(float)


@contextmanager
def _panels(n: int) -> Iterator[tuple[Any, list[Any]]]:
    """A figure with a panel for each direction, two in a row."""
    n_columns = min(n, 2)
    n_rows = -(-n // n_columns)
    with new_figure(4.2 * n_columns, 3.4 * n_rows, n_rows, n_columns) as (figure, axes):
        axes = axes if isinstance(axes, list) else [axes]
        for axis in axes[n:]:
            axis.set_axis_off()
        yield figure, axes
