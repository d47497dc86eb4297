"""Gemma-2's attention without a copy of keys and values for each of the heads that share them.

transformers repeats them for every query head before each product: with 8 heads on 4 that is twice the cache, written
and read again in every block and pass. Here the query heads that share keys and values are rows of one product.
What is computed is the same: scores, their softcap, the mask, softmax in float32.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

GROUPED = "grouped"
MODEL_TYPES = ("gemma2",)  # that are eager by default, for the sake of the softcap, and have nothing else of their own


def use_grouped_attention(model: PreTrainedModel) -> None:
    """Where it is known to be the model's own."""
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
