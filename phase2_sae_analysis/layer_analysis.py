"""One layer: from the residual stream at the last prompt token to the statistics of every latent.

1. The SAE gives every latent's activation on every problem, [n, d_sae].
2. Exact statistics (separation.py), and this layer's share in the largest |t| under permuted labels (permutation.py).
3. The activations of the few latents that can still be selected are kept; the rest is let go before the next layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from common.errors import ArtifactMismatchError, ConfigError
from phase2_sae_analysis.permutation import NullMaximum
from phase2_sae_analysis.selection import DIRECTIONS, best
from phase2_sae_analysis.separation import layer_statistics

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from common.artifacts import Artifact
    from common.saes import LayerSae


@dataclass(frozen=True)
class LayerResult:
    """`columns` has a value for each latent; `activations` those of candidates for selection, by latent, [n]."""

    columns: dict[str, np.ndarray]
    activations: dict[int, np.ndarray]


def analyse_layer(
    resid: Float[Tensor, "n d_model"],
    sae: LayerSae,
    general_text_rate: Float[np.ndarray, " d_sae"],
    general_text_limit: float,
    pass_rate: Float[np.ndarray, " n"],
    null_maximum: NullMaximum,
) -> LayerResult:
    """Statistics of every latent of a layer; adds the layer to `null_maximum`."""
    import torch

    with torch.no_grad():
        latent_acts = sae.encode(resid)
        decoder_norm = torch.linalg.vector_norm(sae.W_dec, dim=1).double().numpy()
        columns = layer_statistics(latent_acts, pass_rate)
        kept = general_text_rate <= general_text_limit  # before any ranking
        columns |= {"general_text_rate": general_text_rate, "decoder_norm": decoder_norm, "kept": kept}
        null_maximum.add(latent_acts, kept)
        candidates = {int(latent) for direction in DIRECTIONS for latent in best(columns, direction)}
        return LayerResult(columns, {latent: latent_acts[:, latent].numpy().copy() for latent in sorted(candidates)})


def layers_to_analyse(chosen: list[int] | None, stored: list[int], with_sae: list[int], sae: str) -> list[int]:
    """The layers chosen, or all that are stored. Raises: ConfigError where one has no activations or no SAE."""
    layers = stored if chosen is None else chosen
    absent = sorted(set(layers) - set(stored))
    if absent:
        raise ConfigError(
            f"layer {absent[0]} has no stored activations; there are those of layers {_listed(stored)}\n"
            "Give others to --layers"
        )
    without = sorted(set(layers) - set(with_sae))
    if without:
        both = sorted(set(stored) & set(with_sae))
        advice = f"Leave it out with: --layers {_listed(both)}" if both else "Give another --sae"
        raise ConfigError(f"--sae {sae} has no SAE for layer {_listed(without)}; it has layers {_listed(with_sae)}\n"
                          f"{advice}")  # fmt: skip
    return layers


def rates_by_layer(general_text: Artifact, layers: list[int], rebuild: str) -> dict[int, np.ndarray]:
    """Firing rates on general text by layer, [d_sae]. `rebuild` is the command that makes them.

    Raises: ArtifactMismatchError when a layer has none: leaving the filter out would select general latents.
    """
    table = general_text.columns("firing_rates.parquet")
    present = np.unique(table["layer"]).tolist()
    absent = sorted(set(layers) - set(present))
    if absent:
        raise ArtifactMismatchError(
            f"the general-text baseline has no firing rates for layer {_listed(absent)}; it has layers "
            f"{_listed(present)}: {general_text.path}\nBuild them with: {rebuild} --fresh"
        )
    rates = {}
    for layer in layers:
        rows = table["layer"] == layer
        order = np.argsort(table["latent"][rows], kind="stable")
        rates[layer] = table["rate"][rows][order].astype(np.float64)
    return rates


def check_same_latents(rates: np.ndarray, n_latents: int, layer: int, where: str, rebuild: str) -> None:
    """Raises: ArtifactMismatchError when the baseline was measured with an SAE of another width."""
    if len(rates) != n_latents or not np.isfinite(rates).all():
        raise ArtifactMismatchError(
            f"the general-text baseline has firing rates of {int(np.isfinite(rates).sum())} latents for layer {layer}, "
            f"its SAE has {n_latents}: {where}\nRebuild it with: {rebuild} --fresh"
        )


def _listed(layers: list[int]) -> str:
    return ",".join(map(str, layers)) or "none"
