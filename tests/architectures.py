"""Small random models of many architectures of transformers, without files."""

import warnings
from functools import cache

import torch
import transformers
from tiny_models import SPECIAL, make_tokenizer
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from common.model.language_model import LanguageModel

# Every name that some configuration has for a size; each takes those that it knows.
SIZES = {
    "vocab_size": 1024,
    **dict.fromkeys("hidden_size d_model n_embd embed_dim word_embed_proj_dim".split(), 64),
    **dict.fromkeys("intermediate_size n_inner ffn_dim decoder_ffn_dim encoder_ffn_dim".split(), 128),
    **dict.fromkeys("moe_intermediate_size shared_expert_intermediate_size".split(), 32),
    **dict.fromkeys("num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers".split(), 3),
    **dict.fromkeys("num_attention_heads n_head n_heads num_heads attention_heads".split(), 4),
    **dict.fromkeys("decoder_attention_heads encoder_attention_heads num_experts num_local_experts".split(), 4),
    **dict.fromkeys("num_key_value_heads num_experts_per_tok".split(), 2),
    **dict.fromkeys("max_position_embeddings n_positions max_seq_len".split(), 512),
    **dict(head_dim=16, rotary_dim=8, state_size=8, initializer_range=0.2),
    **SPECIAL,
}
OWN = {
    "gpt_neo": dict(attention_types=[[["global", "local"], 1], [["global"], 1]]),
    "mamba2": dict(num_heads=8, head_dim=16, n_groups=1, expand=2, chunk_size=8),
    "lfm2": dict(layer_types=["conv", "full_attention", "conv"]),
    "jamba": dict(
        num_hidden_layers=4,
        attn_layer_period=2,
        attn_layer_offset=1,
        expert_layer_period=2,
        mamba_d_state=8,
        use_mamba_kernels=False,
    ),
    "bamba": dict(attn_layer_indices=[1], mamba_n_heads=8, mamba_d_head=16, mamba_n_groups=1, mamba_d_state=8),
}


# The child of a block that reads the stream between attention and MLP.
WITH_RESID_MID = {
    model: module
    for module, models in {
        "post_attention_layernorm": "llama gemma qwen2 qwen3 bloom olmo glm4 starcoder2 stablelm granite mistral "
        "mixtral qwen2_moe gpt_oss nemotron persimmon phi3",
        "pre_feedforward_layernorm": "gemma2 gemma3_text",
        "ln_2": "gpt2 gpt_bigcode gpt_neo",
        "norm_2": "mpt",
        "mlp": "olmo2",
        "ffn_norm": "lfm2",
        "pre_ff_layernorm": "jamba bamba",
        "final_layer_norm": "xglm biogpt opt",
    }.items()
    for model in models.split()
}
PARALLEL = ["gptj", "gpt_neox", "falcon", "phi", "cohere", "cohere2", "codegen"]
OTHERWISE_WITHOUT = ["mamba", "mamba2"]  # their blocks have one branch


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
