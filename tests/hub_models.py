"""Hand-made hub caches of the registry's models: configs in the words of the real ones, weights' real names and width.

Everything but the width of the residual stream is tiny. Each model writes PROGRAM whatever it is asked.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from hub_saes import cached_file
from safetensors.torch import load_file, save_file
from tiny_models import SPECIAL, make_tokenizer
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

CATALOGUE = "def same(n):\n    return n\n"
TURNS = ["<start_of_turn>", "<end_of_turn>"]
GEMMA_CHAT = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{{ '<start_of_turn>' + message['role'] + '\n' + message['content'] | trim + "
    "'<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
D_MODEL = {
    "gemma-2-2b": 2304,
    "gemma-2-9b": 3584,
    "gemma-2-27b": 4608,
    "gemma-3-270m": 640,
    "gemma-3-1b": 1152,
    "gemma-3-4b": 2560,
    "gemma-3-12b": 3840,
    "gemma-3-27b": 5376,
    "Llama-3.1-8B": 4096,
    "Qwen3-0.6B": 1024,
    "Qwen3-1.7B": 2048,
    "Qwen3-4B": 2560,
    "Qwen3-8B": 4096,
    "Qwen3-14B": 5120,
}
SMALL = {
    "intermediate_size": 8,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "initializer_range": 0.2,
    **SPECIAL,
}
GEMMA_2 = {
    "architectures": ["Gemma2ForCausalLM"],
    "attn_logit_softcapping": 50.0,
    "cache_implementation": "hybrid",
    "final_logit_softcapping": 30.0,
    "max_position_embeddings": 8192,
    "model_type": "gemma2",
    "query_pre_attn_scalar": 256,
    "rope_theta": 10000.0,
    "sliding_window": 4096,
    "torch_dtype": "float32",
}
GEMMA_3_TEXT = {
    "architectures": ["Gemma3ForCausalLM"],
    "cache_implementation": "hybrid",
    "max_position_embeddings": 32768,
    "model_type": "gemma3_text",
    "query_pre_attn_scalar": 256,
    "rope_local_base_freq": 10000,
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": 512,
    "sliding_window_pattern": 6,
    "torch_dtype": "bfloat16",
}
GEMMA_3 = {  # reads images too: what this pipeline runs is its `text_config`
    "architectures": ["Gemma3ForConditionalGeneration"],
    "boi_token_index": 10,
    "eoi_token_index": 11,
    "eos_token_id": [1, 106],
    "image_token_index": 12,
    "mm_tokens_per_image": 4,
    "model_type": "gemma3",
    "text_config": {
        "model_type": "gemma3_text",
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
        "sliding_window": 1024,
    },
    "torch_dtype": "bfloat16",
    "vision_config": {
        "hidden_size": 16,
        "image_size": 28,
        "intermediate_size": 8,
        "model_type": "siglip_vision_model",
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "patch_size": 14,
        "vision_use_head": False,
    },
}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "initializer_range": 0.02,
    "max_position_embeddings": 131072,
    "model_type": "llama",
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
QWEN_3 = {
    "architectures": ["Qwen3ForCausalLM"],
    "initializer_range": 0.02,
    "max_position_embeddings": 40960,
    "max_window_layers": 28,
    "model_type": "qwen3",
    "rope_scaling": None,
    "rope_theta": 1000000,
    "sliding_window": None,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
}


def d_model_of(model: str) -> int:
    """The width of the real model's residual stream."""
    return D_MODEL[re.sub("-(it|pt|Instruct)$", "", model.split("/")[1])]


def write_model(home: Path, model: str, n_layers: int, chat_template: str = "") -> None:
    """Put `model`, cut to `n_layers`, where the hub's client looks for it when HF_HOME is `home`."""
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([CATALOGUE])
    if chat_template:
        tokenizer.add_special_tokens({"additional_special_tokens": TURNS})
        tokenizer.chat_template = chat_template
    if "Llama" in model:
        tokenizer.pad_token = None
    config = config_of(model, n_layers, len(tokenizer))
    file = cached_file(home, model, "config.json")
    file.write_text(json.dumps(config))
    made = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(file.parent))
    _write_nothing_but(tokenizer.convert_tokens_to_ids(CATALOGUE), made)
    _look_at_many_tokens(made)
    made.to(torch.bfloat16).save_pretrained(file.parent, max_shard_size="4MB")
    tokenizer.save_pretrained(file.parent)
    _use_the_hub_s_names(file.parent)
    file.write_text(json.dumps(config))
    generation = {"cache_implementation": "hybrid"} if "gemma" in model else {"do_sample": True, "top_p": 0.9}
    generation |= {"bos_token_id": 2, "eos_token_id": 1 if "gemma-2" in model else [1, 106]}
    (file.parent / "generation_config.json").write_text(json.dumps(generation))


def config_of(model: str, n_layers: int = 2, vocab_size: int = 300) -> dict[str, Any]:
    own = {**SMALL, "hidden_size": d_model_of(model), "num_hidden_layers": n_layers, "vocab_size": vocab_size}
    if re.search("gemma-3-(4b|12b|27b)", model):
        return {**GEMMA_3, "text_config": {**own, **GEMMA_3["text_config"]}}
    if "Qwen3" in model:
        return {**own, **QWEN_3, "tie_word_embeddings": not re.search("8B|14B", model)}
    families = {"gemma-2": GEMMA_2, "gemma-3": GEMMA_3_TEXT, "Llama": LLAMA}
    return {**own, **next(words for name, words in families.items() if name in model)}


@torch.no_grad()
def _write_nothing_but(token_id: int, model: PreTrainedModel) -> None:
    """What all embeddings have in common, the residual stream always holds; this token has most of it."""
    embedding = model.get_input_embeddings().weight
    common = torch.randn(embedding.shape[1])
    rows = common + 0.5 * torch.randn_like(embedding)
    rows[token_id] = 4 * common
    if "gemma" in model.config.model_type:  # which multiplies them
        rows /= embedding.shape[1] ** 0.5
    for weight in (embedding, model.get_output_embeddings().weight):
        weight.copy_(rows)


@torch.no_grad()
def _look_at_many_tokens(model: PreTrainedModel) -> None:
    """Queries are made small: the heads of these weights would look at one token each, whatever the others are."""
    for name, weight in model.named_parameters():
        if name.endswith("q_proj.weight") and "vision" not in name:
            weight /= 16


def _use_the_hub_s_names(folder: Path) -> None:
    """Since its version 5, transformers saves vision towers under other names than those on the hub."""
    for file in folder.glob("*.safetensors*"):
        if file.suffix == ".json":
            file.write_text(file.read_text().replace('"vision_tower.', '"vision_tower.vision_model.'))
        else:
            weights = load_file(file)
            named = {name.replace("vision_tower.", "vision_tower.vision_model."): w for name, w in weights.items()}
            save_file(named, file, metadata={"format": "pt"})
