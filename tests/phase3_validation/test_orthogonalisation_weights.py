"""Covers taking a direction out of the weights: every component, norms with gains, ties, biases, restoring."""

import pytest
import torch
from tiny_models import SPECIAL, make_tokenizer, save_tiny_gemma, save_tiny_llama, save_tiny_qwen
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from common.errors import PipelineError
from common.model.hooks import decoder_blocks
from common.model.loading import load_model
from phase3_validation.orthogonalisation import weights
from phase3_validation.orthogonalisation.weights import orthogonalised, watch_writes, write_limit, writers_of

TEXTS = ("Write a function to add 3 to a number.\n\nassert add(1) == 4\n\n# Solution:\n", "short one")
SMALL = {
    "vocab_size": 1024,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "num_hidden_layers": 3,
    **SPECIAL,
}


def save_gemma3(folder):
    config = Gemma3TextConfig(
        **SMALL,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=16,
        initializer_range=0.3,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )
    return _save(Gemma3ForCausalLM, config, folder)


def save_qwen2(folder):
    return _save(Qwen2ForCausalLM, Qwen2Config(**SMALL, initializer_range=0.2, tie_word_embeddings=True), folder)


def save_llama_with_biases(folder):
    return _save(LlamaForCausalLM, LlamaConfig(**SMALL, attention_bias=True, mlp_bias=True), folder)


