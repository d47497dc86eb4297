"""Covers phase4_anomaly_detection/jumprelu_sae.py: the gate, the gradients in its threshold, training, and SAELens."""

import numpy as np
import pytest
import torch
from experiments import save_saes
from torch.nn import functional

from common.errors import ArtifactMismatchError, ConfigError
from common.saes.encoder import LayerSae, load_sae
from common.saes.sources import sae_source
from phase4_anomaly_detection import JumpReLUSAE
from phase4_anomaly_detection.jumprelu_sae import TrainingConfig, jumprelu, jumprelu_loss, step

BANDWIDTH = 0.2


def by_hand() -> JumpReLUSAE:
    return JumpReLUSAE.from_weights(
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


def test_the_gradient_of_the_gate_is_the_papers_equation_11():
    z = torch.tensor([[0.95], [1.05], [1.2], [0.3], [1.09]], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    upstream = torch.tensor([[2.0], [3.0], [5.0], [7.0], [11.0]], dtype=torch.float64)
    (jumprelu(z, threshold, BANDWIDTH) * upstream).sum().backward()
    # -(theta / bandwidth) K: -1 / 0.2 = -5 for the three within 0.1 of the threshold, whether above it or below
    assert threshold.grad.item() == pytest.approx(-5 * (2 + 3 + 11))
    assert z.grad[:, 0].tolist() == [0, 3, 5, 0, 11]


def test_the_gradient_of_the_step_is_the_papers_equation_12():
    z = torch.tensor([[0.45, 2.0], [0.55, 2.4], [0.9, 1.95]], dtype=torch.float64, requires_grad=True)
    threshold = torch.tensor([0.5, 2.0], dtype=torch.float64, requires_grad=True)
    active = step(z, threshold, BANDWIDTH)
    assert active.tolist() == [[0, 0], [1, 1], [1, 0]]
    active.sum().backward()
    # -(1 / bandwidth) K: -5 for each of the two within 0.1
    torch.testing.assert_close(threshold.grad, torch.tensor([-10.0, -10.0], dtype=torch.float64))
    assert z.grad is None or not z.grad.any()


def test_the_gradients_are_those_of_saelens():
    from sae_lens.saes import jumprelu_sae as other

    generator = torch.Generator().manual_seed(0)
    z, upstream = (torch.randn(500, 7, generator=generator) for _ in range(2))
    threshold = torch.rand(7, generator=generator) + 0.1
    gradients = []
    for gate, indicator in (
        (lambda z, t: jumprelu(z, t, BANDWIDTH), lambda z, t: step(z, t, BANDWIDTH)),
        (
            lambda z, t: other.JumpReLU.apply(z, t, BANDWIDTH, False),
            lambda z, t: other.Step.apply(z, t, BANDWIDTH, False),
        ),
    ):
        own_z, own_threshold = z.clone().requires_grad_(), threshold.clone().requires_grad_()
        ((gate(own_z, own_threshold) + 2 * indicator(own_z, own_threshold)) * upstream).sum().backward()
        gradients.append((own_z.grad, own_threshold.grad))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_thresholds_gradient_is_that_of_the_expected_loss():
    """The claim of section 4, measured: the loss itself is moved a little, on many samples."""
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(400_000, 1, dtype=torch.float64, generator=generator)
    x = 0.8 * z + 0.1
    W_dec, b_dec = torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)

    def loss(threshold: float, bandwidth: float = 0.05) -> torch.Tensor:
        gate = torch.tensor([threshold], dtype=torch.float64, requires_grad=True)
        found = jumprelu_loss(x, z, gate, W_dec, b_dec, 0.3, bandwidth)
        found.backward()
        return found.item(), gate.grad.item()

    measured = (loss(0.75)[0] - loss(0.65)[0]) / 0.1
    assert loss(0.7)[1] == pytest.approx(measured, rel=0.05)


def test_training_recovers_a_planted_dictionary_far_better_than_chance():
    generator = torch.Generator().manual_seed(1)
    planted = functional.normalize(torch.randn(40, 24, generator=generator), dim=1)  # more directions than dimensions
    active = torch.rand(8000, 40, generator=generator) < 0.06
    x = 30 * (active * (0.5 + torch.rand(8000, 40, generator=generator))) @ planted
    sae = JumpReLUSAE(24, 60)
    chance = best_cosines(sae, planted)
    report = sae.train(x, TrainingConfig(n_steps=1500, batch_size=512))
    found = best_cosines(sae, planted)
    assert chance.mean() < 0.55 and found.mean() > 0.85 and (found > 0.9).float().mean() > 0.5
    assert report.fvu < 0.15 and report.l0 < 5  # 2.4 are active; without a penalty 30 of 60 would be
    assert report.losses[-1] < report.losses[0]
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(60))
    assert (sae.threshold > 0).all()


def best_cosines(sae: JumpReLUSAE, planted: torch.Tensor) -> torch.Tensor:
    return (functional.normalize(sae.W_dec, dim=1) @ planted.T).max(dim=0).values


def test_a_larger_penalty_leaves_fewer_latents_active():
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(2000, 8, generator=generator)
    counts = []
    for penalty in (0.0, 0.3):
        sae = JumpReLUSAE(8, 16)
        counts.append(sae.train(x, TrainingConfig(l0_coefficient=penalty, n_steps=600, batch_size=256)).l0)
    assert counts[1] < counts[0] / 2


def test_training_is_the_same_twice_and_in_any_unit():
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(500, 6, generator=generator)
    config = TrainingConfig(n_steps=30, batch_size=64)
    trained = []
    for factor in (1.0, 1.0, 64.0):
        sae = JumpReLUSAE(6, 12, threshold=0.0)
        sae.train(factor * x, config)
        trained.append(sae)
    assert (trained[0].W_enc == trained[1].W_enc).all() and (trained[0].threshold == trained[1].threshold).all()
    torch.testing.assert_close(trained[2].threshold, 64 * trained[0].threshold)
    torch.testing.assert_close(
        trained[2].decode(trained[2].encode(64 * x)), 64 * trained[0].decode(trained[0].encode(x))
    )


@pytest.mark.parametrize("x", [torch.ones(5, 3), torch.ones(1, 6), torch.full((4, 6), float("nan"))])
def test_activations_that_cannot_train_it_are_refused(x):
    with pytest.raises(ConfigError, match=r"\(\d, \d\) cannot train .*6 dimensions\n.* 6 finite"):
        JumpReLUSAE(6, 12).train(x)


@pytest.mark.parametrize("given", [{"n_steps": 0}, {"bandwidth": -1.0}, {"l0_coefficient": -0.1}, {"warm_up": 2.0}])
def test_impossible_settings_are_refused(given):
    with pytest.raises(ConfigError, match=f"{next(iter(given))} is {next(iter(given.values()))}"):
        TrainingConfig(**given)


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
        JumpReLUSAE.from_weights(**{**weights, "b_dec": torch.zeros(3)})


def test_rows_of_numpy_and_of_any_number_type_are_taken():
    sae, rows = by_hand(), [[1.0, 2.0], [1.5, 0.5]]
    expected = sae.encode(torch.tensor(rows))
    same = torch.tensor(rows)
    for x in (np.array(rows), np.array(rows, dtype=np.float32), same.double(), same.bfloat16()):
        acts = sae.encode(x)
        assert acts.dtype == torch.float32 and torch.equal(acts, expected)
        torch.testing.assert_close(sae.decode(acts.double().numpy()), sae.decode(expected))
