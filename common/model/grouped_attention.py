"""Attention without a copy of keys and values for each of the heads that share them.

transformers repeats them for every query head before a product: with 14 heads on 2 that is seven times the cache,
written and read again in every block and pass.

- Gemma-2's, which is eager: the query heads that share keys and values are rows of one product. What is computed is the
  same: scores, their softcap, the mask, softmax in float32.
- torch's own (sdpa), where a masked pass of several positions runs on a processor: its kernel for processors reads
  shared heads in place, to the same bits. (A GPU's does so without a mask alone, as transformers knows.)
"""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask

GROUPED, SDPA = "grouped", "sdpa"
_KNOWN_TO_SDPA = {"module", "query", "key", "value", "attention_mask", "dropout", "scaling", "is_causal", "kwargs"}
_KNOWN_TO_SDPA |= {"position_bias", "cache"}
MODEL_TYPES = ("gemma2",)  # that are eager by default, for the sake of the softcap, and have nothing else of their own


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Gemma-2's where it is known to be the model's own; torch's, for every model of the process, where transformers'
    function is the one that is known here: what a later version might tell it must not be passed over."""
    if inspect.signature(sdpa_attention_forward).parameters.keys() <= _KNOWN_TO_SDPA:
        AttentionInterface.register(SDPA, sdpa_attention)
    config = model.config.get_text_config()
    if config.model_type in MODEL_TYPES and getattr(config, "_attn_implementation", "") == "eager":
        AttentionInterface.register(GROUPED, grouped_attention)
        AttentionMaskInterface.register(GROUPED, eager_mask)
        model.set_attn_implementation(GROUPED)


def grouped_attention(
    module: Any,
    query: Float[Tensor, "batch head pos d_head"],
    key: Float[Tensor, "batch kv_head all_pos d_head"],
    value: Float[Tensor, "batch kv_head all_pos d_head"],
    attention_mask: Tensor | None,
    scaling: float,
    softcap: float | None = None,
    dropout: float = 0.0,
    **_kwargs: Any,
) -> tuple[Float[Tensor, "batch pos head d_head"], Float[Tensor, "batch head pos all_pos"]]:
    """As transformers calls an attention function: what is attended to, and the weights."""
    assert dropout == 0.0, "for inference"
    n_batch, n_heads, n_pos, d_head = query.shape
    n_kv_heads, n_all = key.shape[1], key.shape[2]
    together = (n_batch, n_kv_heads, n_heads // n_kv_heads * n_pos)
    scores = torch.matmul(query.reshape(*together, d_head), key.transpose(2, 3)) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.view(n_batch, n_heads, n_pos, n_all)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    attended = torch.matmul(weights.view(*together, n_all), value).view(n_batch, n_heads, n_pos, d_head)
    return attended.transpose(1, 2).contiguous(), weights


def sdpa_attention(
    module: Any,
    query: Float[Tensor, "batch head pos d_head"],
    key: Float[Tensor, "batch kv_head all_pos d_head"],
    value: Float[Tensor, "batch kv_head all_pos d_value"],
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[Float[Tensor, "batch pos head d_value"], None]:
    """transformers' own function, but for what it would copy keys and values for.

    Where a gradient is wanted it is left to copy: in bfloat16 the kernel adds up those of shared heads less exactly.
    """
    copied = getattr(module, "num_key_value_groups", 1) > 1 and query.shape[2] > 1 and attention_mask is not None
    plain = not rest.get("dropout") and all(rest.get(name) is None for name in ("softcap", "position_bias", "cache"))
    differentiated = torch.is_grad_enabled() and key.requires_grad
    if key.device.type == "cpu" and copied and plain and not differentiated:
        attended = scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=scaling, enable_gqa=True
        )
        return attended.transpose(1, 2).contiguous(), None
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)
