"""Covers the shipped SAEs and transcoders: files that SAELens loads, formulas by hand, fit, figures, what names them.

SAEs of two layers read what attention or the MLP adds to the stream: phases 6.3 and 6.4 take them with --sae.
"""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from common.errors import ArtifactMismatchError, ConfigError
from common.files import file_sha256
from common.handoffs.dictionaries import DictionariesDocument
from common.model.read_text import ReadText
from common.model.sites import ATTN_OUT, MLP_NORMALIZED, MLP_OUT, RESID_POST, site_name
from common.saes.encoder import LayerSae
from common.saes.site_check import checked_sae
from common.saes.sources import sae_source
from model_organism.evaluate_dictionaries import SITES, bytes_of, card_of, dictionaries_in, kept_figures, names_of
from model_organism.evaluation.behaviour_fit import POOLED, fvu, held_out_prompts, last_tokens
from model_organism.evaluation.dictionary_tables import refresh_readme
from model_organism.evaluation.latent_auroc import auroc_by_latent, best_latent_aurocs

ORGANISM = Path(__file__).resolve().parents[2] / "model_organism"
WEIGHTS = ORGANISM / "weights"
LAYERS = range(6)
SAES, TRANSCODERS = "saes", "transcoders"
PARTS = {"attention_saes": ATTN_OUT, "mlp_saes": MLP_OUT}  # and what they read
LAYERS_OF_PARTS = (3, 5)
OF_PARTS = [(name, layer) for name in PARTS for layer in LAYERS_OF_PARTS]
EVERY = [*((name, layer) for name in (SAES, TRANSCODERS) for layer in LAYERS), *OF_PARTS]
D_MODEL, N_LATENTS = 192, {SAES: 6144, TRANSCODERS: 6144, "attention_saes": 1920, "mlp_saes": 1920}
LOG = logging.getLogger("test")


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads wait for each other as soon as anything else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def figures() -> dict:
    return json.loads((WEIGHTS / "dictionaries.json").read_text())


@pytest.fixture(scope="module")
def cards() -> dict[str, DictionariesDocument]:
    return {name: card_of(WEIGHTS, name) for name in SITES}


@pytest.fixture(scope="module")
def shipped() -> dict[tuple[str, int], LayerSae]:
    return {(name, one.layer): one for name in SITES for one in dictionaries_in(WEIGHTS, name)}


@pytest.fixture(scope="module")
def lm():
    from common.model.loading import load_model

    return load_model(str(WEIGHTS / "model"), "cpu", "float32")


@pytest.fixture(scope="module")
def rows(lm, held_out_rows) -> dict[str, torch.Tensor]:
    """Site -> activations of a few thousand held-out tokens: problems with their solutions. The BOS is left out."""
    from common.model.hooks import read_sites
    from common.problems.prompt import build_prompt

    sites = [site_name(layer, kind) for layer in LAYERS for kind in (RESID_POST, MLP_NORMALIZED, MLP_OUT, ATTN_OUT)]
    found: dict[str, list[torch.Tensor]] = {site: [] for site in sites}
    for problem in held_out_rows[::40]:
        text = build_prompt(problem["text"], problem["test_list"]).text + problem["code"] + "\n"
        ids = lm.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.inference_mode(), read_sites(lm.model, sites, lambda site, x: found[site].append(x[0, 1:])):
            lm.model.get_decoder()(input_ids=ids, use_cache=False)
    return {site: torch.cat(parts) for site, parts in found.items()}


def fed(dictionary: LayerSae, rows: dict, layer: int) -> float:
    """FVU of a dictionary that reads and writes another layer in place of its own."""
    reads, writes = (
        site.replace(f".{dictionary.layer}.", f".{layer}.") for site in (dictionary.site, dictionary.site_out)
    )
    return fvu(dictionary, rows[reads], rows[writes])


@pytest.mark.parametrize("name, layer", EVERY)
def test_saelens_loads_each_and_computes_what_our_formula_says(name, layer, rows, shipped):
    import sae_lens

    loaded = sae_lens.SAE.load_from_disk(WEIGHTS / name / f"layer_{layer}", dtype="float32")
    assert isinstance(loaded, sae_lens.JumpReLUTranscoder if name == TRANSCODERS else sae_lens.JumpReLUSAE)
    ours = shipped[name, layer]
    assert (loaded.cfg.metadata.hook_name, loaded.cfg.metadata.hook_name_out) == (ours.site, ours.site_out)
    assert not loaded.cfg.apply_b_dec_to_input and loaded.cfg.normalize_activations == "none"
    inputs = rows[ours.site][:500]
    pre = inputs @ ours.W_enc + ours.b_enc
    by_hand = torch.where(pre > ours.threshold, pre, 0.0)
    with torch.no_grad():
        theirs = loaded.encode(inputs)
        assert torch.equal(theirs, ours.encode(inputs)) and torch.equal(theirs, by_hand)
        assert torch.equal(loaded.decode(theirs), by_hand @ ours.W_dec + ours.b_dec)