def _save(model_class, config, folder):
    torch.manual_seed(4)
    model = model_class(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or name.endswith("bias"):  # as they are made, gains and biases would hide mistakes
                parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


MAKERS = {
    "gemma2": save_tiny_gemma,
    "gemma3": save_gemma3,
    "llama": save_tiny_llama,
    "llama_biases": save_llama_with_biases,
    "qwen2": save_qwen2,
    "qwen3": save_tiny_qwen,
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MAKERS.items()}


@pytest.fixture(params=[*MAKERS])
def lm(request, folders):
    return load_model(str(folders[request.param]), "cpu", "float32", 1)


@pytest.fixture
def gemma(folders):
    return load_model(str(folders["gemma2"]), "cpu", "float32", 1)


def some_direction(lm) -> torch.Tensor:
    return torch.randn(lm.d_model, generator=torch.Generator().manual_seed(5))


def read(lm) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and mask of two prompts of different length."""
    encoded = lm.tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    mask = encoded["attention_mask"]
    with torch.inference_mode():
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        output = lm.model(input_ids=encoded["input_ids"], attention_mask=mask, position_ids=positions)
    return output.logits, mask.bool()


def shares(lm, direction) -> weights.Writes:
    _, mask = read(lm)
    with watch_writes(lm.model, direction, mask) as found:
        read(lm)
    return found


def test_no_component_writes_the_direction_any_more(lm):
    direction = some_direction(lm)
    before = shares(lm, direction)
    with orthogonalised(lm.model, direction):
        after = shares(lm, direction)
    assert min(before.worst) > 0.05 and 0 < max(after.worst) < 1e-6
    after.check(write_limit(torch.float32))


def test_every_component_is_below_the_limit_by_a_measurement_of_its_own(lm):
    direction = some_direction(lm).double()
    stream: dict[str, torch.Tensor] = {}
    handles = [
        block.register_forward_hook(lambda _m, _a, out, name=f"block {i}": stream.__setitem__(name, out.double()))
        for i, block in enumerate(decoder_blocks(lm.model))
    ]
    handles.append(
        lm.model.get_input_embeddings().register_forward_hook(
            lambda _m, _a, out: stream.__setitem__("embedding", out.double())
        )
    )
    with orthogonalised(lm.model, direction.float()):
        _, mask = read(lm)
    for handle in handles:
        handle.remove()
    assert len(stream) == lm.n_layers + 1
    for resid in stream.values():
        along = (resid @ direction / direction.norm()).abs()[mask]
        assert (along / resid.norm(dim=-1)[mask]).max() < 1e-6


def test_the_untied_unembedding_is_the_old_weight(lm):
    tied = lm.model.config.tie_word_embeddings
    head, embedding = lm.model.get_output_embeddings(), lm.model.get_input_embeddings()
    old = head.weight.detach().clone()
    with orthogonalised(lm.model, some_direction(lm)):
        assert torch.equal(head.weight, old) and not torch.equal(embedding.weight, head.weight)
        assert not lm.model.config.tie_word_embeddings
    assert lm.model.config.tie_word_embeddings == tied == (head.weight is embedding.weight)


def test_the_model_is_put_back_bit_for_bit(lm):
    before, parameters = read(lm)[0], {name: p.clone() for name, p in lm.model.named_parameters()}
    with orthogonalised(lm.model, some_direction(lm)):
        between = read(lm)[0]
    assert torch.equal(read(lm)[0], before) and not torch.equal(between, before)
    assert all(torch.equal(p, parameters[name]) for name, p in lm.model.named_parameters())


def test_the_model_is_put_back_when_the_block_fails(gemma):
    before = read(gemma)[0]
    with pytest.raises(ZeroDivisionError), orthogonalised(gemma.model, some_direction(gemma)):
        raise ZeroDivisionError
    assert torch.equal(read(gemma)[0], before) and gemma.model.config.tie_word_embeddings


def test_behind_a_norm_with_gain_the_matrix_loses_gain_times_the_direction(gemma):
    direction = some_direction(gemma)
    block = decoder_blocks(gemma.model)[1]
    for writer in writers_of(gemma.model)[3:5]:
        norm = {"attn": block.post_attention_layernorm, "mlp": block.post_feedforward_layernorm}[writer.name[9:]]
        by_hand = (1 + norm.weight) * direction
        assert torch.allclose(writer.removed_from_matrix(direction), by_hand / by_hand.norm(), atol=1e-6)
        with orthogonalised(gemma.model, direction):
            assert (by_hand @ writer.matrix.weight).abs().max() < 1e-5


def test_without_the_gain_the_check_fails_on_gemma(gemma, monkeypatch):
    monkeypatch.setattr(weights.Writer, "removed_from_matrix", lambda self, d: d / d.norm())  # the known mistake
    with orthogonalised(gemma.model, some_direction(gemma)):
        found = shares(gemma, some_direction(gemma))
    assert max(found.worst) > 0.01 and found.component[0].startswith("blocks.")
    with pytest.raises(PipelineError, match=r"blocks\.\d\.(attn|mlp) still writes the direction(.|\n)*float32"):
        found.check(write_limit(torch.float32))


def test_a_writer_that_is_forgotten_shows_in_the_stream(gemma, monkeypatch):
    known = writers_of(gemma.model)
    monkeypatch.setattr(weights, "writers_of", lambda model: known[:-1])
    with orthogonalised(gemma.model, some_direction(gemma)):
        found = shares(gemma, some_direction(gemma))
    assert max(found.worst) > 0.01 and set(found.component) == {weights.STREAM}


def test_a_share_that_is_no_number_is_refused():
    with pytest.raises(PipelineError, match="nan of"):
        weights.Writes([1e-9, float("nan")], ["embedding", "blocks.0.mlp"]).check(1e-5)


def test_padding_does_not_count(gemma):
    _, mask = read(gemma)
    with watch_writes(gemma.model, some_direction(gemma), torch.zeros_like(mask)) as found:
        read(gemma)
    assert found.worst == [0.0, 0.0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_below_its_own_limit(folders, dtype):
    limit = write_limit(getattr(torch, dtype))
    for name in ("gemma2", "llama"):
        lm = load_model(str(folders[name]), "cpu", dtype, 1)
        with orthogonalised(lm.model, some_direction(lm)):
            worst = max(shares(lm, some_direction(lm)).worst)
        assert 1e-5 < worst < limit / 2 and limit < 0.01
