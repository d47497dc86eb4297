"""The local replacement model of one prompt: active latents, errors and constants, as sources and targets of edges.

Each MLP's output is, exactly: what its active latents write, plus what the transcoder misses (an error for each layer
and position), plus what no prompt changes (the decoder's bias; all that the MLP writes at the first position, which is
an attention sink in every model). Where there is no transcoder, all of the output is error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.errors import ConfigError
from phase5_attribution_graphs.replacement.clean_run import CleanRun
from phase5_attribution_graphs.replacement.transcoders import Transcoder

N_SINKS = 1  # positions at the beginning that get no nodes: BOS, or the token put in its place


@dataclass(frozen=True)
class LocalModel:
    """Active latents in the order of layer, position and latent; n of them."""

    run: CleanRun
    transcoders: list[Transcoder | None]
    layer: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    latent: Int[Tensor, " n"]
    activation: Float[Tensor, " n"]
    explained: Float[Tensor, " n"]  # pre-activation minus the encoder's bias: what a latent's edges add up to
    errors: Float[Tensor, "layer pos d_model"]
    constants: Float[Tensor, "layer pos d_model"]

    @property
    def n_latents(self) -> int:
        return len(self.layer)

    def index_of(self, layer: int, pos: int, latent: int) -> int:
        """The number of an active latent, whose row in a capped graph is another."""
        is_asked_for = (self.layer == layer) & (self.pos == pos) & (self.latent == latent)
        return int(is_asked_for.nonzero().item())

    def read_vectors(self, index: Int[Tensor, " k"]) -> Float[Tensor, "k d_model"]:
        """The gradient of each latent's pre-activation at resid_mid of its layer and position, norms fixed."""
        vectors = self.run.embeddings.new_zeros(len(index), self.run.embeddings.shape[1])
        for layer, transcoder, rows in self._by_layer(index):
            block, numbers = self.run.blocks[layer], index[rows]
            directions = transcoder.of_latents(self.latent[numbers])[0]
            directions = directions * block.mlp_gain if transcoder.with_gain else directions
            vectors[rows] = directions * block.mlp_scale[self.pos[numbers], None]
        return vectors

    def written(self, index: Int[Tensor, " k"]) -> Float[Tensor, "k d_model"]:
        """What each latent adds to the stream."""
        vectors = self.run.embeddings.new_zeros(len(index), self.run.embeddings.shape[1])
        for _, transcoder, rows in self._by_layer(index):
            numbers = index[rows]
            vectors[rows] = transcoder.W_dec[self.latent[numbers]] * self.activation[numbers, None]
        return vectors

    def _by_layer(self, index: Tensor) -> list[tuple[int, Transcoder, Tensor]]:
        by_layer = []
        for layer in self.layer[index].unique().tolist():
            transcoder = self.transcoders[layer]
            assert transcoder is not None  # a layer without one has no latents
            by_layer.append((layer, transcoder, (self.layer[index] == layer).nonzero()[:, 0]))
        return by_layer


@torch.no_grad()
def local_model(run: CleanRun, transcoders: Sequence[Transcoder | None]) -> LocalModel:
    """Raises: ConfigError when no latent is active behind the first position."""
    errors, constants, active = torch.stack([block.mlp_out for block in run.blocks]), [], []
    for layer, transcoder in enumerate(transcoders):
        constant = torch.zeros_like(run.embeddings)
        if transcoder is not None:
            x = run.blocks[layer].mlp_input(transcoder.with_gain)
            pre_acts = transcoder.pre_acts(x)
            acts = transcoder.gated(pre_acts)
            acts[:N_SINKS] = 0
            constant[N_SINKS:] = transcoder.b_dec
            errors[layer] -= acts @ transcoder.W_dec + transcoder.constant(x)
            pos, latent = acts.nonzero(as_tuple=True)
            explained = pre_acts[pos, latent] - transcoder.b_enc[latent]
            active.append((torch.full_like(pos, layer), pos, latent, acts[pos, latent], explained))
        # What the MLP writes at a sink depends on no prompt. A skip path there is fixed with it.
        constant[:N_SINKS] = run.blocks[layer].mlp_out[:N_SINKS]
        errors[layer, :N_SINKS] = 0
        constants.append(constant)
    if not sum(len(pos) for _, pos, *_ in active):
        raise ConfigError(
            f"no latent is active on these {run.n_pos} tokens behind the first\n"
            f"Give a longer prompt, or transcoders of this model with --transcoders"
        )
    layer, pos, latent, activation, explained = map(torch.cat, zip(*active, strict=True))
    return LocalModel(run, list(transcoders), layer, pos, latent, activation, explained, errors, torch.stack(constants))
