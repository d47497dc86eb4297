"""A model whose routing is known: one head takes everything to the end."""

import torch
from tiny_models import SPECIAL, make_tokenizer
from transformers import LlamaConfig, LlamaForCausalLM

from common.model.hooks import parts_of_blocks, projections_in_blocks
from common.model.language_model import LanguageModel


def routed() -> LanguageModel:
    """Two layers of which only head 0 of the second writes: it takes the mean of all positions, as they are."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        tie_word_embeddings=False,
        **SPECIAL,
    )
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    model.get_input_embeddings().weight.normal_()
    model.lm_head.weight.normal_()
    parts_of_blocks(model), projections_in_blocks(model)  # found on numbers: what writes nothing is found nowhere
    for block in model.model.layers:
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            getattr(block.self_attn, name).weight.zero_()
        block.mlp.down_proj.weight.zero_()
    attention = model.model.layers[1].self_attn
    attention.v_proj.weight[:16], attention.o_proj.weight[:, :16] = torch.eye(16), torch.eye(16)
    return LanguageModel(model, make_tokenizer(), "routed", "cpu", "float32", None)