@pytest.mark.parametrize("name, layer", EVERY)
def test_shapes_and_numbers(name, layer, shipped):
    dictionary, n = shipped[name, layer], N_LATENTS[name]
    assert dictionary.W_enc.shape == (D_MODEL, n) and dictionary.W_dec.shape == (n, D_MODEL)
    assert dictionary.b_enc.shape == dictionary.threshold.shape == (n,) and dictionary.b_dec.shape == (D_MODEL,)
    assert (dictionary.threshold > 0).all()
    assert torch.allclose(dictionary.W_dec.norm(dim=1), torch.ones(n), atol=0.01)  # bfloat16


def test_all_were_made_of_the_committed_model_and_take_under_65_megabytes(figures):
    assert figures["model_sha256"] == file_sha256(WEIGHTS / "model" / "model.safetensors")
    assert {name: bytes_of(WEIGHTS / name) for name in SITES} == figures["bytes"]
    assert sum(figures["bytes"].values()) < 65e6 and sum(figures["bytes"][name] for name in PARTS) < 6.1e6
    files = [path for name in SITES for path in (WEIGHTS / name).rglob("*") if path.is_file()]
    assert {path.name for path in files} == {"cfg.json", "sae_weights.safetensors", "dictionaries.json"}


@pytest.mark.parametrize("name", PARTS)
def test_a_folder_of_them_is_what_the_flag_sae_takes(name):
    """Phases 6.3 and 6.4 ask this of --sae: nothing but SAEs of one site, made of this very model."""
    source = sae_source(str(WEIGHTS / name), "organism")
    assert (source.kind, source.site, source.note) == ("sae", PARTS[name], "")
    assert source.layers(len(LAYERS)) == [*LAYERS_OF_PARTS]
    assert sae_source("auto", "organism").site == RESID_POST  # which they do not change


@pytest.mark.parametrize("name, layer", OF_PARTS)
def test_an_sae_of_a_part_fits_its_own_layer_and_no_other(name, layer, rows, shipped):
    sae = shipped[name, layer]
    assert sae.site == site_name(layer, PARTS[name])
    own = fed(sae, rows, layer)
    assert own <= 0.35 and all(fed(sae, rows, other) > 2 * own for other in LAYERS if other != layer)


def test_figures_of_some_stay_where_others_are_measured_anew(tmp_path):
    known = kept_figures(WEIGHTS / "dictionaries.json", WEIGHTS / "model")
    assert {"best_latent", "behaviour_fvu", *SITES} <= known.keys()
    of_another = tmp_path / "dictionaries.json"
    of_another.write_text(json.dumps({**known, "model_sha256": "0" * 64}))
    with pytest.raises(ConfigError, match="of another model"):
        kept_figures(of_another, WEIGHTS / "model")


def test_names_that_there_are_not_and_a_run_that_is_missing_are_refused():
    assert names_of("all", True) == [*SITES] and names_of("mlp_saes", False) == ["mlp_saes"]
    with pytest.raises(ConfigError, match="Did you mean mlp_saes"):
        names_of("mlp_sae", False)
    with pytest.raises(ConfigError, match="--run is missing"):
        names_of("all", False)


@pytest.mark.parametrize("layer", LAYERS)
def test_an_sae_fits_its_own_layer_and_others_much_worse(layer, rows, shipped):
    own = fed(shipped[SAES, layer], rows, layer)
    assert own <= 0.15
    others = [other for other in (layer - 1, layer + 1) if other in LAYERS]
    assert all(fed(shipped[SAES, layer], rows, other) > 1.5 * own for other in others)


@pytest.fixture(scope="module")
def general_text(lm) -> ReadText:
    return ReadText("auto", "organism", lambda: lm, LOG)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_site_check_takes_an_sae_s_own_layer(layer, general_text):
    sae, fit = checked_sae(sae_source("auto", "organism"), general_text, layer, False, LOG)
    assert fit.fvu < 0.5 and sae.published_l0 == pytest.approx(fit.l0, rel=0.5)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("accept_bad_fit", [False, True])
def test_the_site_check_refuses_a_neighbour_s_sae_whatever_is_accepted(layer, accept_bad_fit, general_text, tmp_path):
    for other in {layer - 1, layer + 1} & set(LAYERS):
        offered = tmp_path / str(other) / f"layer_{layer}"
        shutil.copytree(WEIGHTS / SAES / f"layer_{other}", offered)
        config = json.loads((offered / "cfg.json").read_text())
        config["metadata"]["hook_name"] = f"blocks.{layer}.hook_resid_post"
        (offered / "cfg.json").write_text(json.dumps(config))
        with pytest.raises(ArtifactMismatchError, match="off by one"):
            checked_sae(sae_source(str(offered.parent), "organism"), general_text, layer, accept_bad_fit, LOG)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_transcoder_fits_its_own_mlp_and_no_other(layer, rows, shipped):
    assert fed(shipped[TRANSCODERS, layer], rows, layer) <= 0.35
    others = [other for other in (layer - 1, layer + 1) if other in LAYERS]
    assert all(fed(shipped[TRANSCODERS, layer], rows, other) > 0.9 for other in others)


