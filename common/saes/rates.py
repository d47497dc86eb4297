"""How often each latent fires on general text, and how often is too much: such a latent is kept out of any ranking.

The published limit is 2 % of the documents, for dictionaries whose latents fire there at a mean rate of 0.45 %. In a
denser dictionary every latent fires more often, whatever it stands for, so the limit grows with the mean rate.

Source: Ferrando et al. 2024, arXiv:2411.14257 (2 %); Lieberum et al. 2024, arXiv:2408.05147 (Gemma Scope).
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from common.evaluation.statistics import Z
from common.saes.encoder import LayerSae
from common.saes.settings import AUTO, PUBLISHED_LIMIT, TIMES_THE_MEAN

DOCUMENTS_AT_ONCE = 500  # encoded together: 500 documents x 131k latents are 260 MB


@torch.no_grad()
def firing_rates(sae: LayerSae, resid: Float[Tensor, "n d_in"]) -> Float[np.ndarray, " d_sae"]:
    """Share of documents on which each latent fires, 0 to 1; `resid` has one activation of each document.

    They are those of StoredText.every_of_layer.
    """
    n_fires = torch.zeros(sae.n_latents, dtype=torch.int64)
    for some in resid.split(DOCUMENTS_AT_ONCE):
        n_fires += (sae.encode(some) > 0).sum(0)
    return n_fires.numpy() / len(resid)


def settled_limit(asked: float | str, rates: Float[np.ndarray, " d_sae"]) -> float:
    """The rate up to which latents of a layer are kept, 0 to 1.

    A number is taken as it is; "auto" is the larger of 0.02 and 4.4 times the mean of all the layer's `rates`.
    """
    if asked != AUTO:
        return float(asked)
    return min(1.0, max(PUBLISHED_LIMIT, TIMES_THE_MEAN * float(rates.mean())))


def undecided(rates: Float[np.ndarray, " d_sae"], n_documents: int, limit: float) -> Bool[np.ndarray, " d_sae"]:
    """Whether the limit lies within the 95 % Wilson interval of each rate: other documents could decide otherwise.

    Wilson's interval holds exactly the limits that a score test does not reject. A limit of 1 leaves nothing open.
    """
    reach = Z * np.sqrt(limit * (1 - limit) / n_documents)
    return (np.abs(rates - limit) <= reach) & (limit < 1)
