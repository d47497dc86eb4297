"""Four figures: statistics by layer, the null distribution of the maximum, a volcano, activations by label."""

import numpy as np

from common.handoffs.selected import SelectedDirection
from common.plots import new_figure, png_bytes
from phase2_sae_analysis.selection import ALPHA

CORRECT, INCORRECT, OTHER = "#0072b2", "#d55e00", "#999999"  # told apart by colour-blind readers too
_QUANTILES = (0.5, 0.9, 0.99, 1.0)
_LEAST_P = 1e-40
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
            axis.xaxis.get_major_locator().set_params(integer=True)
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
        for name, entry in directions.items():
            for latent in entry.latents[:1]:
                if latent.p is not None:
                    place = (latent.separation, -np.log10(max(latent.p, _LEAST_P)))
                    axis.annotate(f"{name}\n{latent.layer} / {latent.latent}", place, fontsize=7)
        axis.set(xlabel="separation: f_correct - f_incorrect", ylabel="-log10 p")
        axis.legend(markerscale=4, **_ABOVE)
        return png_bytes(figure)


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