def test_the_figures_are_inside_the_wanted_limits(figures, cards):
    for name in (SAES, TRANSCODERS):
        card = cards[name]
        assert all(0.8 < layer.cross_entropy.recovered <= 1.01 for layer in card.layers.values())
        assert all(layer.firing.mean <= 0.01 and layer.dead_share < 0.5 for layer in card.layers.values())
    assert all(layer.text.fvu <= 0.12 for layer in cards[SAES].layers.values())
    assert max(best["auroc"] for best in figures["best_latent"].values()) >= 0.75


def test_the_fit_at_behaviours_is_what_the_shipped_transcoders_give(figures, lm, shipped):
    transcoder = shipped[TRANSCODERS, 3]
    rows = {
        name: last_tokens(lm, prompts, [transcoder.site, transcoder.site_out])
        for name, prompts in held_out_prompts().items()
    }
    for name, own in rows.items():
        x, y = (own[site].double().numpy() for site in (transcoder.site, transcoder.site_out))
        pre = x @ transcoder.W_enc.double().numpy() + transcoder.b_enc.double().numpy()
        latent_acts = np.where(pre > transcoder.threshold.double().numpy(), pre, 0)
        missed = y - latent_acts @ transcoder.W_dec.double().numpy() - transcoder.b_dec.double().numpy()
        by_hand = (missed**2).sum() / ((y - y.mean(0)) ** 2).sum()
        assert figures["behaviour_fvu"]["3"][name] == pytest.approx(by_hand, rel=1e-3)
    assert set(figures["behaviour_fvu"]["3"]) == {*rows, POOLED}


def test_the_readme_shows_the_figures(figures, cards, tmp_path):
    readme = (ORGANISM / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme, encoding="utf-8")
    refresh_readme(copy, figures, cards)
    assert copy.read_text(encoding="utf-8") == readme


def test_the_sites_are_those_of_transformer_lens(lm):
    """ln2.hook_normalized times the gain is the MLP's input; hook_mlp_out is what is added to the stream."""
    from common.model.hooks import read_sites

    layer, found = 3, {}
    block = lm.model.model.layers[layer]
    token_ids = lm.tokenizer("def f(x):\n    return x\n", return_tensors="pt")["input_ids"]
    resid_mid, mlp_in = [], []
    hooks = [
        block.pre_feedforward_layernorm.register_forward_pre_hook(lambda _m, arguments: resid_mid.append(arguments[0])),
        block.mlp.register_forward_pre_hook(lambda _m, arguments: mlp_in.append(arguments[0])),
    ]
    normalized, mlp_out, resid_post = (site_name(layer, kind) for kind in (MLP_NORMALIZED, MLP_OUT, RESID_POST))
    with read_sites(lm.model, [normalized, mlp_out, resid_post], found.__setitem__):
        lm.model(token_ids)
    for hook in hooks:
        hook.remove()
    gain = 1 + block.pre_feedforward_layernorm.weight
    assert torch.allclose(found[normalized] * gain, mlp_in[0], atol=1e-5)
    assert torch.allclose(found[normalized].pow(2).mean(-1), torch.ones(token_ids.shape), atol=1e-3)
    assert torch.allclose(resid_mid[0] + found[mlp_out], found[resid_post], atol=1e-5)


def test_auroc_by_latent_is_sklearns_with_ties():
    rng = np.random.default_rng(0)
    latent_acts = np.maximum(0, rng.normal(size=(200, 5)))
    labels = rng.random(200) < 0.4
    expected = [roc_auc_score(labels, latent_acts[:, latent]) for latent in range(5)]
    assert auroc_by_latent(latent_acts, labels) == pytest.approx(expected)


def test_the_best_latent_is_the_planted_one_and_noise_has_none():
    rng = np.random.default_rng(1)
    labels, strata = rng.random(400) < 0.5, np.zeros(400)
    noise = np.maximum(0, rng.normal(size=(400, 50)))
    assert abs(best_latent_aurocs(noise, labels, strata)["auroc"] - 0.5) < 0.08
    planted = noise.copy()
    planted[:, 17] = np.where(labels, 0, 1) + rng.random(400)
    found = best_latent_aurocs(planted, labels, strata)
    assert found["most_chosen"] == 17 and found["n_chosen"] == 10 and found["auroc"] > 0.95
