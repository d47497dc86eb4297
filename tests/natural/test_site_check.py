"""Covers the site check on natural models: principal components and rotations pass, neighbours' never."""

import logging
import os
from pathlib import Path

import pytest
import torch

from common.errors import ArtifactMismatchError
from common.saes.encoder import LayerSae
from common.saes.site_check import check_neighbours, check_site, neighbours, site_fit

LOG = logging.getLogger("test")
N_FITTED, N_CHECKED, MAX_TOKENS = 60, 60, 64


def prose(n: int) -> list[str]:
    """Documentation of the standard library and of installed packages, a docstring each."""
    found = {module.__doc__ for module in (logging, os, pytest, torch) if module.__doc__}
    for name in sorted(dir(torch)):
        words = getattr(getattr(torch, name), "__doc__", None)
        if isinstance(words, str) and len(words) > 300:
            found.add(words)
    return sorted(found)[:n]


@pytest.fixture(scope="module", params=["smollm2", "qwen-coder"])
def resid(request) -> dict[str, torch.Tensor]:
    """resid_post of every layer, [n_layers, n, d_model]: of many positions to fit on, and one per document to check."""
    folder = Path(os.environ.get("NATURAL", "")) / request.param
    if "NATURAL" not in os.environ or not (folder / "config.json").is_file():
        pytest.skip("needs a natural model: NATURAL=folder make test-natural")
    from common.model.hooks import read_sites
    from common.model.loading import load_model
    from common.model.sites import resid_site

    lm = load_model(str(folder), "cpu", "bfloat16", threads=1)
    where = {resid_site(layer, "resid_post"): layer for layer in range(lm.n_layers)}
    fitted, checked = [[] for _ in where], [[] for _ in where]
    generator = torch.Generator().manual_seed(0)
    for number, text in enumerate(prose(N_FITTED + N_CHECKED)):
        token_ids = lm.tokenizer(text, return_tensors="pt").input_ids[:, :MAX_TOKENS]
        chosen = torch.randint(1, token_ids.shape[1], (1,), generator=generator)

        def take(site: str, stream: torch.Tensor, number: int = number, chosen: torch.Tensor = chosen) -> None:
            kept = stream[0, 1:] if number < N_FITTED else stream[0, chosen]
            (fitted if number < N_FITTED else checked)[where[site]].append(kept.float())

        with torch.inference_mode(), read_sites(lm.model, list(where), take):
            lm.model(token_ids, use_cache=False)
    return {
        "fitted": torch.stack([torch.cat(part) for part in fitted]),
        "checked": torch.stack([torch.cat(part) for part in checked]),
    }


def sae_of(axes: torch.Tensor, mean: torch.Tensor, layer: int) -> LayerSae:
    """Orthonormal axes [d_model, k] as an SAE, a latent for either side of each."""
    both, site = torch.cat([axes, -axes], dim=1), f"blocks.{layer}.hook_resid_post"
    return LayerSae(
        id=f"axes of layer {layer}",
        layer=layer,
        kind="sae",
        site=site,
        site_out=site,
        neuronpedia_id=None,
        revision=None,
        W_enc=both,
        b_enc=-mean @ both,
        threshold=torch.zeros(both.shape[1]),
        W_dec=both.T.contiguous(),
        b_dec=mean,
    )


def principal_components(resid: torch.Tensor, layer: int, share: float = 0.7) -> LayerSae:
    mean = resid.mean(dim=0)
    _, axes = torch.linalg.eigh(torch.cov((resid - mean).double().T))
    return sae_of(axes[:, -int(share * len(axes)) :].float(), mean, layer)


def test_principal_components_pass_at_every_layer_and_are_refused_at_the_neighbours(resid):
    checked = resid["checked"]
    for layer in range(len(checked)):
        sae = principal_components(resid["fitted"][layer], layer)
        beside = {other: checked[other] for other in (layer - 1, layer + 1) if 0 <= other < len(checked)}
        check_site(site_fit(sae, checked[layer]), sae, False, LOG)
        check_neighbours(sae, checked[layer], beside)
        for other in beside.values():
            with pytest.raises(ArtifactMismatchError, match="off by one"):
                check_neighbours(sae, other, {layer: checked[layer]})


def test_a_rotation_passes_at_every_layer(resid):
    checked = resid["checked"]
    d_model = checked.shape[-1]
    turned = torch.linalg.qr(torch.randn(d_model, d_model, generator=torch.Generator().manual_seed(1)))[0]
    for layer in range(len(checked)):
        sae = sae_of(turned, torch.zeros(d_model), layer)
        beside = {other: checked[other] for other in (layer - 1, layer + 1) if 0 <= other < len(checked)}
        check_site(site_fit(sae, checked[layer]), sae, False, LOG)
        check_neighbours(sae, checked[layer], beside)
        assert not any(found.fits_better for found in neighbours(sae, checked[layer], beside))
