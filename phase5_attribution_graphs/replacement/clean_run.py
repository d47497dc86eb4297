"""One forward pass, and everything in it that the local replacement model holds fixed.

1. Attention patterns and the scale 1/rms of every norm are recorded, with the streams that they come from.
2. With these fixed, each block's attention is a linear map of its input, written out here: no autograd.
3. That the written-out maps add up to the streams of the real pass is held on numbers, block by block: a model that
   computes anything else (gated attention, norms at other places, factors of a sum or of the logits) is refused.

Source: Ameisen et al. 2025, "Circuit Tracing", transformer-circuits.pub.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from common.errors import ConfigError
from common.model.eager_attention import eager
from common.model.forward import next_token_logits
from common.model.language_model import LanguageModel
from phase5_attribution_graphs.replacement.decoder import Decoder, Norm, decoder_of

MISFIT = 1e-3  # of the stream's largest norm: rounding in float32 leaves 1e-6, a forgotten factor much more


@dataclass(frozen=True)
class FrozenBlock:
    """What is fixed in one block, and the linear maps that follow. Shapes: T positions, H heads, G kv-heads."""

    pattern: Float[Tensor, "head query key"]
    attn_scale: Float[Tensor, " pos"]
    attn_gain: Float[Tensor, " d_model"]
    post_factor: Float[Tensor, "pos d_model"] | None  # of the norm of what attention adds: scale times gain
    mlp_scale: Float[Tensor, " pos"]
    mlp_gain: Float[Tensor, " d_model"]
    W_V: Float[Tensor, "kv_head d_head d_model"]
    b_V: Float[Tensor, "kv_head d_head"] | None
    W_O: Float[Tensor, "d_model head d_head"]
    b_O: Float[Tensor, " d_model"] | None
    resid_pre: Float[Tensor, "pos d_model"]
    resid_mid: Float[Tensor, "pos d_model"]
    mlp_out: Float[Tensor, "pos d_model"]

    @property
    def group_size(self) -> int:
        return self.W_O.shape[1] // len(self.W_V)

    def mlp_input(self, with_gain: bool) -> Float[Tensor, "pos d_model"]:
        """What a transcoder of this block reads: the normalised stream, with the norm's gain or without."""
        normalised = self.resid_mid * self.mlp_scale[:, None]
        return normalised * self.mlp_gain if with_gain else normalised

    def values(self, x: Float[Tensor, "pos d_model"]) -> Float[Tensor, "pos kv_head d_head"]:
        """What heads read of the input `x`, without their biases."""
        return torch.einsum("td,ged->tge", x * self.attn_scale[:, None] * self.attn_gain, self.W_V)

    def attention(self, x: Float[Tensor, "pos d_model"], *, biases: bool = True) -> Float[Tensor, "pos d_model"]:
        """What attention adds to the stream for the input `x`, pattern and scales as recorded.

        Without biases it is linear: what is added for a part of the stream.
        """
        values = self.values(x)
        values = values + self.b_V if biases and self.b_V is not None else values
        mixed = torch.einsum("hqk,khe->qhe", self.pattern, values.repeat_interleave(self.group_size, 1))
        added = torch.einsum("qhe,dhe->qd", mixed, self.W_O)
        added = added + self.b_O if biases and self.b_O is not None else added
        return added if self.post_factor is None else added * self.post_factor

    def attention_transposed(
        self, v: Float[Tensor, "target pos d_model"]
    ) -> tuple[Float[Tensor, "target pos d_model"], Float[Tensor, " target"]]:
        """Gradients at the stream behind attention, to those at the block's input; and what biases add to each target.

        `v` may hold the first positions alone: what a target reads at the last of them does not depend on later ones.
        """
        by_head, bias = self.by_head(v)
        by_kv = by_head.unflatten(2, (-1, self.group_size)).sum(3)
        if self.b_V is not None:
            bias = bias + torch.einsum("nkge,ge->n", by_kv, self.b_V)
        factor = self.attn_scale[: v.shape[1], None] * self.attn_gain
        return v + (by_kv.flatten(2) @ self.W_V.flatten(0, 1)) * factor, bias

    def by_head(
        self, v: Float[Tensor, "target pos d_model"]
    ) -> tuple[Float[Tensor, "target key head d_head"], Float[Tensor, " target"]]:
        """Gradients at each head's values, by query head; and what the output's bias adds to each target."""
        n_pos = v.shape[1]
        u = v if self.post_factor is None else v * self.post_factor[:n_pos]
        by_head = (u @ self.W_O.flatten(1)).unflatten(2, self.W_O.shape[1:])
        by_head = torch.einsum("hqk,nqhe->nkhe", self.pattern[:, :n_pos, :n_pos], by_head)
        bias = v.new_zeros(len(v)) if self.b_O is None else (u @ self.b_O).sum(1)
        return by_head, bias


@dataclass(frozen=True)
class CleanRun:
    """One pass over one row of tokens, with all that is fixed. float32, on the model's device."""

    tokens: Int[Tensor, " pos"]
    embeddings: Float[Tensor, "pos d_model"]  # the input of block 0, whatever the model did to its table
    blocks: list[FrozenBlock]
    resid_final: Float[Tensor, "pos d_model"]
    final_scale: Float[Tensor, " pos"]
    final_gain: Float[Tensor, " d_model"]
    logits: Float[Tensor, " d_vocab"]  # of the last position, as the model gives them (capped for Gemma-2)
    W_U: Float[Tensor, "d_vocab d_model"]

    @property
    def n_layers(self) -> int:
        return len(self.blocks)

    @property
    def n_pos(self) -> int:
        return len(self.tokens)

    @property
    def final_factor(self) -> Float[Tensor, " d_model"]:
        """What the final norm multiplies the last position's stream by."""
        return self.final_scale[-1] * self.final_gain


