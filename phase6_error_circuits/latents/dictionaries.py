"""The dictionaries of one site in a model's layers, and a stream split into what they say of it and what they do not.

value = decode(latents) + error, so that the two parts together are exact, and a gradient g at the value is the error's
own; a latent's is g . its decoder row. Nothing is spliced into the model for that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from logging import Logger

from jaxtyping import Float, Int
from torch import Tensor

from common.errors import ConfigError
from common.model.language_model import LanguageModel
from common.model.sites import parsed, site_name
from common.saes.dictionary import WEIGHTS
from common.saes.encoder import LayerSae, load_sae
from common.saes.sources import SaeSource


@dataclass(frozen=True, eq=False)
class SiteDictionaries:
    """`kind` is what they read in their blocks: hook_resid_post, hook_attn_out or hook_mlp_out."""

    kind: str
    by_layer: Mapping[int, LayerSae]

    @property
    def layers(self) -> list[int]:
        return [*self.by_layer]

    def site(self, layer: int) -> str:
        return site_name(layer, self.kind)

    def n_latents(self, layer: int) -> int:
        return self.by_layer[layer].n_latents

    def split(
        self, layer: int, value: Float[Tensor, "*rows d_model"]
    ) -> tuple[Float[Tensor, "*rows d_sae"], Float[Tensor, "*rows d_model"]]:
        """Latents and error, in float32."""
        latents = self.by_layer[layer].encode(value)
        return latents, value.float() - self.by_layer[layer].decode(latents)

    def some_latents(
        self, layer: int, value: Float[Tensor, "*rows d_model"], latents: Int[Tensor, " n"]
    ) -> Float[Tensor, "*rows n"]:
        """Columns of `encode`; the others are not computed where every latent has its own gate."""
        sae = self.by_layer[layer]
        if sae.top_k is not None:
            return sae.encode(value)[..., latents]
        pre_acts = value.to(sae.W_enc) @ sae.W_enc[:, latents] + sae.b_enc[latents]
        return pre_acts * (pre_acts > sae.threshold[latents])

    def rows(self, layer: int, latents: Int[Tensor, " n"]) -> Float[Tensor, "n d_model"]:
        """What one unit of each latent writes."""
        return self.by_layer[layer].W_dec[latents]


def load_dictionaries(
    source: SaeSource, lm: LanguageModel, log: Logger, layers: Sequence[int] | None = None
) -> SiteDictionaries:
    """Of every layer that has one, or of `layers`, on the device of the model; the log warns of another model's.

    Raises: ConfigError for transcoders, and as `load_sae`.
    """
    if source.kind != "sae":
        raise ConfigError(
            f"'{source.name}' holds transcoders; here a value is split into latents and an error of the same place\n"
            f"Give SAEs of the residual stream, of attention outputs or of MLP outputs with --sae"
        )
    if source.note:
        log.warning("%s: %s; much may be left to the error nodes", source.name, source.note)
    wanted = source.layers(lm.n_layers) if layers is None else layers
    by_layer = {layer: _on_device(load_sae(source, layer), lm.device) for layer in wanted}
    place = parsed(next(iter(by_layer.values())).site)
    assert place is not None, "load_sae refuses other sites"
    return SiteDictionaries(place[1], by_layer)


def _on_device(sae: LayerSae, device: str) -> LayerSae:
    return dataclasses.replace(sae, **{name: getattr(sae, name).to(device) for name in WEIGHTS})
