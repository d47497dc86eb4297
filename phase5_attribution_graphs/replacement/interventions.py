"""The model itself under changes: what a graph claims, tried. Hugging Face's modules run, with hooks; no graph is used.

A change of a batch's row sets latents, or adds vectors to what an MLP writes (layer -1: to the embedding). To set a
latent, (value - its activation now) times its decoder row is added to the MLP's real output, so what the transcoder
misses stays, recomputed. What is held fixed beside that is said by `Fixed`:
- attention: patterns as recorded; the values still flow.
- norms: scales as recorded.
- mlps: what MLPs write as recorded, but for the changes and a skip transcoder's linear path. With all three the model
  is the linear map that a graph's edges describe.

Results are compared with those of an unchanged row of the same call: another shape of a product rounds differently.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.model.forward import next_token_logits
from common.model.hooks import decoder_blocks
from common.model.language_model import LanguageModel
from phase5_attribution_graphs.replacement.clean_run import CleanRun, FrozenBlock
from phase5_attribution_graphs.replacement.decoder import Block, Norm, decoder_of
from phase5_attribution_graphs.replacement.local_model import N_SINKS
from phase5_attribution_graphs.replacement.sweep import skip_factor
from phase5_attribution_graphs.replacement.transcoders import Transcoder

EMBEDDING = -1  # the layer of what is added to the input of block 0
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class SetLatents:
    """Latents of any layers and positions that get a value; all [n]."""

    layer: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    latent: Int[Tensor, " n"]
    value: Float[Tensor, " n"]


@dataclass(frozen=True)
class Add:
    """A vector that is added to what the MLP of a layer writes at a position."""

    layer: int
    pos: int
    vector: Float[Tensor, " d_model"]


@dataclass(frozen=True)
class Change:
    """What is changed in one row of a batch; nothing by default."""

    latents: SetLatents | None = None
    adds: tuple[Add, ...] = ()


@dataclass(frozen=True)
class Fixed:
    """What stays as recorded."""

    attention: bool = False
    norms: bool = False
    mlps: bool = False


FREE, LINEAR = Fixed(), Fixed(attention=True, norms=True, mlps=True)


@dataclass(frozen=True)
class Outcome:
    """Of each row of a batch: the stream before each MLP, that before the final norm, the last position's logits."""

    resid_mid: list[Float[Tensor, "batch pos d_model"]]
    resid_final: Float[Tensor, "batch pos d_model"]
    logits: Float[Tensor, "batch d_vocab"]


