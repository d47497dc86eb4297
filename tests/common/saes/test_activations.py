"""Covers which sites SAEs may read (common/saes/encoder.py, sources.py), and that phases which store the residual
stream refuse others (activations.py).
"""

import dataclasses
import re

import pytest
from saved_saes import LAYER, saved

from common.errors import ConfigError
from common.saes.activations import check_reads_the_residual_stream
from common.saes.encoder import load_sae
from common.saes.sources import sae_source

SITES = {
    "gemma-scope-2b-pt-res-canonical": "hook_resid_post",
    "gemma-scope-2b-pt-mlp-canonical:layer_{layer}/width_16k/canonical": "hook_mlp_out",
    "gemma-scope-2b-pt-att-canonical:layer_{layer}/width_16k/canonical": "attn.hook_z",
    "gemma-scope-2-1b-pt-mlp-all:layer_{layer}_width_16k_l0_big": "hook_mlp_out",
    "gemma-scope-2-1b-pt-res-all:layer_{layer}_width_16k_l0_big": "hook_resid_post",
    "llama_scope_lxr_8x": "hook_resid_post",
    "llama_scope_lxm_8x": "hook_mlp_out",
    "llama_scope_lxa_8x": "hook_attn_out",
    "gpt2-small-attn-out-v5-32k": "hook_attn_out",
    "gpt2-small-mlp-out-v5-32k": "hook_mlp_out",
    "gpt2-small-resid-mid-v5-32k": "hook_resid_mid",
    "gpt2-small-hook-z-kk": "attn.hook_z",
    "qwen-scope-3-1.7b-base-w32k-l50": None,  # its file says it
}


@pytest.mark.parametrize("name", SITES)
def test_what_the_saes_of_a_release_read_is_known_before_one_is_loaded(name):
    source = sae_source(name, "any-model")
    assert source.kind == "sae" and source.site == SITES[name]
    if SITES[name] in (None, "hook_resid_post"):
        check_reads_the_residual_stream(source)
    else:
        with pytest.raises(ConfigError, match=rf"{re.escape(name)}.* read {SITES[name]}, not hook_resid_post\n.*--sae"):
            check_reads_the_residual_stream(source)


@pytest.mark.parametrize("kind", ["hook_resid_post", "hook_attn_out", "hook_mlp_out"])
def test_saes_may_read_what_attention_and_the_mlp_add(tmp_path, kind):
    saved(tmp_path, metadata={"hook_name": f"blocks.3.{kind}"})
    source = sae_source(str(tmp_path), "organism")
    sae = load_sae(source, LAYER)
    assert (source.kind, source.site, sae.site, sae.site_out) == ("sae", kind, *[f"blocks.3.{kind}"] * 2)


def test_what_a_folder_of_saes_reads_is_known_before_one_is_loaded(tmp_path):
    """And phases that store the residual stream alone refuse others, by name."""
    saved(tmp_path / "mlp", metadata={"hook_name": "blocks.3.hook_mlp_out"})
    (tmp_path / "mlp" / "layer_3" / "sae_weights.safetensors").write_bytes(b"not read")
    source = sae_source(str(tmp_path / "mlp"), "organism")
    message = r"--sae \S+ names SAEs, which read hook_mlp_out, not hook_resid_post\n.*hook_resid_post.*--sae"
    with pytest.raises(ConfigError, match=message):
        check_reads_the_residual_stream(source)
    transcoders = sae_source(str(saved(tmp_path / "transcoders", "transcoder")), "organism")
    with pytest.raises(ConfigError, match=r"names transcoders, which read mlp\.hook_in, not hook_resid_post\n.*--sae"):
        check_reads_the_residual_stream(transcoders)
    check_reads_the_residual_stream(sae_source(str(saved(tmp_path / "saes")), "organism"))


def test_a_folder_of_saes_of_several_sites_is_refused(tmp_path):
    folder = saved(tmp_path)
    saved(folder, layer=2, metadata={"hook_name": "blocks.2.hook_mlp_out"})
    with pytest.raises(ConfigError, match=r"--sae \S+ holds SAEs of hook_mlp_out and hook_resid_post\n.*of their own"):
        sae_source(str(folder), "organism")


def test_an_sae_that_only_loading_tells_to_read_another_site_is_refused_then(tmp_path):
    saved(tmp_path, metadata={"hook_name": "blocks.3.hook_attn_out"})
    source = dataclasses.replace(sae_source(str(tmp_path), "organism"), site=None)
    check_reads_the_residual_stream(source)
    with pytest.raises(ConfigError, match=r"which read hook_attn_out, not hook_resid_post\n.*--sae"):
        check_reads_the_residual_stream(source, load_sae(source, LAYER))