@torch.no_grad()
def clean_run(lm: LanguageModel, tokens: Int[Tensor, " pos"]) -> CleanRun:
    """The pass over `tokens`, as they are: nothing is put in front.

    Raises: ConfigError for a model that computes anything but what decoder.py reads into it.
    """
    decoder = decoder_of(lm.model)
    tokens = tokens.to(lm.device)
    seen, logits = _recorded(lm, decoder, tokens)
    blocks = [_frozen(decoder, layer, seen) for layer in range(decoder.n_layers)]
    final = seen["final", 0]
    run = CleanRun(
        tokens=tokens,
        embeddings=blocks[0].resid_pre,
        blocks=blocks,
        resid_final=final,
        final_scale=decoder.final_norm.scale(final),
        final_gain=decoder.final_norm.gain.float(),
        logits=logits.float(),
        W_U=decoder.W_U.float(),
    )
    _check_sums(run, lm)
    return run


def _recorded(lm: LanguageModel, decoder: Decoder, tokens: Tensor) -> tuple[dict[tuple[str, int], Tensor], Tensor]:
    seen: dict[tuple[str, int], Tensor] = {}

    def keep_input(name: str, layer: int) -> Any:
        return lambda _module, arguments: seen.__setitem__((name, layer), arguments[0][0].float())

    def keep_output(name: str, layer: int, number: int) -> Any:
        def keep(_module: nn.Module, _arguments: tuple, output: Any) -> None:
            seen[name, layer] = (output[number] if isinstance(output, tuple) else output)[0].float()

        return keep

    with ExitStack() as hooks:
        for layer, block in enumerate(decoder.blocks):
            norms: dict[str, Norm | None] = {
                "pre": block.attn_norm,
                "attn_out": block.attn_post_norm,
                "mid": block.mlp_norm,
            }
            for name, norm in norms.items():
                if norm is not None:
                    hooks.enter_context(norm.module.register_forward_pre_hook(keep_input(name, layer)))
            hooks.enter_context(block.mlp_out.register_forward_hook(keep_output("mlp_out", layer, 0)))
            hooks.enter_context(block.attn.register_forward_hook(keep_output("pattern", layer, 1)))
        hooks.enter_context(decoder.final_norm.module.register_forward_pre_hook(keep_input("final", 0)))
        hooks.enter_context(eager(lm))
        ids = tokens[None]
        logits = next_token_logits(lm, ids, torch.ones_like(ids), None)[0]
    return seen, logits


def _frozen(decoder: Decoder, layer: int, seen: dict[tuple[str, int], Tensor]) -> FrozenBlock:
    block = decoder.blocks[layer]
    post = None
    if block.attn_post_norm is not None:
        post = block.attn_post_norm.scale(seen["attn_out", layer])[:, None] * block.attn_post_norm.gain.float()
    values, out, heads = block.v_proj, block.o_proj, (-1, block.d_head)
    return FrozenBlock(
        pattern=seen["pattern", layer],
        attn_scale=block.attn_norm.scale(seen["pre", layer]),
        attn_gain=block.attn_norm.gain.float(),
        post_factor=post,
        mlp_scale=block.mlp_norm.scale(seen["mid", layer]),
        mlp_gain=block.mlp_norm.gain.float(),
        W_V=values.weight.float().unflatten(0, heads),
        b_V=None if values.bias is None else values.bias.float().unflatten(0, heads),
        W_O=out.weight.float().unflatten(1, heads),
        b_O=None if out.bias is None else out.bias.float(),
        resid_pre=seen["pre", layer],
        resid_mid=seen["mid", layer],
        mlp_out=seen["mlp_out", layer],
    )


def _check_sums(run: CleanRun, lm: LanguageModel) -> None:
    """Hold that what is written out here is what the model computed: each block's stream, and the logits."""
    after = [block.resid_pre for block in run.blocks[1:]] + [run.resid_final]
    for layer, (block, end) in enumerate(zip(run.blocks, after, strict=True)):
        added = block.resid_pre + block.attention(block.resid_pre)
        _check_sum(lm, f"what attention adds in block {layer}", added, block.resid_mid)
        _check_sum(lm, f"what the MLP adds in block {layer}", block.resid_mid + block.mlp_out, end)
    logits = run.W_U @ (run.resid_final[-1] * run.final_factor)
    cap = getattr(lm.model.config.get_text_config(), "final_logit_softcapping", None)
    _check_sum(lm, "the vector of logits", logits if cap is None else cap * torch.tanh(logits / cap), run.logits)


def _check_sum(lm: LanguageModel, what: str, expected: Tensor, total: Tensor) -> None:
    misfit = ((expected - total).norm(dim=-1) / total.norm(dim=-1)).max().item()
    if not misfit <= MISFIT:
        raise ConfigError(
            f"no exact graph can be made of {lm.name} ({type(lm.model).__name__}): {what}, computed from its weights "
            f"and fixed patterns, misses what the model computes by {misfit:.2g} of its length (at most {MISFIT:g})\n"
            f"Give a --model whose blocks add attention and MLP one after another, without factors, in float32 "
            f"(--dtype float32)"
        )