class Interventions:
    """Runs one prompt under changes; `lm` is the model of the clean run, in its number type or in double precision."""

    def __init__(self, lm: LanguageModel, run: CleanRun, transcoders: Sequence[Transcoder | None]) -> None:
        self.lm, self.run, self.transcoders = lm, run, transcoders
        self.decoder = decoder_of(lm.model)

    @torch.no_grad()
    def outcomes(
        self, changes: Sequence[Change], fixed: Fixed = FREE, *, replace_mlps: bool = False, at_once: int = ROWS_AT_ONCE
    ) -> Outcome:
        """`replace_mlps`: transcoders write in place of their MLPs, errors left out, behind the sink."""
        parts = [
            self._pass(changes[first : first + at_once], fixed, replace_mlps)
            for first in range(0, len(changes), at_once)
        ]
        return Outcome(
            [torch.cat(layers) for layers in zip(*(part.resid_mid for part in parts), strict=True)],
            torch.cat([part.resid_final for part in parts]),
            torch.cat([part.logits for part in parts]),
        )

    def _pass(self, changes: Sequence[Change], fixed: Fixed, replace_mlps: bool) -> Outcome:
        state = _Pass(changes, fixed, replace_mlps)
        with ExitStack() as hooks:
            first = decoder_blocks(self.lm.model)[0]
            hooks.enter_context(first.register_forward_pre_hook(self._on_embedding(state), with_kwargs=True))
            for layer in range(self.run.n_layers):
                for handle in self._hooks_of(layer, state):
                    hooks.enter_context(handle)
            final = self.decoder.final_norm
            hooks.enter_context(final.module.register_forward_pre_hook(state.keeping("final")))
            if fixed.norms:
                hooks.enter_context(final.module.register_forward_hook(_fixed_norm(final, self.run.final_scale)))
            ids = self.run.tokens[None].expand(len(changes), -1).contiguous()
            logits = next_token_logits(self.lm, ids, torch.ones_like(ids), None)
        mid = [state.seen[f"mid {layer}"] for layer in range(self.run.n_layers)]
        return Outcome(mid, state.seen["final"], logits)

    def _hooks_of(self, layer: int, state: "_Pass") -> Iterator[Any]:
        block, frozen = self.decoder.blocks[layer], self.run.blocks[layer]
        yield block.mlp_norm.module.register_forward_pre_hook(state.keeping(f"mid {layer}"))
        if state.fixed.norms:
            yield block.attn_norm.module.register_forward_hook(_fixed_norm(block.attn_norm, frozen.attn_scale))
            yield block.mlp_norm.module.register_forward_hook(_fixed_norm(block.mlp_norm, frozen.mlp_scale))
            if block.attn_post_norm is not None and frozen.post_factor is not None:
                yield block.attn_post_norm.module.register_forward_hook(_times(frozen.post_factor))
        if state.fixed.attention:
            yield from _fixed_attention(block, frozen)
        yield block.mlp_out.register_forward_hook(self._on_mlp(layer, state))

    def _on_embedding(self, state: "_Pass") -> Callable:
        def change(_block: Any, arguments: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            resid = (arguments[0] if arguments else named["hidden_states"]).clone()
            state.add_to(resid, EMBEDDING)
            return ((resid, *arguments[1:]), named) if arguments else ((), {**named, "hidden_states": resid})

        return change

    def _on_mlp(self, layer: int, state: "_Pass") -> Callable:
        def change(_module: Any, _arguments: tuple, whole: Tensor | tuple) -> Tensor | tuple:
            transcoder, resid = self.transcoders[layer], state.seen[f"mid {layer}"]
            output = (whole[0] if isinstance(whole, tuple) else whole).clone()
            if state.fixed.mlps:
                output[:] = self._recorded(layer, resid)
            elif transcoder is not None:
                x = self._mlp_input(layer, resid, transcoder.with_gain)
                if state.replace_mlps:
                    output[:, N_SINKS:] = _in(transcoder, x).reconstruction(x)[:, N_SINKS:]
                state.set_latents(output, layer, x, transcoder)
            state.add_to(output, layer)
            return (output, *whole[1:]) if isinstance(whole, tuple) else output  # some give their routing beside it

        return change

    def _mlp_input(self, layer: int, resid: Tensor, with_gain: bool) -> Tensor:
        norm = self.decoder.blocks[layer].mlp_norm
        x = resid * norm.scale(resid)[..., None]
        return x * norm.gain if with_gain else x

    def _recorded(self, layer: int, resid: Tensor) -> Tensor:
        """What the MLP wrote in the clean run; a skip path is linear, and stays alive behind the sink."""
        block, transcoder = self.run.blocks[layer], self.transcoders[layer]
        wrote = block.mlp_out.to(resid)
        if transcoder is None or transcoder.W_skip is None:
            return wrote.expand_as(resid)
        moved = (resid - block.resid_mid.to(resid)) * skip_factor(self.run, layer, transcoder.with_gain).to(resid)
        moved[:, :N_SINKS] = 0
        return wrote + moved @ transcoder.W_skip.to(resid)


@dataclass
class _Pass:
    """What the hooks of one pass share."""

    changes: Sequence[Change]
    fixed: Fixed
    replace_mlps: bool
    seen: dict[str, Tensor] = field(default_factory=dict)

    def keeping(self, name: str) -> Callable:
        return lambda _module, arguments: self.seen.__setitem__(name, arguments[0])

    def add_to(self, output: Tensor, layer: int) -> None:
        for row, change in enumerate(self.changes):
            for add in change.adds:
                if add.layer == layer:
                    output[row, add.pos] += add.vector.to(output)

    def set_latents(self, output: Tensor, layer: int, x: Tensor, transcoder: Transcoder) -> None:
        rows, places, latents, values = [], [], [], []
        for row, change in enumerate(self.changes):
            if change.latents is not None:
                here = change.latents.layer == layer
                rows.append(torch.full((int(here.sum()),), row))
                places.append(change.latents.pos[here])
                latents.append(change.latents.latent[here])
                values.append(change.latents.value[here])
        if not sum(map(len, rows)):
            return
        row, pos, latent, value = (torch.cat(parts).to(output.device) for parts in (rows, places, latents, values))
        directions, bias, threshold = (part.to(x) for part in transcoder.of_latents(latent))
        pre_acts = (x[row, pos] * directions).sum(1) + bias
        now = pre_acts * (pre_acts > threshold)
        moved = (value.to(x) - now)[:, None] * transcoder.W_dec[latent].to(x)
        output.index_put_((row, pos), moved.to(output), accumulate=True)


@contextlib.contextmanager
def in_double(lm: LanguageModel) -> Iterator[LanguageModel]:
    """The same model in double precision meanwhile; float32 comes back bit for bit.

    A mixture's experts are computed one after another meanwhile: their product in one has no double precision.
    """
    experts = cast(str, lm.model.config._experts_implementation)
    lm.model.set_experts_implementation("eager")
    lm.model.double()
    try:
        yield lm
    finally:
        lm.model.float()
        lm.model.set_experts_implementation(experts)


def _in(transcoder: Transcoder, x: Tensor) -> Transcoder:
    """The transcoder in the number type of `x`."""
    if transcoder.W_enc.dtype == x.dtype:
        return transcoder
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "threshold")
    skip = None if transcoder.W_skip is None else transcoder.W_skip.to(x)
    weights = {name: getattr(transcoder, name).to(x) for name in names}
    return Transcoder(**weights, with_gain=transcoder.with_gain, W_skip=skip)


def _fixed_norm(norm: Norm, scale: Float[Tensor, " pos"]) -> Callable:
    return lambda _module, arguments, _output: arguments[0] * scale.to(arguments[0])[:, None] * norm.gain


def _times(factor: Float[Tensor, "pos d_model"]) -> Callable:
    return lambda _module, arguments, _output: arguments[0] * factor.to(arguments[0])


def _fixed_attention(block: Block, frozen: FrozenBlock) -> Iterator[Any]:
    """Hooks that mix the values of now by the pattern of the clean run."""
    values: list[Tensor] = []

    def keep(_module: Any, _arguments: tuple, output: Tensor) -> None:
        values[:] = [output]

    def mixed(_module: Any, arguments: tuple) -> tuple:
        by_head = values[0].unflatten(2, frozen.W_V.shape[:2]).repeat_interleave(frozen.group_size, 2)
        return (torch.einsum("hqk,bkhe->bqhe", frozen.pattern.to(by_head), by_head).flatten(2), *arguments[1:])

    yield block.v_proj.register_forward_hook(keep)
    yield block.o_proj.register_forward_pre_hook(mixed)
