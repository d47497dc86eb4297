"""A decoder's modules by their meaning, where everything between two MLPs is linear once attention and norms are fixed.

`post_attention_layernorm` is Gemma-2's norm of what attention adds, but the norm before the MLP in Llama and Qwen: a
`pre_feedforward_layernorm` beside it tells which. Whether a model really computes what is read into its modules here is
held on numbers, in every pass (clean_run.py).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.errors import ConfigError
from common.model.hooks import decoder_blocks, name_of
from common.model.unembedding import final_norm

_NAMES = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp")
_PROJECTIONS = ("v_proj", "o_proj")
_GIVE = "Give a --model of the form of Gemma, Llama or Qwen: RMS norms, and q, k, v and o projections one after another"


@dataclass(frozen=True)
class Norm:
    """An RMS norm: out = x * scale(x) * gain."""

    module: nn.Module
    gain: Float[Tensor, " d_model"]
    eps: float

    def scale(self, x: Float[Tensor, "*rows d_model"]) -> Float[Tensor, " *rows"]:
        """1 / rms, computed in double precision."""
        return torch.rsqrt(x.double().square().mean(-1) + self.eps).to(x.dtype)


@dataclass(frozen=True)
class Block:
    """Modules of one layer; the two post-norms are None where there are none."""

    attn_norm: Norm
    attn: nn.Module
    attn_post_norm: Norm | None
    mlp_norm: Norm
    mlp_out: nn.Module  # whose output is what the MLP adds to the stream
    v_proj: nn.Linear
    o_proj: nn.Linear
    d_head: int


@dataclass(frozen=True)
class Decoder:
    """All blocks, and what comes behind them."""

    blocks: list[Block]
    final_norm: Norm
    W_U: Float[Tensor, "d_vocab d_model"]

    @property
    def n_layers(self) -> int:
        return len(self.blocks)


def decoder_of(model: PreTrainedModel) -> Decoder:
    """Raises: ConfigError for a model with other parts, naming what is missing."""
    norm, head = final_norm(model), model.get_output_embeddings()
    if norm is None or not isinstance(head, nn.Linear) or head.bias is not None:
        raise _refused(model, "it does not end in one norm and one product")
    blocks = [_block(model, layer, block) for layer, block in enumerate(decoder_blocks(model))]
    return Decoder(blocks, _norm(model, "the final norm", norm), head.weight)


def _block(model: PreTrainedModel, layer: int, block: Any) -> Block:
    lacking = [name for name in _NAMES if not hasattr(block, name)]
    attn: Any = getattr(block, "self_attn", None)
    lacking += [name for name in _PROJECTIONS if not isinstance(getattr(attn, name, None), nn.Linear)]
    if lacking:
        raise _refused(model, f"block {layer} has no {', '.join(lacking)}")

    def norm(name: str) -> Norm:
        return _norm(model, f"{name} of block {layer}", getattr(block, name))

    has_post_norms = hasattr(block, "pre_feedforward_layernorm")
    return Block(
        attn_norm=norm("input_layernorm"),
        attn=attn,
        attn_post_norm=norm("post_attention_layernorm") if has_post_norms else None,
        mlp_norm=norm("pre_feedforward_layernorm" if has_post_norms else "post_attention_layernorm"),
        mlp_out=block.post_feedforward_layernorm if has_post_norms else block.mlp,
        v_proj=attn.v_proj,
        o_proj=attn.o_proj,
        d_head=attn.head_dim,
    )


def _norm(model: PreTrainedModel, name: str, module: nn.Module) -> Norm:
    """The gain is the weight, or one more than it (Gemma): what the module itself does to numbers tells."""
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    weight = getattr(module, "weight", None)
    if isinstance(eps, float) and isinstance(weight, Tensor):
        asked = torch.linspace(-1, 2, len(weight), device=weight.device, dtype=weight.dtype)
        with torch.no_grad():
            wrote = module(asked[None])[0]
        for gain in (weight, 1 + weight):
            norm = Norm(module, gain, eps)
            if torch.allclose(asked * norm.scale(asked) * gain, wrote, rtol=1e-3, atol=1e-4):
                return norm
    raise _refused(model, f"{name} is no RMS norm with a gain ({type(module).__name__})")


def _refused(model: PreTrainedModel, why: str) -> ConfigError:
    return ConfigError(f"no exact graph can be made of {name_of(model)} ({type(model).__name__}): {why}\n{_GIVE}")
