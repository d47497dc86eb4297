"""Covers phase4_anomaly_detection/jumprelu_sae.py: the gate, training on activations, and SAELens."""

import numpy as np
import pytest
import torch
from experiments import save_saes
from torch.nn import functional

from common.errors import ArtifactMismatchError, ConfigError
from common.saes.encoder import LayerSae, load_sae
from common.saes.sources import sae_source
from common.saes.training import DictionarySettings
from phase4_anomaly_detection import JumpReLUSAE


def by_hand() -> JumpReLUSAE:
    return JumpReLUSAE(
        W_enc=torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0]]),
        b_enc=torch.tensor([0.0, 0.5, 0.0]),
        threshold=torch.tensor([1.0, 1.0, 0.0]),
        W_dec=torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]),
        b_dec=torch.tensor([0.1, -0.1]),
    )


def test_encode_and_decode_give_the_numbers_worked_out_by_hand():
    sae = by_hand()
    acts = sae.encode(torch.tensor([[1.0, 2.0], [1.5, 0.5], [-1.0, -1.0]]))
    # pre-activations (1, 2.5, -1), (1.5, 1, 1), (-1, -0.5, 0): a gate is passed above it, not at it
    assert acts.tolist() == [[0.0, 2.5, 0.0], [1.5, 0.0, 1.0], [0.0, 0.0, 0.0]]
    expected = torch.tensor([[0.1, 4.9], [2.6, 0.9], [0.1, -0.1]])
    torch.testing.assert_close(sae.decode(acts), expected)


def fvu(sae: JumpReLUSAE, x: torch.Tensor) -> float:
    missed = x - sae.decode(sae.encode(x))
    return float(missed.square().sum() / (x - x.mean(dim=0)).square().sum())


def test_training_recovers_a_planted_dictionary_far_better_than_chance():
    generator = torch.Generator().manual_seed(1)
    planted = functional.normalize(torch.randn(40, 24, generator=generator), dim=1)  # more directions than dimensions
    active = torch.rand(8000, 40, generator=generator) < 0.06
    x = 30 * (active * (0.5 + torch.rand(8000, 40, generator=generator))) @ planted
    chance = functional.normalize(torch.randn(60, 24, generator=generator), dim=1)
    sae = JumpReLUSAE.train(x, DictionarySettings(d_sae=60, l0=2.4, n_samples=500_000, batch_size=512))
    found = best_cosines(sae.W_dec, planted)
    assert best_cosines(chance, planted).mean() < 0.6
    assert found.mean() > 0.85 and (found > 0.9).float().mean() > 0.5
    assert fvu(sae, x) < 0.15 and (sae.encode(x) > 0).float().sum(dim=1).mean() < 5
    assert (sae.threshold > 0).all()


def best_cosines(rows: torch.Tensor, planted: torch.Tensor) -> torch.Tensor:
    return (functional.normalize(rows, dim=1) @ planted.T).max(dim=0).values


def test_as_many_latents_are_active_as_were_asked_for():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2000, 8, generator=generator)
    for l0 in (1.0, 2.0):
        sae = JumpReLUSAE.train(x, DictionarySettings(d_sae=16, l0=l0, n_samples=150_000, batch_size=256))
        assert (sae.encode(x) > 0).float().sum(dim=1).mean() == pytest.approx(l0, rel=0.3)


def test_training_is_the_same_twice_and_in_any_unit():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(500, 6, generator=generator)
    settings = DictionarySettings(d_sae=12, l0=1.5, n_samples=2000, batch_size=64)
    trained = [JumpReLUSAE.train(factor * x, settings) for factor in (1.0, 1.0, 64.0)]
    assert (trained[0].W_enc == trained[1].W_enc).all() and (trained[0].threshold == trained[1].threshold).all()
    torch.testing.assert_close(trained[2].threshold, 64 * trained[0].threshold)
    torch.testing.assert_close(
        trained[2].decode(trained[2].encode(64 * x)), 64 * trained[0].decode(trained[0].encode(x))
    )


@pytest.mark.parametrize("x", [torch.ones(5), torch.ones(1, 6), torch.full((40, 6), float("nan"))])
def test_activations_that_cannot_train_it_are_refused(x):
    with pytest.raises(ConfigError, match=r"\(\d+, ?\d*\) cannot train .*\n.*10 or more rows of finite"):
        JumpReLUSAE.train(x)


@pytest.mark.parametrize("given", [{"batch_size": 0}, {"batch_size": 2_000_000}, {"l0": -0.1}, {"l0": 1000.0}])
def test_impossible_settings_are_refused(given):
    with pytest.raises(ConfigError, match=f"{next(iter(given))} is {next(iter(given.values()))}"):
        DictionarySettings(**given)


def test_an_sae_of_the_pipeline_encodes_and_decodes_the_same(tmp_path):
    loaded = load_sae(sae_source(str(save_saes(tmp_path / "saes")), "organism"), 1)
    sae = JumpReLUSAE.from_layer_sae(loaded)
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 16)).astype(np.float32))
    assert (sae.encode(x) == loaded.encode(x)).all()
    torch.testing.assert_close(sae.decode(sae.encode(x)), loaded.decode(loaded.encode(x)))
    assert (sae.d_in, sae.n_latents) == (16, 32)


@pytest.mark.parametrize(("kind", "top_k"), [("transcoder", None), ("sae", 5)])
def test_a_transcoder_and_a_top_k_sae_have_no_such_form(kind, top_k):
    weights = {name: getattr(by_hand(), name) for name in ("W_enc", "b_enc", "threshold", "W_dec", "b_dec")}
    sae = LayerSae(
        id="one", layer=0, kind=kind, site="", site_out="", neuronpedia_id=None, revision=None, top_k=top_k, **weights
    )
    with pytest.raises(ConfigError, match=r"^one is .*JumpReLU.*\n.*thresholds"):
        JumpReLUSAE.from_layer_sae(sae)


def test_an_id_that_a_release_has_not_is_refused_with_some_it_has():
    with pytest.raises(ConfigError, match=r"no id 'layer_99'\n.*layer_0"):
        JumpReLUSAE.from_sae_lens("gemma-scope-2b-pt-res-canonical", "layer_99")
    with pytest.raises(ConfigError, match=r"'gemma-scope-2b', .*no release .*\n"):
        JumpReLUSAE.from_sae_lens("gemma-scope-2b", "layer_0")


def test_weights_whose_shapes_do_not_fit_are_refused():
    weights = {name: getattr(by_hand(), name) for name in ("W_enc", "b_enc", "threshold", "W_dec", "b_dec")}
    with pytest.raises(ArtifactMismatchError, match=r"b_dec .*\(3,\).* 2 by 3\n"):
        JumpReLUSAE(**{**weights, "b_dec": torch.zeros(3)})


def test_rows_of_numpy_and_of_any_number_type_are_taken():
    sae, rows = by_hand(), [[1.0, 2.0], [1.5, 0.5]]
    expected = sae.encode(torch.tensor(rows))
    same = torch.tensor(rows)
    for x in (np.array(rows), np.array(rows, dtype=np.float32), same.double(), same.bfloat16()):
        acts = sae.encode(x)
        assert acts.dtype == torch.float32 and torch.equal(acts, expected)
        torch.testing.assert_close(sae.decode(acts.double().numpy()), sae.decode(expected))
