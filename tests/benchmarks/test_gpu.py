"""Covers benchmarks/gpu.py where there is no GPU: batches that do not fit, the floor, and a model that never ends."""

import pytest
import torch

from benchmarks import gpu


def test_a_batch_that_does_not_fit_is_halved_until_it_does():
    tried = []

    def run(batch: int) -> gpu.Timing:
        tried.append(batch)
        if batch > 60:
            raise torch.OutOfMemoryError("out of memory")
        return gpu.Timing(batch, batch, 10 * batch, 1.0, 0.5, 0)

    assert gpu.largest_that_fits(run, 512).batch == 32 and tried == [512, 256, 128, 64, 32]


def test_one_program_that_does_not_fit_is_an_error():
    def run(_batch: int) -> gpu.Timing:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        gpu.largest_that_fits(run, 4)


def test_the_floor_reads_weights_once_a_step_and_each_rows_cache():
    """The floor reads the weights once a step and each row's cache as long as it is."""
    lm = gpu.random_model(gpu.TINY, "cpu")
    timer = gpu._Timer(lm, new_tokens=3, bandwidth=1000.0)
    weights = sum(parameter.numel() for parameter in lm.model.parameters()) * 4
    token = 2 * gpu.TINY["num_key_value_heads"] * gpu.TINY["head_dim"] * 4 * gpu.TINY["num_hidden_layers"]
    cache = token * ((5 + 6 + 7) + (9 + 10 + 11))
    assert timer._floor([5, 9]) == pytest.approx((3 * weights + cache) / 1000)


def test_every_program_of_random_weights_has_the_wanted_length():
    lm = gpu.random_model(gpu.TINY, "cpu")
    requests, problems = gpu.requests_for(5)
    timing = gpu._Timer(lm, new_tokens=7, bandwidth=1e9)(requests, 2)
    assert (timing.n_programs, timing.n_tokens) == (5, 35)
    assert gpu.one_by_one(lm, problems[:2], 7) == 2


def test_the_true_shape_has_the_parameters_of_gemma_2_2b():
    with torch.device("meta"):
        model = gpu.Gemma2ForCausalLM(gpu.Gemma2Config(**gpu.GEMMA_2_2B))
    assert sum(parameter.numel() for parameter in model.parameters()) == 2_614_341_888
