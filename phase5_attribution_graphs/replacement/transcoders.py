"""Transcoders of a model's MLPs, as the local replacement model reads and writes with them.

acts = JumpReLU(x @ W_enc + b_enc), and acts @ W_dec + b_dec (+ x @ W_skip) in place of the MLP's output. `x` is the
normalised stream before the MLP: with the norm's gain where a transcoder was trained so (mlp.hook_in, as for Qwen3), or
without it (ln2.hook_normalized, as Gemma Scope's).

Source: Dunefsky et al. 2024, arXiv:2406.11944; skip transcoders: Paulo et al. 2025, arXiv:2501.18823.
"""

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ConfigError
from common.model.language_model import LanguageModel
from common.model.sites import MLP_NORMALIZED, MLP_OUT, site_name
from common.saes.encoder import LayerSae, load_sae
from common.saes.sources import SaeSource

MLP_INPUT = "mlp.hook_in"  # the norm's output, gain included


@dataclass(frozen=True, eq=False)
class Transcoder:
    """Weights of one layer's transcoder, on the device of the model."""

    W_enc: Float[Tensor, "d_model d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_model"]
    b_dec: Float[Tensor, " d_model"]
    threshold: Float[Tensor, " d_sae"]
    with_gain: bool = False
    W_skip: Float[Tensor, "d_model d_model"] | None = None

    @classmethod
    def of(cls, sae: LayerSae, device: str) -> Self:
        """Raises: ConfigError for what does not stand in for this layer's MLP."""
        reads = {site_name(sae.layer, MLP_NORMALIZED): False, site_name(sae.layer, MLP_INPUT): True}
        writes = site_name(sae.layer, MLP_OUT)
        if sae.site not in reads or sae.site_out != writes:
            raise ConfigError(
                f"{sae.id} cannot stand in for an MLP: it reads {sae.site} and writes {sae.site_out}\n"
                f"Give transcoders that read one of {', '.join(reads)} and write {writes} with --transcoders"
            )
        names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
        weights = {name: getattr(sae, name).to(device) for name in names}
        skip = None if sae.W_skip is None else sae.W_skip.T.contiguous().to(device)
        return cls(**weights, with_gain=reads[sae.site], W_skip=skip)

    def pre_acts(self, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_sae"]:
        return x @ self.W_enc + self.b_enc

    def gated(self, pre_acts: Float[Tensor, "*rows d_sae"]) -> Float[Tensor, "*rows d_sae"]:
        return pre_acts * (pre_acts > self.threshold)

    def reconstruction(self, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        """What stands in for the MLP's output."""
        return self.gated(self.pre_acts(x)) @ self.W_dec + self.constant(x)

    def constant(self, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, "*rows d_model"]:
        """All but the latents: the decoder's bias, and what a skip transcoder adds."""
        return self.b_dec.expand_as(x) if self.W_skip is None else x @ self.W_skip + self.b_dec

    def of_latents(self, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Encoder directions [n, d_model], encoder biases and thresholds [n] of some latents."""
        return self.W_enc[:, latents].T, self.b_enc[latents], self.threshold[latents]


def load_transcoders(source: SaeSource, lm: LanguageModel) -> list[Transcoder | None]:
    """The transcoder of every layer; None where a source has none, whose MLP then is an error node as a whole.

    Raises: ConfigError for SAEs, and as `load_sae`.
    """
    if source.kind != "transcoder":
        raise ConfigError(
            f"'{source.name}' holds SAEs; a graph needs transcoders, which stand in for MLPs\n"
            f"Give a release or folder of transcoders with --transcoders, or train some: run.py phase 1.3 --site mlp"
        )
    layers = set(source.layers(lm.n_layers))
    loaded = [load_of_model(source, layer, lm) if layer in layers else None for layer in range(lm.n_layers)]
    with torch.no_grad():
        return [None if sae is None else Transcoder.of(sae, lm.device) for sae in loaded]


def load_of_model(source: SaeSource, layer: int, lm: LanguageModel) -> LayerSae:
    """The transcoder of one layer on the CPU. Raises: ConfigError for one of another width, and as `load_sae`."""
    sae = load_sae(source, layer)
    if (sae.d_in, sae.W_dec.shape[1]) != (lm.d_model, lm.d_model):
        raise ConfigError(
            f"{sae.id} reads {sae.d_in} and writes {sae.W_dec.shape[1]} dimensions; {lm.name} has {lm.d_model}\n"
            f"Give transcoders of this model with --transcoders"
        )
    return sae
