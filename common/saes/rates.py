"""How often each latent fires on general text, as phase 1.1 measured it: what is kept out of any ranking."""

from __future__ import annotations

import numpy as np

from common.errors import ArtifactMismatchError
from common.runs.artifacts import Artifact
from common.saes.activations import layer_list


def rates_by_layer(general_text: Artifact, layers: list[int], rebuild: str) -> dict[int, np.ndarray]:
    """Firing rates on general text by layer, [d_sae]. `rebuild` is the command that makes them.

    Raises: ArtifactMismatchError when a layer has none: leaving the filter out would select general latents.
    """
    table = general_text.columns("firing_rates.parquet")
    present = np.unique(table["layer"]).tolist()
    absent = sorted(set(layers) - set(present))
    if absent:
        raise ArtifactMismatchError(
            f"the general-text baseline has no firing rates for layer {layer_list(absent)}; it has layers "
            f"{layer_list(present)}: {general_text.path}\nBuild them with: {rebuild} --fresh"
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
