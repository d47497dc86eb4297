"""Covers the one trainer of dictionaries: planted data, mixtures, their scales, resumption, and what it refuses."""

import itertools
from dataclasses import replace

import pytest
import torch

from common.errors import ArtifactMismatchError, ConfigError
from common.saes.dictionary import Dictionary
from common.saes.mixture import Normalisation, Ordinary, Part, Samples, batches, rows_of_parts
from common.saes.top_k import largest
from common.saes.training import DictionaryTrainer, train_dictionary
from common.saes.training_settings import BATCHTOPK, FEEDBACK, TOPK, DictionarySettings

SMALL = DictionarySettings(d_sae=64, l0=4, n_samples=200_000, batch_size=256)


def planted_samples(n_rows: int, shift: float, seed: int = 0) -> Samples:
    """Sparse sums of 32 directions, off centre and of odd scale."""
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(torch.randn(32, 16, generator=generator), dim=1)
    active = torch.rand(n_rows, 32, generator=generator) < 0.08
    amounts = active * (1 + torch.rand(n_rows, 32, generator=generator))
    inputs = 7 * amounts @ directions + shift
    return Samples(inputs, inputs)


def scaled(samples: Samples, factor: float) -> Samples:
    inputs = samples.inputs * factor + 5
    return Samples(inputs, inputs)


def fit(dictionary: Dictionary, samples: Samples) -> tuple[float, float, float]:
    """FVU, L0, share of dead latents."""
    acts, targets = dictionary.encode(samples.inputs), samples.targets
    missed = (dictionary.decode(acts) - targets).square().sum()
    dead = ((acts > 0).sum(0) == 0).float().mean()
    return (missed / (targets - targets.mean(0)).square().sum()).item(), (acts > 0).sum(1).float().mean(), dead


@pytest.mark.parametrize("threshold", [FEEDBACK, BATCHTOPK, TOPK])
@pytest.mark.parametrize("is_transcoder", [False, True])
def test_planted_sparse_data_is_fitted_with_the_wanted_number_of_latents(is_transcoder, threshold):
    samples = planted_samples(4000, 3.0)
    if is_transcoder:
        samples = Samples(samples.inputs, samples.inputs.flip(1) * 0.2 + 1)
    dictionary = train_dictionary(replace(SMALL, threshold=threshold), [Part(1.0, samples)])
    fvu, l0, dead = fit(dictionary, samples)
    most = 0.35 if threshold == TOPK else 0.20  # rows are sums of two or three directions, and of none
    assert fvu < most and 3 < l0 < 5 and dead < 0.25


@pytest.mark.parametrize("threshold", [FEEDBACK, TOPK])
def test_a_state_goes_on_to_the_same_bits(threshold):
    samples = planted_samples(2000, 3.0)
    settings, parts = replace(SMALL, n_samples=60_000, threshold=threshold), [Part(1.0, samples)]
    normalisation = Normalisation.of(parts)

    def rows(first: int, last: int) -> itertools.islice:
        return itertools.islice(batches(parts, 256, normalisation, torch.Generator().manual_seed(1)), first, last)

    whole = DictionaryTrainer(settings, normalisation, True)
    whole.train(rows(0, 200))
    broken = DictionaryTrainer(settings, normalisation, True)
    broken.train(rows(0, 77))
    resumed = DictionaryTrainer.resumed(settings, broken.state(), True, "cpu")
    resumed.train(rows(77, 200))
    for name, tensor in whole.state().items():
        assert torch.equal(tensor, resumed.state()[name]), name


def test_a_state_of_an_earlier_version_is_refused_with_what_to_type():
    parts = [Part(1.0, planted_samples(512, 0.0))]
    trainer = DictionaryTrainer(SMALL, Normalisation.of(parts), True)
    trainer.train([next(batches(parts, 256, trainer.normalisation, torch.Generator()))])
    state = trainer.state()
    del state["n_kept"]
    with pytest.raises(ArtifactMismatchError, match=r"without n_kept .*\n.*--fresh"):
        DictionaryTrainer.resumed(SMALL, state, True, "cpu")


@pytest.mark.parametrize("seed", [0, 1])
def test_each_part_s_error_counts_relative_to_its_own_variance(seed):
    parts = [Part(0.5, planted_samples(4000, 0.0, 1)), Part(0.5, scaled(planted_samples(4000, 0.0, 2), 0.5))]
    settings, weighted = replace(SMALL, d_sae=128, l0=6, seed=seed), Normalisation.of(parts)
    found = []
    for normalisation in (weighted, replace(weighted, weights=(1.0, 1.0))):
        trainer = DictionaryTrainer(settings, normalisation, True)
        rows = batches(parts, 256, normalisation, torch.Generator().manual_seed(0))
        trainer.train(itertools.islice(rows, settings.n_steps))
        found.append(fit(trainer.folded(), parts[1].samples)[0])
    assert found[0] < 0.95 * found[1]


