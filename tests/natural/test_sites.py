"""Covers the sites of common/model/sites.py in natural models, whose streams have massive activations."""

import copy
import time

import pytest
import torch

from common.model.hooks import change_sites, decoder_blocks, parts_of_blocks, read_sites
from common.model.sites import ATTN_OUT, MLP_NORMALIZED, MLP_OUT, RESID_MID, RESID_POST, RESID_PRE, site_name

TEXT = "def median(values):\n    ordered = sorted(values)\n    return ordered[len(ordered) // 2]\n" * 4
PARTS = (RESID_PRE, ATTN_OUT, RESID_MID, MLP_NORMALIZED, MLP_OUT, RESID_POST)


def ids_of(lm) -> torch.Tensor:
    return lm.tokenizer(TEXT, return_tensors="pt").input_ids


def read_all(lm, model) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    sites = [site_name(layer, kind) for layer in range(lm.n_layers) for kind in PARTS]
    with torch.inference_mode(), read_sites(model, sites, found.__setitem__):
        model.get_decoder()(input_ids=ids_of(lm), use_cache=False)
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_block_adds_up_to_the_last_bit(loaded, dtype):
    model = loaded.model if dtype == torch.float32 else copy.deepcopy(loaded.model).to(dtype)
    found = read_all(loaded, model)
    for layer, (block, parts) in enumerate(zip(decoder_blocks(model), parts_of_blocks(model), strict=True)):
        pre, attn, mid, normalized, mlp, post = (found[site_name(layer, kind)] for kind in PARTS)
        assert torch.equal(pre + attn, mid) and torch.equal(mid + mlp, post)
        assert (parts.attn.module, parts.mlp.module) == ("self_attn", "mlp")
        expected = mid.float() * torch.rsqrt(mid.float().square().mean(-1, keepdim=True) + model.config.rms_norm_eps)
        assert torch.equal(normalized, expected)
        with torch.inference_mode():
            assert torch.allclose(block.mlp(normalized.to(dtype) * block.post_attention_layernorm.weight), mlp)


def test_the_mlp_s_output_put_back_changes_nothing(loaded):
    layer = loaded.n_layers // 2
    plain = read_all(loaded, loaded.model)
    with change_sites(loaded.model, {site_name(layer, MLP_OUT): torch.clone}):
        assert all(torch.equal(value, plain[site]) for site, value in read_all(loaded, loaded.model).items())
    with change_sites(loaded.model, {site_name(layer, MLP_OUT): torch.zeros_like}):
        found = read_all(loaded, loaded.model)
    assert torch.equal(found[site_name(layer, RESID_POST)], plain[site_name(layer, RESID_MID)])


def test_a_stopped_pass_takes_the_time_of_its_blocks(loaded):
    ids = ids_of(loaded)

    def seconds(layer: int) -> float:
        taken = []
        for _ in range(3):
            began = time.process_time()
            site = site_name(layer, RESID_POST)
            with torch.inference_mode(), read_sites(loaded.model, [site], lambda *_: None, stop=True):
                loaded.model.get_decoder()(input_ids=ids, use_cache=False)
            taken.append(time.process_time() - began)
        return min(taken)

    whole = seconds(loaded.n_layers - 1)
    for share in (0.25, 0.5, 0.75):
        layer = round(share * loaded.n_layers) - 1
        assert seconds(layer) < (share + 0.15) * whole
