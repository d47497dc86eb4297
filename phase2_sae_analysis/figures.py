"""Statistics by layer, the null distribution of the maximum, a volcano, activations by label.

And, cross-validated, what each limit on general text leaves, and how many latents hold what a layer knows.
"""

from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.ticker import StrMethodFormatter

from common.evaluation.statistics import ALPHA
from common.handoffs.selected import AtLimit, LayerProbing, SelectedDirection, SelectedDocument, SelectedLatent
from common.plots import CORRECT, INCORRECT, error_bars, new_figure, png_bytes, whole_numbers
from common.words import names_of_latents

OTHER = "#999999"
_QUANTILES = (0.5, 0.9, 0.99, 1.0)
_LEAST_P = 1e-40
_MOST_NAMED_LAYERS = 12  # of more the first, the middle and the last
_ABOVE = {"loc": "lower left", "bbox_to_anchor": (0, 1), "frameon": False}


def all_figures(
    columns: dict[str, np.ndarray],
    null_maximum: np.ndarray,
    directions: dict[str, SelectedDirection],
    activations: dict[tuple[int, int], np.ndarray],
    pass_rate: np.ndarray,
) -> dict[str, bytes]:
    """Each figure as PNG, by file name."""
    return {
        "by_layer.png": by_layer(columns),
        "null_maximum.png": null_distribution(columns, null_maximum),
        "volcano.png": volcano(columns, directions),
        "activations.png": activations_by_label(directions, activations, pass_rate),
    }


def cross_validated(selected: SelectedDocument) -> dict[str, bytes]:
    """As `all_figures`, of what is read on other problems than it was chosen on; none where nothing was."""
    if not selected.limits:
        return {}
    return {"limits.png": limits(selected.limits), "sparse_probing.png": sparse_probing(selected.sparse_probing)}


def limits(rows: list[AtLimit]) -> bytes:
    """AUROC of the best latent (left axis) and number of latents (right axis) by limit on the general-text rate."""
    places = np.arange(len(rows))
    names = [
        "the one\nused" if row.limit is None else "none" if row.limit >= 1 else f"{100 * row.limit:g} %" for row in rows
    ]
    with new_figure(6, 3.6) as (figure, axis):
        beside = axis.twinx()
        beside.bar(places, [row.kept for row in rows], width=0.6, color=OTHER, alpha=0.35)
        beside.set(ylabel="latents that stay (bars)")
        beside.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        beside.spines["right"].set_visible(True)
        areas = [row.auroc for row in rows]
        values = [area.known for area in areas]
        axis.errorbar(places, values, error_bars(areas), fmt="o", color=INCORRECT, capsize=3)
        axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
        axis.set_zorder(beside.get_zorder() + 1)
        axis.patch.set_visible(False)
        axis.set_xticks(places, names)
        axis.set(xlabel="limit on the share of general text", ylabel="cross-validated AUROC of the best")
        return png_bytes(figure)


