"""A JumpReLU sparse autoencoder of a whole layer: encode, decode, and train one on activations that you have.

    sae = JumpReLUSAE.from_sae_lens("gemma-scope-2b-pt-res-canonical", "layer_19/width_16k/canonical")
    sae = JumpReLUSAE.train(resid, DictionarySettings(d_sae=1536, l0=32))        # resid [n, d_in]

acts = JumpReLU_theta(x W_enc + b_enc): z where z > theta, else 0. x_hat = acts W_dec + b_dec. It is trained as every
dictionary here (common/saes/training.py).

Source: Rajamanoharan et al. 2024, arXiv:2407.14435.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ConfigError
from common.saes.dictionary import Dictionary
from common.saes.encoder import LayerSae, load_from_release
from common.saes.mixture import Part, Samples
from common.saes.sources import find_release, layer_of
from common.saes.training import DictionarySettings, train_dictionary

LEAST_ROWS = 10


class JumpReLUSAE(Dictionary):
    """Weights in SAELens' names and Gemma Scope's convention: the input is not shifted by b_dec."""

    @classmethod
    def from_layer_sae(cls, sae: LayerSae) -> JumpReLUSAE:
        """Raises: ConfigError for a transcoder, and for the top-k rule, which has no gate."""
        if sae.kind == "transcoder" or sae.top_k is not None:
            kind = "a transcoder" if sae.kind == "transcoder" else f"a top-{sae.top_k} SAE"
            raise ConfigError(
                f"{sae.id} is {kind}, which has no JumpReLU form\nGive an SAE with thresholds, or of ReLU"
            )
        return cls(W_enc=sae.W_enc, b_enc=sae.b_enc, W_dec=sae.W_dec, b_dec=sae.b_dec, threshold=sae.threshold)

    @classmethod
    def from_sae_lens(cls, release: str, sae_id: str) -> JumpReLUSAE:
        """One of a release that SAELens knows, from the hub's cache or the hub. Raises: ConfigError, AssetError."""
        known = find_release(release)
        layer = layer_of(sae_id)
        if sae_id not in known.paths or layer is None:
            some = "', '".join(list(known.paths)[:3])
            raise ConfigError(
                f"release {release} has no id '{sae_id}'\nGive one of its {len(known.paths)}: '{some}' ..."
            )
        return cls.from_layer_sae(load_from_release(known, sae_id, layer, "sae"))

    @classmethod
    def train(cls, x: Float[Tensor, "n d_in"], settings: DictionarySettings | None = None) -> JumpReLUSAE:
        """A new one, trained on rows of `x`. Raises: ConfigError for too few rows, nan or infinity."""
        x, settings = torch.as_tensor(x).float(), settings or DictionarySettings()
        if x.ndim != 2 or len(x) < LEAST_ROWS or not x.isfinite().all():
            raise ConfigError(
                f"activations of the shape {tuple(x.shape)} cannot train an SAE\n"
                f"Give {LEAST_ROWS} or more rows of finite numbers"
            )
        settings = replace(settings, batch_size=min(settings.batch_size, len(x)))
        return cls(**vars(train_dictionary(settings, [Part(1.0, Samples(x, x))])))
