"""Covers common/saes/encoder.py and common/saes/sources.py: folders of SAEs, names, what is refused, and the site
check.
"""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import install_import_hook
from safetensors.torch import load_file, save_file
from saved_saes import D_IN, D_SAE, LAYER, saelens_sae, saved

from common.errors import ArtifactMismatchError, AssetError, ConfigError
from common.model.registry import MODELS, ModelEntry
from common.saes.sources import find_release, sae_source

with install_import_hook(
    ["common.saes.encoder", "common.saes.site_check"], "beartype.beartype"
):  # shapes in annotations are checked
    from common.saes.encoder import LayerSae, load_sae
    from common.saes.site_check import SiteFit, check_site, site_fit

LOG = logging.getLogger("test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "saes")


KINDS = {
    "standard": ("standard", {"apply_b_dec_to_input": False}),
    "standard that subtracts b_dec": ("standard", {"apply_b_dec_to_input": True}),
    "jumprelu with thresholds below zero": ("jumprelu", {"apply_b_dec_to_input": False}),
    "jumprelu that subtracts b_dec": ("jumprelu", {"apply_b_dec_to_input": True}),
    "topk": ("topk", {"k": 5}),
    "topk by decoder norm": ("topk", {"k": 5, "rescale_acts_by_decoder_norm": True}),
    "transcoder": ("transcoder", {}),
    "transcoder to another width": ("transcoder", {"d_out": 24}),
    "jumprelu transcoder": ("jumprelu_transcoder", {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_sae_computes_what_saelens_computes(tmp_path, kind):
    architecture, settings = KINDS[kind]
    theirs = saelens_sae(architecture, **settings)
    theirs.save_model(tmp_path / f"layer_{LAYER}")
    ours = load_sae(sae_source(str(tmp_path), "organism"), LAYER)
    x = torch.randn(700, D_IN)
    with torch.no_grad():
        expected = theirs.encode(x)
        assert 0 < (expected > 0).float().mean() < 1
        torch.testing.assert_close(ours.encode(x), expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(ours.encode_latent(x, 7), expected[:, 7], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(ours.decode(expected), theirs.decode(expected), atol=1e-6, rtol=1e-6)
    assert (ours.d_in, ours.n_latents) == (D_IN, D_SAE) and not ours.W_enc.requires_grad


def test_the_threshold_is_a_gate_and_not_a_shift():
    sae = planted(W_enc=torch.tensor([[1.0, 1.0]]), threshold=torch.tensor([1.0, 2.0]))
    assert sae.encode(torch.tensor([[1.0], [1.5], [3.0]])).tolist() == [[0, 0], [1.5, 0], [3, 3]]


def planted(W_enc: torch.Tensor, W_dec: torch.Tensor | None = None, **arrays) -> LayerSae:
    """An SAE with these weights, and zeros for all others."""
    d_in, d_sae = W_enc.shape
    arrays = {"b_enc": torch.zeros(d_sae), "threshold": torch.zeros(d_sae), "b_dec": torch.zeros(d_in), **arrays}
    site = "blocks.3.hook_resid_post"
    return LayerSae(
        id="planted layer_3",
        layer=3,
        kind="sae",
        site=site,
        site_out=site,
        neuronpedia_id=None,
        revision=None,
        W_enc=W_enc,
        W_dec=W_enc.T if W_dec is None else W_dec,
        **arrays,
    )


# --- folders


def test_a_folder_is_known_by_its_content_wherever_it_lies(folder, tmp_path):
    source = sae_source(str(folder), "organism")
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "saes")
    assert source.identity == sae_source(str(copy), "organism").identity
    assert source.identity.startswith("saes@") and len(source.identity) == len("saes@") + 8
    (copy.parent / "other").mkdir()
    other = shutil.copytree(copy, copy.parent / "other" / "saes")
    weights = load_file(other / "layer_3" / "sae_weights.safetensors")
    save_file({**weights, "b_dec": weights["b_dec"] + 1e-6}, other / "layer_3" / "sae_weights.safetensors")
    assert sae_source(str(other), "organism").identity != source.identity


def test_the_layers_of_a_folder_are_those_it_holds(folder):
    """The layers of a folder are those that it holds below the model's last."""
    saved(folder, layer=1, metadata={"hook_name": "blocks.1.hook_resid_post"})
    source = sae_source(str(folder), "organism")
    assert source.layers(8) == [1, 3] and source.layers(2) == [1] and source.kind == "sae"
    assert (
        load_sae(source, 1).id == f"{source.identity} layer_1"
        and load_sae(source, 1).site == "blocks.1.hook_resid_post"
    )
    with pytest.raises(ConfigError, match=r"layers 1, 3; .*layers .*0 to 0\n.*--sae"):
        source.layers(1)
    with pytest.raises(ConfigError, match=r"no SAE of layer 2\n.*layers 1, 3"):
        load_sae(source, 2)


def test_one_sae_alone_gives_its_layer_by_its_hook(folder):
    source = sae_source(str(folder / "layer_3"), "organism")
    assert source.layers(8) == [3] and load_sae(source, 3).layer == 3


def test_the_organisms_saes_are_a_folder_of_the_repository(folder, monkeypatch):
    monkeypatch.setitem(MODELS, "planted", ModelEntry(sae_folder=str(folder)))
    source = sae_source("auto", "planted")
    assert (source.name, source.note) == (str(folder), "SAEs of another model, organism")
    monkeypatch.setitem(MODELS, "planted", ModelEntry(sae_folder="model_organism/weights/nothing"))
    with pytest.raises(AssetError, match="git checkout -- model_organism/weights/nothing"):
        sae_source("auto", "planted")


def test_transcoders_in_a_folder_are_told_from_saes(tmp_path):
    source = sae_source(str(saved(tmp_path, "jumprelu_transcoder")), "organism")
    sae = load_sae(source, LAYER)
    assert source.kind == sae.kind == "transcoder"
    assert (sae.site, sae.site_out) == ("blocks.3.mlp.hook_in", "blocks.3.hook_mlp_out")
    saved(tmp_path, "jumprelu", layer=4)
    with pytest.raises(ConfigError, match=r"--sae .*SAEs and transcoders\n"):
        sae_source(str(tmp_path), "organism")


def damage(folder: Path, kind: str) -> None:
    layer = folder / "layer_3"
    config, weights = layer / "cfg.json", layer / "sae_weights.safetensors"
    arrays = load_file(weights)
    if kind == "nothing there":
        shutil.rmtree(layer)
    elif kind == "no weights":
        weights.unlink()
    elif kind == "no settings":
        config.unlink()
    elif kind == "torn settings":
        config.write_text("{")
    elif kind == "settings that are a list":
        config.write_text("[]")
    elif kind == "unknown architecture":
        config.write_text(json.dumps({**json.loads(config.read_text()), "architecture": "other"}))
    elif kind == "torn weights":
        weights.write_bytes(weights.read_bytes()[:100])
    elif kind == "an array missing":
        save_file({name: array for name, array in arrays.items() if name != "threshold"}, weights)
    elif kind == "an array of another shape":
        save_file({**arrays, "b_enc": arrays["b_enc"][:-1]}, weights)
    elif kind == "nan":
        save_file({**arrays, "W_enc": arrays["W_enc"] * float("nan")}, weights)


@pytest.mark.parametrize(
    "kind",
    [
        "nothing there",
        "no weights",
        "no settings",
        "torn settings",
        "settings that are a list",
        "unknown architecture",
        "torn weights",
        "an array missing",
        "an array of another shape",
        "nan",
    ],
)
def test_a_folder_that_holds_no_whole_sae_is_one_message(folder, kind):
    damage(folder, kind)
    with pytest.raises(AssetError, match=r"saes(.|\n)*\n(Give|Complete|Write|Fetch)"):
        load_sae(sae_source(str(folder), "organism"), LAYER)


REFUSED = {
    "gated": ("gated", {}, "architecture .*'gated'"),
    "layer norm": ("standard", {"normalize_activations": "layer_norm"}, "normalises its input"),
    "norm unknown": ("standard", {"normalize_activations": "expected_average_only_in"}, "normalises its input"),
    "heads": ("jumprelu", {"metadata": {"hook_name": "blocks.3.attn.hook_z"}}, "it reads 'blocks.3.attn.hook_z'"),
    "block's input": (
        "jumprelu",
        {"metadata": {"hook_name": "blocks.3.hook_resid_pre"}},
        "none of blocks.3.hook_resid",
    ),
    "other layer": ("jumprelu", {"metadata": {"hook_name": "blocks.2.hook_resid_post"}}, "2.hook_resid_post', none of"),
    "no site": ("jumprelu", {"metadata": {"hook_name": None}}, "reads 'None'"),
    "transcoder's layer": ("transcoder", {"metadata": {"hook_name": "blocks.2.mlp.hook_in"}}, "not in block 3"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_computed_exactly_or_reads_another_site_is_refused(tmp_path, kind):
    architecture, settings, reason = REFUSED[kind]
    saved(tmp_path, architecture, **settings)
    with pytest.raises(ConfigError, match=rf"cannot be used: .*{reason}.*\n.*--sae"):
        load_sae(sae_source(str(tmp_path), "organism"), LAYER)


# --- names


@pytest.mark.parametrize(
    ("sae", "message"),
    [
        ("google/gemma-scope-2b-pt-res", "releases: gemma-scope-2b-pt-res, gemma-scope-2b-pt-res-canonical. "),
        ("nobody/nothing", "no release of"),
        ("gemma-scope-2b-res-canonical", "Did you mean gemma-scope-2b-pt-res-canonical?"),
        ("", "--sae is ''"),
        ("/nowhere/at/all", "is no folder"),
        ("gemma-scope-2b-pt-res", "has 312 SAEs of 26 layers: 'layer_0/width_16k/average_l0_105'"),
        ("gemma-scope-2b-pt-res:layer_{layer}/width_3k", "has no id 'layer_{layer}/width_3k'; its 316 ids are 'layer_"),
    ],
)
def test_a_name_that_says_no_saes_is_refused_with_what_to_type(sae, message):
    with pytest.raises(ConfigError) as error:
        sae_source(sae, "google/gemma-2-2b")
    assert message in str(error.value) and "\n" in str(error.value)


def test_a_model_without_default_saes_says_so():
    with pytest.raises(ConfigError, match=r"no default SAEs .*--model some/model\n.*--sae"):
        sae_source("auto", "some/model")


def test_of_several_saes_per_layer_one_is_chosen_by_id():
    """Of a release with several SAEs per layer, one is chosen by its id."""
    wide = sae_source("gemma-scope-2b-pt-res-canonical:layer_{layer}/width_65k/canonical", "google/gemma-2-2b")
    one = sae_source("gemma-scope-2b-pt-res:layer_20/width_16k/average_l0_71", "google/gemma-2-2b")
    assert wide.layers(26) == list(range(26)) and one.layers(26) == [20]
    default = sae_source("gemma-scope-2b-pt-res-canonical", "google/gemma-2-2b")
    assert default == sae_source("auto", "google/gemma-2-2b")
    assert len({wide.identity, one.identity, default.identity}) == 3
    assert default.identity == "gemma-scope-2b-pt-res-canonical"


def test_a_training_checkpoint_is_refused_with_the_name_of_what_saves_for_inference(tmp_path):
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(hook_name=f"blocks.{LAYER}.hook_resid_post")
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(d_in=D_IN, d_sae=D_SAE, k=5, metadata=metadata))
    sae.save_model(tmp_path / "raw" / f"layer_{LAYER}")
    with pytest.raises(ConfigError, match=r"training checkpoint: 'batchtopk' .*\n.*save_inference_model"):
        load_sae(sae_source(str(tmp_path / "raw"), "organism"), LAYER)
    with torch.no_grad():
        sae.topk_threshold.fill_(0.5)
    sae.save_inference_model(tmp_path / "saved" / f"layer_{LAYER}")
    assert load_sae(sae_source(str(tmp_path / "saved"), "organism"), LAYER).top_k is None


def test_what_the_makers_published_is_read(tmp_path):
    """What its makers published is read from the table, the path and the metadata."""
    gemma = find_release("gemma-scope-2b-pt-res-canonical")
    assert gemma.published("layer_0/width_16k/canonical") == {"published_fvu": None, "published_l0": 105}
    gpt2 = find_release("gpt2-small-res-jb").published("blocks.0.hook_resid_pre")
    assert gpt2 == {"published_fvu": pytest.approx(0.001), "published_l0": 10}
    loaded = load_sae(sae_source(str(saved(tmp_path, metadata={"l0": 30.5, "fvu": 0.1})), "organism"), LAYER)
    assert (loaded.published_l0, loaded.published_fvu) == (30.5, 0.1)


# --- the site check


def orthogonal_sae() -> tuple[LayerSae, torch.Tensor, torch.Tensor]:
    """An SAE that knows eight directions, activations [300, 16] made of those, and others made of eight more."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(D_IN, D_IN, generator=generator))[0]
    amounts = torch.rand(300, 8, generator=generator) * (torch.rand(300, 8, generator=generator) > 0.5) + 1e-3
    return planted(basis[:8].T.contiguous(), basis[:8]), amounts @ basis[:8], amounts @ basis[8:]


def test_fvu_and_l0_by_hand():
    sae = planted(torch.tensor([[1.0], [0.0]]))  # sees the first of two coordinates
    fit = site_fit(sae, torch.tensor([[2.0, 1.0], [4.0, 3.0], [-3.0, 2.0]]))
    residual, total = (1 + 9) + (9 + 4), (1 + 9 + 16) + (1 + 1 + 0)
    assert (fit.fvu, fit.l0, fit.n) == (pytest.approx(residual / total), pytest.approx(2 / 3), 3)


def test_the_fvu_is_zero_for_a_perfect_sae_and_one_for_the_mean():
    sae, x, _ = orthogonal_sae()
    assert site_fit(sae, x).fvu < 1e-10 and site_fit(sae, x).l0 == 8
    mean = planted(torch.zeros(D_IN, 4), b_dec=x.mean(dim=0))
    assert site_fit(mean, x).fvu == pytest.approx(1) and site_fit(mean, x).l0 == 0


def test_large_means_do_not_drown_the_variance():
    sae, x, _ = orthogonal_sae()
    shifted = planted(sae.W_enc, sae.W_dec, b_dec=torch.full((D_IN,), 500.0), b_enc=-500 * sae.W_enc.sum(dim=0))
    assert site_fit(shifted, x + 500).fvu < 1e-4


def test_activations_of_another_layer_are_an_error_that_names_the_causes(caplog):
    sae, own, other = orthogonal_sae()
    check_site(site_fit(sae, own), sae, False, LOG)
    fit = site_fit(sae, other)
    with pytest.raises(ArtifactMismatchError) as error:
        check_site(fit, sae, False, LOG)
    message = str(error.value)
    assert f"FVU {fit.fvu:.2f}" in message and "layer 3" in message and "planted layer_3" in message
    assert all(cause in message for cause in ("off by one", "another model", "scaling", "--accept-bad-fit"))
    check_site(fit, sae, True, LOG)
    assert "fits badly" in caplog.text


@pytest.mark.parametrize("fvu, outcome", [(0.2, "INFO"), (0.5, "INFO"), (0.51, "WARNING"), (0.9, "WARNING")])
def test_a_fit_is_logged_and_a_poor_one_is_warned_of(fvu, outcome, caplog):
    caplog.set_level("INFO")
    check_site(SiteFit(fvu, 71.25, 300), orthogonal_sae()[0], False, LOG)
    assert [record.levelname for record in caplog.records] == [outcome]
    assert f"FVU {fvu:.2f}, mean L0 71.2 over 300 activations of blocks.3.hook_resid_post" in caplog.text


@pytest.mark.parametrize("fvu", [0.91, 3.0, np.nan, np.inf])
def test_a_fit_that_is_bad_or_no_number_is_refused(fvu):
    with pytest.raises(ArtifactMismatchError, match="--accept-bad-fit"):
        check_site(SiteFit(fvu, 0.0, 300), orthogonal_sae()[0], False, LOG)


def test_activations_of_another_width_are_refused():
    with pytest.raises(ArtifactMismatchError, match=r" 16 numbers.*; the activations have 12\n.*--sae"):
        site_fit(orthogonal_sae()[0], torch.randn(5, 12))


def test_a_transcoder_is_tested_against_its_output_site(tmp_path):
    sae = load_sae(sae_source(str(saved(tmp_path, "transcoder", d_out=24)), "organism"), LAYER)
    x = torch.randn(50, D_IN)
    assert site_fit(sae, x, sae.decode(sae.encode(x))).fvu < 1e-10
    with pytest.raises(ArtifactMismatchError, match=r"blocks\.3\.mlp\.hook_in .*blocks\.3\.hook_mlp_out.*\n.*--sae"):
        site_fit(sae, x)
