"""SAEs made from given weights."""

import torch

from common.saes.encoder import LayerSae


def planted(W_enc: torch.Tensor, W_dec: torch.Tensor | None = None, **arrays: torch.Tensor) -> LayerSae:
    """An SAE with these weights, and zeros for all others."""
    d_in, d_sae = W_enc.shape
    arrays = {"b_enc": torch.zeros(d_sae), "threshold": torch.zeros(d_sae), "b_dec": torch.zeros(d_in), **arrays}
    site = "blocks.1.hook_resid_post"
    return LayerSae(
        id="planted layer_1",
        layer=1,
        kind="sae",
        site=site,
        site_out=site,
        neuronpedia_id=None,
        revision=None,
        W_enc=W_enc,
        W_dec=W_enc.T if W_dec is None else W_dec,
        **arrays,
    )