def sparse_probing(layers: list[LayerProbing]) -> bytes:
    """AUROC by number of latents, a line for each layer; the probe of the layer's whole stream at the right end."""
    sizes = sorted({probe.k for layer in layers for probe in layer.sparse})
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(layers)))
    many = len(layers) > _MOST_NAMED_LAYERS
    with new_figure(7, 4) as (figure, axis):
        for layer, color in zip(layers, shades, strict=True):
            places = [sizes.index(probe.k) for probe in layer.sparse]
            named = not many or layer in (layers[0], layers[len(layers) // 2], layers[-1])
            label = f"layer {layer.layer}" if named else None
            axis.plot(places, [probe.auroc.known for probe in layer.sparse], marker="o", color=color, label=label)
            axis.plot(len(sizes), layer.full.auroc.known, marker="s", color=color)
        axis.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
        axis.set_xticks(np.arange(len(sizes) + 1), [*map(str, sizes), "whole\nstream"])
        axis.set(xlabel="latents", ylabel="cross-validated AUROC")
        axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
        return png_bytes(figure)


def by_layer(columns: dict[str, np.ndarray]) -> bytes:
    """Quantiles of |separation| and |t| over the kept latents that fire, for each layer."""
    used = columns["kept"] & (columns["n_active"] > 0)
    layers = np.unique(columns["layer"])
    with new_figure(10, 3.5, n_columns=2) as (figure, axes):
        for axis, name in zip(axes, ("separation", "t"), strict=True):
            values = [_finite(np.abs(columns[name][used & (columns["layer"] == layer)])) for layer in layers]
            for quantile in _QUANTILES:
                heights = [np.quantile(part, quantile) if len(part) else np.nan for part in values]
                largest = quantile == 1
                look = dict(linestyle="-", color=INCORRECT) if largest else dict(linestyle="--", color=OTHER)
                label = "largest" if largest else f"{100 * quantile:g} %"
                axis.plot(layers, heights, marker=".", alpha=0.3 + 0.7 * quantile, label=label, **look)
            axis.set(xlabel="layer", ylabel=f"|{name}|")
            whole_numbers(axis.xaxis)
            axis.legend(title="quantile of the latents", ncols=len(_QUANTILES), **_ABOVE)
        return png_bytes(figure)


def null_distribution(columns: dict[str, np.ndarray], null_maximum: np.ndarray) -> bytes:
    """The largest |t| of all kept latents under permuted labels, and what was observed."""
    line = float(np.quantile(null_maximum, 1 - ALPHA))
    observed = _finite(np.abs(columns["t"][columns["kept"]]))
    with new_figure(6, 4) as (figure, axis):
        axis.hist(_finite(null_maximum), bins=40, color=OTHER, label=f"{len(null_maximum):,} permutations of labels")
        axis.axvline(line, color="black", linestyle="--", label=f"{100 * (1 - ALPHA):g} % of them lie below {line:.2f}")
        if len(observed):
            axis.axvline(observed.max(), color=INCORRECT, label=f"observed: {observed.max():.2f}")
        axis.set(xlabel="largest |t| of all kept latents", ylabel="permutations")
        axis.legend(**_ABOVE)
        return png_bytes(figure)


def volcano(columns: dict[str, np.ndarray], directions: dict[str, SelectedDirection]) -> bytes:
    """-log10 p against separation, every kept latent that fires."""
    used = columns["kept"] & (columns["n_active"] > 0)
    height = -np.log10(np.maximum(columns["p"], _LEAST_P))
    significant = used & (np.nan_to_num(columns["p_max"], nan=1.0) <= ALPHA)
    groups = ((used & ~significant, OTHER, "not significant"), (significant, INCORRECT, "significant"))
    with new_figure(6, 5) as (figure, axis):
        for chosen, color, label in groups:
            x, y, label = columns["separation"][chosen], height[chosen], f"{label} family-wise: {chosen.sum():,}"
            axis.scatter(x, y, s=4, color=color, linewidths=0, alpha=0.5, label=label)
        best = {name: entry.latents[0] for name, entry in directions.items() if entry.latents}
        named = names_of_latents(best.items())
        for latent in {(one.layer, one.latent): one for one in best.values()}.values():
            _name_latent(axis, latent, named[latent.layer, latent.latent])
        axis.set(xlabel="separation: f_correct - f_incorrect", ylabel="-log10 p")
        axis.legend(markerscale=4, **_ABOVE)
        return png_bytes(figure)


def _name_latent(axis: Any, latent: SelectedLatent, names: list[str]) -> None:
    """Beside its point, on the side where there is room."""
    if latent.p is None:
        return
    place = (latent.separation, -np.log10(max(latent.p, _LEAST_P)))
    side, shift = ("right", -4) if latent.separation > 0 else ("left", 4)
    words = "\n".join([*names, f"{latent.layer} / {latent.latent}"])
    axis.annotate(words, place, (shift, 0), textcoords="offset points", ha=side, va="top", fontsize=7)


def activations_by_label(
    directions: dict[str, SelectedDirection], activations: dict[tuple[int, int], np.ndarray], pass_rate: np.ndarray
) -> bytes:
    """Activations of the best latent of each direction, as shares of the correct and of the incorrect problems."""
    with new_figure(9, 6, n_rows=2, n_columns=2) as (figure, axes):
        for axis, (name, entry) in zip(axes, directions.items(), strict=True):
            axis.set_title(f"{name}: none")
            for latent in entry.latents[:1]:
                values = activations[latent.layer, latent.latent]
                bins = np.linspace(0, max(float(values.max()), 1e-6), 31)
                for weight, color, label in ((pass_rate, CORRECT, "correct"), (1 - pass_rate, INCORRECT, "incorrect")):
                    axis.hist(values, bins, weights=weight / weight.sum(), histtype="step", color=color, label=label)
                axis.set_title(f"{name}: layer {latent.layer}, latent {latent.latent}")
                axis.set(xlabel="activation", ylabel="share of the problems", yscale="log")
                axis.legend(loc="upper right", frameon=False)
        return png_bytes(figure)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
