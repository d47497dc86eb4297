"""Covers which matrices write to the residual stream of other architectures, and taking a direction out of them."""

import copy

import pytest
import torch
from architectures import small
from torch import nn
from transformers.pytorch_utils import Conv1D

from common.errors import ConfigError
from common.model.hooks import decoder_blocks
from phase3_validation.orthogonalisation.weights import orthogonalised, watch_writes
from phase3_validation.orthogonalisation.writers import Writer, writers_of

IN_LINE = (
    *"gpt2 gptj gpt_neo gpt_neox codegen gpt_bigcode falcon opt phi phi3 cohere olmo stablelm starcoder2".split(),
    *"granite mpt mixtral qwen2_moe gpt_oss mamba mamba2 lfm2 jamba bamba".split(),
)
BEHIND_NORMS = ("gemma2", "gemma3_text", "olmo2", "glm4")
MASK = torch.tensor([[False] * 5 + [True] * 11, [True] * 16])
IDS = torch.randint(4, 1000, (2, 16), generator=torch.Generator().manual_seed(2))


def lively(architecture: str, **settings) -> nn.Module:
    """With gains and biases that are not 1 and 0, which would hide mistakes."""
    model = copy.deepcopy(small(architecture, **settings).model)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 or parameter.std() == 0:
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def direction() -> torch.Tensor:
    return torch.randn(64, generator=torch.Generator().manual_seed(5))


def read(model: nn.Module) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS, attention_mask=MASK.long(), use_cache=False).logits


def largest_shares(model: nn.Module) -> tuple[float, float]:
    """The largest part of a write along the direction, before and after it was taken out."""
    with torch.inference_mode():
        with watch_writes(model, direction(), MASK) as before:
            read(model)
        with orthogonalised(model, direction()), watch_writes(model, direction(), MASK) as after:
            read(model)
    return max(before.worst), max(after.worst)


@pytest.mark.parametrize("architecture", [*IN_LINE, *BEHIND_NORMS, "bloom"])
def test_nothing_writes_the_direction_any_more_and_the_model_is_put_back(architecture):
    model = lively(architecture)
    logits = read(model)
    before, after = largest_shares(model)
    assert before > 0.05 and 0 < after < 1e-6
    assert torch.equal(read(model), logits)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt_neox", "gptj", "qwen2_moe", "olmo2", "bloom", "lfm2"])
def test_the_stream_loses_its_part_along_the_direction_after_every_block(architecture):
    model, d = lively(architecture), direction() / direction().norm()
    streams: list[torch.Tensor] = []
    writers_of(model)  # which takes a pass of its own
    handles = [
        block.register_forward_hook(lambda _m, _a, out: streams.append(out[0] if isinstance(out, tuple) else out))
        for block in decoder_blocks(model)
    ]
    with orthogonalised(model, d):
        read(model)
    for handle in handles:
        handle.remove()
    for stream in streams:
        assert ((stream @ d).abs() / stream.norm(dim=-1))[MASK].max() < 1e-6


def test_the_writers_are_those_that_the_architecture_is_known_for():
    model = lively("gpt2")
    expected = [model.transformer.wte, model.transformer.wpe]
    expected += [matrix for block in model.transformer.h for matrix in (block.attn.c_proj, block.mlp.c_proj)]
    assert [writer.matrix for writer in writers_of(model)] == expected and isinstance(expected[2], Conv1D)
    model = lively("qwen2_moe")  # a layer's experts are one parameter; beside them one that all tokens share
    mlp = model.model.layers[0].mlp
    found = [writer.matrix for writer in writers_of(model) if writer.name == "blocks.0.mlp"]
    assert found == [mlp.shared_expert.down_proj, mlp.experts]


@pytest.mark.parametrize("architecture", BEHIND_NORMS)
def test_behind_a_norm_the_matrix_and_the_norm_are_found(architecture):
    model = lively(architecture)
    found = writers_of(model)
    assert [writer.name for writer in found[:3]] == ["embedding", "blocks.0.attn", "blocks.0.mlp"]
    block = decoder_blocks(model)[0]
    assert found[1].matrix is block.self_attn.o_proj and found[2].matrix is block.mlp.down_proj
    for writer in found[1:3]:
        gain = writer.norm.weight + (1 if architecture.startswith("gemma") else 0)
        by_hand = nn.functional.normalize(gain * direction(), dim=0)
        assert torch.allclose(writer.removed_from_matrix(direction()), by_hand, atol=1e-5)


def test_behind_a_norm_that_subtracts_the_mean_the_matrix_loses_the_centred_product():
    norm = nn.LayerNorm(64)
    torch.manual_seed(0)
    nn.init.normal_(norm.weight), nn.init.normal_(norm.bias)
    v = Writer("any", nn.Linear(2, 64), norm).removed_from_matrix(direction())
    x = torch.randn(50, 64) @ (torch.eye(64) - torch.outer(v, v))
    assert ((norm(x) - norm.bias) @ direction()).abs().max() < 1e-4 and abs(v.sum()) < 1e-5


def test_projected_embeddings_and_learned_positions_write_in_opt():
    model = lively("opt", word_embed_proj_dim=32)
    assert [writer.name for writer in writers_of(model)[:2]] == ["embed_positions", "project_in"]
    assert largest_shares(model)[1] < 1e-6


def test_writers_are_found_in_inference_mode_and_once_a_model():
    model = lively("gpt_neox")
    before = hooks_of(model)
    with torch.inference_mode():
        assert writers_of(model) is writers_of(model)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert hooks_of(model) == before


def hooks_of(model: nn.Module) -> list[tuple[int, int]]:
    """How many each module of the blocks has; transformers leaves its own where attentions were once asked for."""
    modules = decoder_blocks(model).modules()
    return [(len(module._forward_hooks), len(module._forward_pre_hooks)) for module in modules]


def test_in_bfloat16_the_same_writers_are_found():
    for architecture in ("gemma2", "gpt_oss", "bloom", "granite"):
        names = [writer.name for writer in writers_of(lively(architecture))]
        assert [writer.name for writer in writers_of(lively(architecture).bfloat16())] == names


def test_a_norm_that_stands_in_the_stream_itself_is_refused():
    for architecture, settings in (("opt", {"do_layer_norm_before": False}), ("rwkv", {})):
        with pytest.raises(ConfigError, match=r"blocks\.0: LayerNorm stands in the stream itself(.|\n)*Phase 3\.5"):
            writers_of(lively(architecture, **settings))


def test_a_gain_of_its_own_behind_a_matrix_is_refused():
    model = lively("gpt_neox")
    scale = torch.rand(64)
    block = model.gpt_neox.layers[1]
    usual = block.mlp.forward
    block.mlp.forward = lambda stream: usual(stream) * scale
    with pytest.raises(ConfigError, match=r"at blocks\.1: what Linear writes is not added as it is"):
        writers_of(model)


def test_fixed_position_embeddings_are_refused():
    with pytest.raises(ConfigError, match=r"at embedding: a part comes from something without parameters"):
        writers_of(lively("xglm"))


def test_weights_that_wait_outside_of_the_device_are_refused_before_anything_is_read():
    model = lively("gpt2")
    model.hf_device_map = {"transformer.h.0": 0, "transformer.h.1": "cpu"}
    with pytest.raises(ConfigError, match="wait outside of the device.*\nUse a larger device, or --device cpu"):
        writers_of(model)
