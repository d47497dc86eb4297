"""How often each latent fires on general text: what fires there often is kept out of any ranking."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.saes.encoder import LayerSae

DOCUMENTS_AT_ONCE = 500  # encoded together: 500 documents x 131k latents are 260 MB


@torch.no_grad()
def firing_rates(sae: LayerSae, resid: Float[Tensor, "n d_in"]) -> Float[np.ndarray, " d_sae"]:
    """Share of documents on which each latent fires, 0 to 1; `resid` has one activation of each document.

    They are those of StoredText.every_of_layer. Source: Ferrando et al. 2024, arXiv:2411.14257.
    """
    n_fires = torch.zeros(sae.n_latents, dtype=torch.int64)
    for some in resid.split(DOCUMENTS_AT_ONCE):
        n_fires += (sae.encode(some) > 0).sum(0)
    return n_fires.numpy() / len(resid)
