"""Covers where latents that no longer fire start again."""

import pytest
import torch
from torch.nn import functional

from common.saes.mixture import Batch
from common.saes.resampling import Latents, resampled

THRESHOLD, RATE = 2.0, 0.01


def missing_rows(n_rows: int, d: int, seed: int = 0) -> tuple[Batch, torch.Tensor]:
    """A batch far from the mean, as rows of prompts are, and what is missing in it."""
    generator = torch.Generator().manual_seed(seed)
    missing = 3 * torch.randn(n_rows, d, generator=generator)
    inputs = torch.randn(n_rows, d, generator=generator) + missing + 10 * torch.randn(d, generator=generator)
    return Batch(inputs, inputs, torch.ones(n_rows)), missing


def again(batch: Batch, missing: torch.Tensor, *, most: int = 1000, is_autoencoder: bool = True) -> Latents:
    return resampled(
        batch,
        missing,
        most=most,
        threshold=THRESHOLD,
        rate=RATE,
        is_autoencoder=is_autoencoder,
        generator=torch.Generator().manual_seed(1),
    )


def acts_of(latents: Latents, batch: Batch) -> torch.Tensor:
    return functional.threshold(batch.inputs @ latents.reads.T + latents.b_enc, THRESHOLD, 0.0)


@pytest.mark.parametrize("is_autoencoder", [True, False])
def test_each_latent_fires_on_few_rows_and_lowers_the_error_alone(is_autoencoder):
    batch, missing = missing_rows(400, 24)
    latents = again(batch, missing, is_autoencoder=is_autoencoder)
    assert len(latents) > 20
    acts = acts_of(latents, batch)
    n_fired = (acts > 0).sum(0)
    assert n_fired.min() >= 1 and n_fired.max() <= 9  # 2 * 0.01 * 400, and the next one where rounding lifts it
    before = missing.square().sum()
    for latent in range(len(latents)):
        left = missing - acts[:, latent : latent + 1] * latents.writes[latent]
        assert left.square().sum() < before
    norms = torch.cat([latents.reads.norm(dim=1), latents.writes.norm(dim=1)])
    assert torch.allclose(norms, torch.ones_like(norms))


def test_an_sae_reads_what_it_writes_and_a_transcoder_its_sample():
    batch, missing = missing_rows(200, 16)
    latents = again(batch, missing)
    assert torch.equal(latents.reads, latents.writes)
    latents = again(batch, missing, is_autoencoder=False)
    directions = functional.normalize(batch.inputs, dim=1)
    assert ((latents.reads @ directions.T).amax(dim=1) > 1 - 1e-5).all()


def test_no_two_latents_start_from_rows_that_miss_the_same():
    batch, missing = missing_rows(100, 16)
    alike = missing[:1] + 0.05 * torch.randn(300, 16, generator=torch.Generator().manual_seed(5))
    inputs = torch.cat([batch.inputs, batch.inputs[:1].expand(300, -1)])
    latents = again(Batch(inputs, inputs, torch.ones(400)), torch.cat([missing, alike]))
    cosines = latents.writes @ latents.writes.T - torch.eye(len(latents))
    assert len(latents) > 5 and cosines.max() < 0.7


def test_rows_without_weight_or_error_start_nothing_and_there_are_never_too_many():
    batch, missing = missing_rows(100, 16)
    assert len(again(Batch(batch.inputs, batch.inputs, torch.zeros(100)), missing)) == 0
    assert len(again(batch, torch.zeros_like(missing))) == 0
    assert 0 < len(again(batch, missing, most=3)) <= 3
