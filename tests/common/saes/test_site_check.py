"""Covers common/saes/site_check.py: the neighbours' SAEs, ties, massive activations, two figures at the last token."""

import dataclasses
import logging

import numpy as np
import pytest
import torch
from planted_saes import planted

from common.errors import ArtifactMismatchError
from common.saes.encoder import LayerSae
from common.saes.site_check import check_neighbours, check_site, neighbours, prompt_fit, site_fit

N, D = 200, 64
LOG = logging.getLogger("test")
Layers = dict[int, torch.Tensor]


def layers(massive_dimension: bool = False, massive_document: bool = False) -> Layers:
    """Three layers of a residual stream, each the one before and a little more, in coloured noise."""
    rng = np.random.default_rng(0)
    scales, stream, found = np.linspace(3, 0.2, D), rng.normal(size=(N, D)), {}
    for layer in range(3):
        turned, _ = np.linalg.qr(rng.normal(size=(D, D)))
        stream = stream + 0.7 * (rng.normal(size=(N, D)) * scales) @ turned
        resid = stream + 5
        if massive_dimension:
            resid[:, 3] = 1000 + 300 * rng.normal(size=N)
        if massive_document:
            resid[17] = 5000 * rng.normal(size=D)
        found[layer] = torch.from_numpy(resid).float()
    return found


def pca(resid: torch.Tensor, share: float = 0.7) -> LayerSae:
    """The largest principal components as an SAE, a latent for either side of each."""
    mean = resid.mean(dim=0)
    _, axes = torch.linalg.eigh(torch.cov((resid - mean).double().T))
    both = axes[:, -int(share * D) :].float()
    both = torch.cat([both, -both], dim=1)
    return planted(both, both.T.contiguous(), b_enc=-mean @ both, b_dec=mean)


def beside(resid: Layers, layer: int) -> Layers:
    return {other: resid[other] for other in (layer - 1, layer + 1) if other in resid}


OUTLIERS = [{}, {"massive_dimension": True}, {"massive_document": True}]


@pytest.mark.parametrize("outliers", OUTLIERS)
@pytest.mark.parametrize("layer", range(3))
def test_principal_components_pass_at_their_own_layer_and_are_refused_at_the_neighbours(layer, outliers):
    resid = layers(**outliers)
    sae = pca(resid[layer])
    check_site(site_fit(sae, resid[layer]), sae, False, LOG)
    check_neighbours(sae, resid[layer], beside(resid, layer))
    for other in beside(resid, layer).values():
        with pytest.raises(ArtifactMismatchError, match="off by one.*--accept-bad-fit .*not "):
            check_neighbours(sae, other, {layer: resid[layer]})


@pytest.mark.parametrize("outliers", OUTLIERS)
def test_a_rotation_is_a_tie(outliers):
    resid = layers(**outliers)
    turned = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(1)))[0]
    both = torch.cat([turned, -turned], dim=1)
    sae = planted(both, both.T.contiguous())
    assert all(found.n_better == found.n / 2 for found in neighbours(sae, resid[1], beside(resid, 1)))
    check_neighbours(sae, resid[1], beside(resid, 1))


def test_equal_layers_are_a_tie():
    resid = layers()
    sae = pca(resid[1])
    others = {0: resid[1].clone(), 2: resid[1].clone()}
    check_neighbours(sae, resid[1], others)
    assert [found.n_better for found in neighbours(sae, resid[1], others)] == [N / 2, N / 2]


def test_few_documents_decide_nothing():
    resid = {layer: part[:8] for layer, part in layers().items()}
    check_neighbours(pca(layers()[1]), resid[0], {1: resid[1]})
    found = neighbours(pca(layers()[1]), resid[0], {1: resid[1]})[0]
    assert found.n == 8 and not found.fits_better


def test_an_sae_that_fits_no_layer_is_not_taken_for_the_neighbours():
    resid = layers()
    nothing = planted(torch.zeros(D, 4))
    check_neighbours(nothing, 10 * resid[0], {1: resid[1]})
    found = neighbours(nothing, 10 * resid[0], {1: resid[1]})[0]
    assert found.fvu > 0.9 and not found.fits_better


def test_one_massive_document_neither_hides_a_bad_fit_nor_makes_one(caplog):
    resid = layers(massive_document=True)[1]
    ordinary = torch.ones(N, dtype=torch.bool)
    ordinary[17] = False
    fit = site_fit(pca(resid[ordinary]), resid)  # knows nothing of the massive one
    assert fit.n_massive == 1 and fit.fvu > 2 * fit.decisive > 0
    direction = torch.nn.functional.normalize(resid[17], dim=0)[:, None]
    blind = planted(direction, direction.T.contiguous(), b_dec=resid[ordinary].mean(dim=0))
    fit = site_fit(blind, resid)
    assert fit.fvu < 0.1
    with pytest.raises(ArtifactMismatchError, match=r"FVU \d\.\d\d \(0\.0\d with 1 massive\)"):
        check_site(fit, blind, False, LOG)


def test_the_figures_at_the_last_prompt_token_by_hand():
    sae = planted(torch.tensor([[1.0], [0.0]]))  # sees the first of two coordinates
    x = torch.tensor([[2.0, 10.0], [4.0, 11.0], [3.0, 12.0]])
    fit = prompt_fit(sae, x, sae.encode(x))
    assert fit.missed_share == pytest.approx((100 + 121 + 144) / (100 + 121 + 144 + 4 + 16 + 9))
    assert (fit.fvu_between, fit.n) == (pytest.approx(2 / 4), 3)


def test_what_the_makers_published_stands_beside(caplog):
    caplog.set_level("INFO")
    sae = dataclasses.replace(pca(layers()[1]), published_l0=71.0, published_fvu=0.21)
    check_site(site_fit(sae, layers()[1]), sae, False, LOG)
    assert "on general text; its makers: FVU 0.21, L0 71" in caplog.text
