"""Small random models of many architectures of transformers, without files."""

import warnings
from functools import cache

import torch
import transformers
from tiny_models import SPECIAL, make_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from common.model.language_model import LanguageModel

# Every name that some configuration has for a size; each takes those that it knows.
SIZES = dict(
    vocab_size=1024, hidden_size=64, d_model=64, n_embd=64, embed_dim=64, word_embed_proj_dim=64,
    intermediate_size=128, n_inner=128, ffn_dim=128, decoder_ffn_dim=128, encoder_ffn_dim=128, moe_intermediate_size=32,
    shared_expert_intermediate_size=32, num_hidden_layers=3, n_layer=3, n_layers=3, num_layers=3, decoder_layers=3,
    encoder_layers=3, num_attention_heads=4, n_head=4, n_heads=4, num_heads=4, attention_heads=4,
    decoder_attention_heads=4, encoder_attention_heads=4, num_key_value_heads=2, head_dim=16, rotary_dim=8,
    max_position_embeddings=512, n_positions=512, max_seq_len=512, num_experts=4, num_local_experts=4,
    num_experts_per_tok=2, state_size=8, initializer_range=0.2, **SPECIAL,
)  # fmt: skip
OWN = {
    "gpt_neo": dict(attention_types=[[["global", "local"], 1], [["global"], 1]]),
    "mamba2": dict(num_heads=8, head_dim=16, n_groups=1, expand=2, chunk_size=8),
    "lfm2": dict(layer_types=["conv", "full_attention", "conv"]),
    "jamba": dict(
        num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, mamba_d_state=8,
        use_mamba_kernels=False,
    ),
    "bamba": dict(attn_layer_indices=[1], mamba_n_heads=8, mamba_d_head=16, mamba_n_groups=1, mamba_d_state=8),
}  # fmt: skip


@cache
def small(architecture: str, **settings) -> LanguageModel:
    """`architecture` is a model_type of transformers, whose configuration gets `settings` besides."""
    config_class = CONFIG_MAPPING[architecture]
    known = config_class().to_dict().keys() | set(config_class.attribute_map)
    sizes = {name: size for name, size in SIZES.items() if name in known}
    torch.manual_seed(0)
    transformers.utils.logging.set_verbosity_error()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = config_class(**{**sizes, **OWN.get(architecture, {}), **settings})
        model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    model.generation_config.eos_token_id = SPECIAL["eos_token_id"]
    return LanguageModel(model, make_tokenizer(), f"tiny {architecture}", "cpu", "float32", None)
