"""One layer: from the latents at the last prompt token to the statistics of every latent.

1. The SAE gives every latent's activation on every problem, [n, d_sae].
2. Exact statistics (common/evaluation/separation.py), and this layer's share in the largest |t| under permuted labels
   (common/evaluation/permutation.py).
3. The activations of the few latents that can still be selected are kept; the rest is let go before the next layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ConfigError
from common.evaluation.permutation import NullMaximum
from common.evaluation.separation import layer_statistics
from common.saes.activations import layer_list
from common.saes.encoder import LayerSae
from common.saes.rates import undecided
from phase2_sae_analysis.selection import DIRECTIONS, best


@dataclass(frozen=True)
class LayerResult:
    """`columns` has a value for each latent; `activations` those of candidates for selection, by latent, [n]."""

    columns: dict[str, np.ndarray]
    activations: dict[int, np.ndarray]


def analyse_layer(
    latent_acts: Float[Tensor, "n d_sae"],
    sae: LayerSae,
    general_text_rate: Float[np.ndarray, " d_sae"],
    general_text_limit: float,
    n_documents: int,
    pass_rate: Float[np.ndarray, " n"],
    null_maximum: NullMaximum,
) -> LayerResult:
    """Statistics of every latent of a layer, from its activation on every problem; adds it to `null_maximum`.

    `general_text_rate` was counted on `n_documents`.
    """
    with torch.no_grad():
        decoder_norm = torch.linalg.vector_norm(sae.W_dec, dim=1).double().numpy()
        columns = layer_statistics(latent_acts, pass_rate)
        kept = general_text_rate <= general_text_limit  # before any ranking
        columns |= {"general_text_rate": general_text_rate, "decoder_norm": decoder_norm, "kept": kept}
        columns["undecided"] = undecided(general_text_rate, n_documents, general_text_limit)
        null_maximum.add(latent_acts, kept)
        candidates = {int(latent) for direction in DIRECTIONS for latent in best(columns, direction)}
        return LayerResult(columns, {latent: latent_acts[:, latent].numpy().copy() for latent in sorted(candidates)})


def layers_to_analyse(chosen: list[int] | None, stored: list[int], with_sae: list[int], sae: str) -> list[int]:
    """The layers chosen, or all that are stored and have an SAE.

    Raises: ConfigError where a chosen one has no activations or no SAE, or none has both.
    """
    both = sorted(set(stored) & set(with_sae))
    layers = (both or stored) if chosen is None else chosen
    absent = sorted(set(layers) - set(stored))
    if absent:
        raise ConfigError(
            f"layer {absent[0]} has no stored activations; there are those of layers {layer_list(stored)}\n"
            "Give others to --layers"
        )
    without = sorted(set(layers) - set(with_sae))
    if without:
        advice = f"Leave it out with: --layers {layer_list(both)}" if both else "Give another --sae"
        raise ConfigError(
            f"--sae {sae} has no SAE for layer {layer_list(without)}; it has layers {layer_list(with_sae)}\n{advice}"
        )
    return layers
