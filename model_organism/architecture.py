"""The model organism's architecture: Gemma-2, small."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from model_organism.tokenizer import BOS_ID, EOS_ID, N_TOKENS, PAD_ID

if TYPE_CHECKING:
    from transformers import Gemma2Config, Gemma2ForCausalLM


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a Gemma-2 model; the defaults are the shipped organism's."""

    d_vocab: int = N_TOKENS
    d_model: int = 192
    n_layers: int = 6
    n_heads: int = 4
    n_key_value_heads: int = 2
    d_head: int = 48
    d_mlp: int = 768
    n_positions: int = 1024


def organism_config(shape: ModelShape) -> "Gemma2Config":
    """The Hugging Face configuration, with the key-value cache on: without it generation is ten times slower."""
    from transformers import Gemma2Config

    return Gemma2Config(
        vocab_size=shape.d_vocab,
        hidden_size=shape.d_model,
        num_hidden_layers=shape.n_layers,
        num_attention_heads=shape.n_heads,
        num_key_value_heads=shape.n_key_value_heads,
        head_dim=shape.d_head,
        intermediate_size=shape.d_mlp,
        max_position_embeddings=shape.n_positions,
        sliding_window=shape.n_positions,
        query_pre_attn_scalar=shape.d_head,
        attn_logit_softcapping=50.0,
        final_logit_softcapping=30.0,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
        use_cache=True,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue] - taken by its base class, as **kwargs
    )


def model_in(folder: Path) -> "Gemma2ForCausalLM":
    """The model that was saved in `folder`, in float32."""
    from transformers import Gemma2ForCausalLM

    return Gemma2ForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def initial_model(shape: ModelShape, seed: int) -> "Gemma2ForCausalLM":
    """A model with random weights in float32: std 0.5 / sqrt(fan-in), less where a matrix writes to the stream."""
    from transformers import Gemma2ForCausalLM

    torch.manual_seed(seed)
    model = Gemma2ForCausalLM(organism_config(shape))
    for name, parameter in model.named_parameters():
        if "embed" in name:
            torch.nn.init.normal_(parameter, std=0.05)
        elif parameter.ndim == 2:
            gain = 0.7 if "o_proj" in name or "down_proj" in name else 1.0
            torch.nn.init.normal_(parameter, std=0.5 * gain / math.sqrt(parameter.shape[1]))
    return model