def test_thresholds_let_through_as_many_latents_as_were_kept():
    settings = replace(SMALL, threshold=TOPK)
    text, faint = planted_samples(4000, 0.0), scaled(planted_samples(4000, 0.0, seed=5), 0.1)
    dictionary = train_dictionary(settings, [Part(0.5, text), Part(0.5, faint)])
    _, l0_of_text, _ = fit(dictionary, text)
    _, l0_of_faint, _ = fit(dictionary, faint)
    assert (l0_of_text + l0_of_faint) / 2 == pytest.approx(settings.l0, rel=0.15)
    assert dictionary.threshold.min() < 0.7 * dictionary.threshold.max()


def test_the_largest_of_each_row_are_those_above_zero():
    pre = torch.tensor([[3.0, 1.0, 2.0, -1.0], [-1.0, -2.0, 0.5, -3.0]])
    assert (pre > largest(pre, 2)).tolist() == [[True, False, True, False], [False, False, True, False]]


def test_rows_that_are_nearly_alike_start_no_latents_that_fire_together():
    """Prompts that end in the same token: a hundred latents that each made up for the same error broke everything."""
    text, generator = planted_samples(4000, 3.0), torch.Generator().manual_seed(3)
    alike = text.inputs[:1] * 3 + 0.05 * torch.randn(500, 16, generator=generator)
    settings = DictionarySettings(d_sae=2048, l0=4, n_samples=40_000, batch_size=64, learning_rate=3e-3)
    dictionary = train_dictionary(settings, [Part(0.6, text), Part(0.4, Samples(alike, alike))])
    fvu, _, _ = fit(dictionary, text)
    assert fvu < 1  # it was 150


def test_the_loss_of_a_step_is_the_share_weighted_fvu_of_the_parts():
    loud, faint = planted_samples(512, 0.0, 1), planted_samples(512, 2.0, 2)
    faint = scaled(faint, 0.1)
    parts = [Part(0.75, loud), Part(0.25, faint)]
    normalisation = Normalisation.of(parts)
    batch = next(batches(parts, 512, normalisation, torch.Generator().manual_seed(0)))
    errors = torch.randn(512, 16, generator=torch.Generator().manual_seed(3))
    loss = torch.dot(errors.square().mean(1), batch.weights) / 512
    scale = normalisation.targets.factor
    expected = sum(
        share * (errors[rows] * scale).square().mean() / (part.inputs - part.inputs.mean(0)).square().mean()
        for share, rows, part in ((0.75, slice(384), loud), (0.25, slice(384, 512), faint))
    )
    assert loss == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("shares, size", [((0.6, 0.2, 0.2), 256), ((1, 1, 1), 100), ((1.0,), 7), ((0.999, 0.001), 16)])
def test_the_rows_of_a_batch_are_shared_out_exactly(shares, size):
    rows = rows_of_parts(shares, size)
    assert sum(rows) == size
    assert all(abs(n - share / sum(shares) * size) < 1 for n, share in zip(rows, shares, strict=True))


def test_every_row_comes_once_before_any_comes_again():
    x = torch.arange(40.0)[:, None].repeat(1, 2)
    parts = [Part(1.0, Samples(x, x))]
    rows = batches(parts, 8, Normalisation.of(parts), torch.Generator().manual_seed(0))
    seen = torch.cat([batch.inputs for batch in itertools.islice(rows, 5)])
    scale = Normalisation.of(parts).inputs
    assert sorted((seen[:, 0] * scale.factor + scale.mean[0]).round().tolist()) == list(range(40))


def test_massive_rows_are_told_from_ordinary_ones():
    x = torch.randn(1000, 8, generator=torch.Generator().manual_seed(0))
    x[::100] *= 300
    ordinary = Ordinary.of(x)
    assert (~ordinary.among(x)).nonzero()[:, 0].tolist() == list(range(0, 1000, 100))


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"batch_size": 300_000}, {"l0": 0}, {"l0": 11}])
def test_settings_that_make_no_dictionary_are_refused(given):
    with pytest.raises(ConfigError, match="Give a number above 0, at most"):
        replace(SMALL, **given)


@pytest.mark.parametrize("l0", [0.4, 4.5])
def test_so_many_of_each_token_is_a_whole_number(l0):
    with pytest.raises(ConfigError, match=r"l0 is .*\nGive a whole number"):
        replace(SMALL, threshold=TOPK, l0=l0)


def test_weights_whose_shapes_do_not_fit_are_refused():
    weights = {"W_enc": torch.zeros(3, 5), "b_enc": torch.zeros(5), "W_dec": torch.zeros(5, 3), "b_dec": torch.zeros(3)}
    with pytest.raises(ArtifactMismatchError, match="threshold has the shape"):
        Dictionary(**weights, threshold=torch.zeros(4))


def test_rounded_products_train_as_well_and_the_process_keeps_its_precision():
    samples = planted_samples(4000, 3.0)
    before = torch.get_float32_matmul_precision()
    dictionary = train_dictionary(replace(SMALL, matmul_precision="medium"), [Part(1.0, samples)])
    assert torch.get_float32_matmul_precision() == before
    fvu, l0, dead = fit(dictionary, samples)
    assert fvu < 0.20 and 3 < l0 < 5 and dead < 0.25
