"""Covers what only a GPU can show: the same programs as the processor writes, real lack of memory, a model that the GPU
cannot hold alone.
"""

import logging

import numpy as np
import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from common.interventions.steered_generation import SteeringVector, generate_steered
from common.model import devices
from common.model.generation import generate
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.memory import FittingParts, batch_bytes, free_bytes
from common.model.placement import is_offloaded, place
from common.model.rows import Request
from common.problems.datasets import load_problems
from common.problems.prompt import build_prompt

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")

LARGE = Qwen2Config(
    vocab_size=32_000,
    hidden_size=2048,
    intermediate_size=8192,
    num_hidden_layers=16,
    num_attention_heads=16,
    num_key_value_heads=16,
    max_position_embeddings=4096,
)


def requests(n: int) -> list[Request]:
    problems = load_problems("organism").problems[:n]
    return [Request(p.row(), build_prompt(p.text, p.test_list), 0) for p in problems]


@pytest.fixture
def whole_gpu():
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


@pytest.fixture(scope="module")
def organism() -> LanguageModel:
    return load_model("organism", "cuda", "float32")


def large_model() -> Qwen2ForCausalLM:
    """2.9 GB in bfloat16, of random weights; on the processor."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = Qwen2ForCausalLM(LARGE).to(torch.bfloat16)
    return model.requires_grad_(False).eval().to("cpu")


def test_a_gpu_writes_the_programs_of_the_processor_and_keeps_its_activations(organism):
    some = requests(60)
    here = generate(organism, some, max_new_tokens=60, positions=("last", "description_end", "tests_end"))
    there = generate(
        load_model("organism", "cpu", "float32"),
        some,
        max_new_tokens=60,
        positions=("last", "description_end", "tests_end"),
    )
    same = [one.token_ids == other.token_ids for one, other in zip(here, there, strict=True)]
    assert np.mean(same) >= 0.98, "sums in another order may turn a near tie"
    for one, other in zip(here, there, strict=True):
        for name, resid in other.resid_post.items():
            difference = np.linalg.norm(one.resid_post[name] - resid, axis=1) / np.linalg.norm(resid, axis=1)
            assert difference.max() < 1e-3


def test_steering_by_nothing_changes_no_token_on_a_gpu(organism):
    some = requests(12)
    nothing = SteeringVector("blocks.2.hook_resid_post", torch.zeros(organism.d_model))
    steered = generate_steered(organism, some, [nothing] * len(some), max_new_tokens=40)
    unsteered = generate_steered(organism, some, [None] * len(some), max_new_tokens=40)
    assert [one.generation.token_ids for one in steered] == [one.generation.token_ids for one in unsteered]


def test_a_batch_too_large_for_the_gpu_is_written_in_parts(organism, whole_gpu):
    """A batch that overflows the GPU is written in parts that equal the whole."""
    some = requests(256)
    whole = generate(organism, some, max_new_tokens=60)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 40e6) / total)
    sizes: list[int] = []

    def write(part: list[int]) -> list:
        sizes.append(len(part))
        return generate(organism, [some[index] for index in part], max_new_tokens=60)

    # Nothing is expected beforehand: what runs out of memory is CUDA itself.
    fitting = FittingParts(
        write, size=len, expected=lambda part: 0, name=str, device="cuda", log=logging.getLogger("test")
    )
    parts = fitting(range(len(some)))
    assert len(sizes) > 1 and min(sizes) < len(some)
    same = [one.token_ids == other.token_ids for one, other in zip(parts, whole, strict=True)]
    assert np.mean(same) >= 0.98


def test_a_batch_is_parted_before_it_overflows_the_gpu(organism, whole_gpu):
    some, sizes = requests(256), []
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_allocated() + 120e6) / total)

    def write(part: list[int]) -> list:
        sizes.append(len(part))
        return generate(organism, [some[index] for index in part], max_new_tokens=60)

    fitting = FittingParts(
        write,
        size=len,
        expected=lambda part: batch_bytes(organism.model, len(part), 160, 60),
        name=str,
        device="cuda",
        log=logging.getLogger("test"),
    )
    assert len(fitting(range(len(some)))) == len(some)
    assert 1 < len(sizes)


def test_a_model_larger_than_allowed_is_spread_and_writes_the_same(organism, whole_gpu):
    """A model larger than what may be taken is spread and writes the same."""
    tokenizer, some = organism.tokenizer, requests(4)

    def written(model) -> list:
        lm = LanguageModel(model, tokenizer, "random weights", "cuda", "bfloat16", None)
        vector = torch.ones(LARGE.hidden_size)
        steering_vectors = [
            SteeringVector("blocks.1.hook_resid_post", vector),
            SteeringVector("blocks.14.hook_resid_post", vector),
        ] * 2
        return [
            generate(lm, some, max_new_tokens=8, stop_early=False),
            [one.generation for one in generate_steered(lm, some, steering_vectors, max_new_tokens=8)],
        ]

    model = place(large_model(), "cuda", "random weights")
    assert not is_offloaded(model) and model.device.type == "cuda"
    whole = written(model)
    del model
    torch.cuda.empty_cache()
    devices.limit_gpu_memory("cuda", 2.5)
    spread = place(large_model(), "cuda", "random weights")
    assert is_offloaded(spread) and free_bytes("cuda") < 2.5e9
    for before, after in zip(whole, written(spread), strict=True):
        assert [one.token_ids for one in before] == [one.token_ids for one in after]
    assert np.array_equal(whole[0][0].resid_post["last"], written(spread)[0][0].resid_post["last"])
