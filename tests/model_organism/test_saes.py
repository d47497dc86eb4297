"""Covers SAEs and transcoders: files that SAELens loads, formulas by hand, fit, figures, and their training."""

import hashlib
import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from common.errors import ArtifactMismatchError, AssetError
from common.model.read_text import ReadText
from common.saes.dictionary import Dictionary
from common.saes.fit import checked_sae
from common.saes.sources import sae_source
from common.saes.training_settings import DictionarySettings
from model_organism.corpus import GENERAL, PROBLEM, Document, tokenize_documents
from model_organism.dictionaries import activations, held_out
from model_organism.dictionaries.command import Job, missing_layers, train_layer
from model_organism.dictionaries.latent_auroc import auroc_by_latent, best_latent_aurocs
from model_organism.dictionaries.measures import cross_entropy_recovered, mean_cross_entropy, measure_fit
from model_organism.dictionaries.report import refresh_readme
from model_organism.dictionaries.sites import SAE, TRANSCODER, read_by, written_by
from model_organism.dictionaries.storage import FOLDERS, load_dictionary, read_training, save_dictionary

ORGANISM = Path(__file__).resolve().parents[2] / "model_organism"
WEIGHTS = ORGANISM / "weights"
LAYERS = range(6)
EVERY = [(kind, layer) for kind in FOLDERS for layer in LAYERS]
LOG = logging.getLogger("test")
SMALL = DictionarySettings(d_sae=64, l0=4, n_samples=200_000, batch_size=256, resample_every=50)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Two threads wait for each other as soon as anything else runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def figures() -> dict:
    return json.loads((WEIGHTS / "saes.json").read_text())


@pytest.fixture(scope="module")
def lm():
    from common.model.loading import load_model

    return load_model(str(WEIGHTS / "model"), "cpu", "float32")


@pytest.fixture(scope="module")
def small_text(lm, held_out_rows):
    """A few thousand held-out tokens: problems with their solutions, and two rows of other text."""
    from common.problems.prompt import build_prompt

    documents = [Document(GENERAL, (("import os\n\nfor name in os.listdir():\n    print(name)\n", 1.0),), None)] * 2
    for problem in held_out_rows[::40]:
        prompt = build_prompt(problem["text"], problem["test_list"]).text
        documents.append(Document(PROBLEM, ((prompt, 1.0), (problem["code"] + "\n", 1.0)), 1.0))
    return tokenize_documents(documents, lm.tokenizer)


@pytest.fixture(scope="module")
def rows(lm, small_text) -> dict[str, torch.Tensor]:
    """Site -> activations on the small text."""
    return held_out.read_held_out(lm, small_text, held_out.prompts_corpus(lm, ["a"])).text


def folder_of(kind: str) -> Path:
    return WEIGHTS / FOLDERS[kind]


def fed(dictionary: Dictionary, rows: dict, kind: str, layer: int) -> float:
    return measure_fit(dictionary, rows[read_by(kind, layer)], rows[written_by(kind, layer)]).fvu


@pytest.mark.parametrize("kind, layer", EVERY)
def test_saelens_loads_each_and_computes_what_our_formula_says(kind, layer, rows):
    import sae_lens

    loaded = sae_lens.SAE.load_from_disk(folder_of(kind) / f"layer_{layer}")
    assert isinstance(loaded, sae_lens.JumpReLUSAE if kind == SAE else sae_lens.JumpReLUTranscoder)
    assert loaded.cfg.metadata.hook_name == read_by(kind, layer)
    assert not loaded.cfg.apply_b_dec_to_input and loaded.cfg.normalize_activations == "none"
    ours = load_dictionary(kind, layer, folder_of(kind))
    inputs = rows[read_by(kind, layer)][:500].float()
    pre = inputs @ ours.W_enc + ours.b_enc
    by_hand = torch.where(pre > ours.threshold, pre, 0.0)
    with torch.no_grad():
        theirs = loaded.encode(inputs)
        assert torch.equal(theirs, ours.encode(inputs)) and torch.equal(theirs, by_hand)
        assert torch.equal(loaded.decode(theirs), by_hand @ ours.W_dec + ours.b_dec)


@pytest.mark.parametrize("kind, layer", EVERY)
def test_shapes_and_number_types(kind, layer):
    dictionary = load_dictionary(kind, layer, folder_of(kind))
    shapes = {name: tuple(value.shape) for name, value in vars(dictionary).items()}
    assert shapes == {
        "W_enc": (192, 1536),
        "b_enc": (1536,),
        "W_dec": (1536, 192),
        "b_dec": (192,),
        "threshold": (1536,),
    }
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in vars(dictionary).values())
    assert (dictionary.threshold > 0).all()
    assert torch.allclose(dictionary.W_dec.norm(dim=1), torch.ones(1536), atol=1e-5)


def test_all_were_made_of_the_committed_model_and_take_under_40_megabytes(figures):
    digest = hashlib.sha256((WEIGHTS / "model" / "model.safetensors").read_bytes()).hexdigest()
    assert {read_training(layer, folder_of(kind))["model_sha256"] for kind, layer in EVERY} == {digest}
    files = [path for kind in FOLDERS for path in folder_of(kind).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) == figures["bytes"] < 40e6
    assert {path.name for path in files} == {"cfg.json", "sae_weights.safetensors"}


@pytest.mark.parametrize("layer", LAYERS)
def test_an_sae_fits_its_own_layer_and_others_much_worse(layer, rows):
    dictionary = load_dictionary(SAE, layer, folder_of(SAE))
    own = fed(dictionary, rows, SAE, layer)
    assert own <= 0.20
    others = [other for other in (layer - 1, layer + 1) if other in LAYERS]
    assert all(fed(dictionary, rows, SAE, other) > 1.5 * own for other in others)


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
        shutil.copytree(folder_of(SAE) / f"layer_{other}", offered)
        config = json.loads((offered / "cfg.json").read_text())
        config["metadata"]["hook_name"] = f"blocks.{layer}.hook_resid_post"
        (offered / "cfg.json").write_text(json.dumps(config))
        with pytest.raises(ArtifactMismatchError, match="off by one"):
            checked_sae(sae_source(str(offered.parent), "organism"), general_text, layer, accept_bad_fit, LOG)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_transcoder_fits_its_own_mlp_and_no_other(layer, rows):
    dictionary = load_dictionary(TRANSCODER, layer, folder_of(TRANSCODER))
    assert fed(dictionary, rows, TRANSCODER, layer) <= 0.35
    others = [other for other in (layer - 1, layer + 1) if other in LAYERS]
    assert all(fed(dictionary, rows, TRANSCODER, other) > 0.9 for other in others)


def test_the_figures_are_inside_the_wanted_limits(figures):
    assert figures["held_out"]["tokens"] >= 100_000 and figures["held_out"]["prompts"] == 974
    saes = figures["saes"]
    assert all(saes[str(layer)]["fvu"] <= 0.20 for layer in LAYERS)
    assert all(figures[FOLDERS[kind]][str(layer)]["dead"] < 0.25 for kind, layer in EVERY)
    assert max(cell["best_latent"]["auroc"] for cell in saes.values()) >= 0.75
    assert all(0.8 < cell["cross_entropy"]["recovered"] <= 1.01 for cell in saes.values())


def test_the_readme_shows_the_figures(figures, tmp_path):
    readme = (ORGANISM / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme, encoding="utf-8")
    refresh_readme(copy, figures)
    assert copy.read_text(encoding="utf-8") == readme


def test_the_sites_are_those_of_transformer_lens(lm):
    """ln2.hook_normalized times the gain is the MLP's input; hook_mlp_out is what is added to the stream."""
    from common.model.hooks import read_sites

    layer, found = 3, {}
    block = lm.model.model.layers[layer]
    token_ids = lm.tokenizer("def f(x):\n    return x\n", return_tensors="pt")["input_ids"]
    resid_mid, mlp_in = [], []
    block.pre_feedforward_layernorm.register_forward_pre_hook(lambda _m, arguments: resid_mid.append(arguments[0]))
    block.mlp.register_forward_pre_hook(lambda _m, arguments: mlp_in.append(arguments[0]))
    normalized, mlp_out, resid_post = read_by(TRANSCODER, layer), written_by(TRANSCODER, layer), written_by(SAE, layer)
    with read_sites(lm.model, [normalized, mlp_out, resid_post], found.__setitem__):
        lm.model(token_ids)
    gain = 1 + block.pre_feedforward_layernorm.weight
    assert torch.allclose(found[normalized] * gain, mlp_in[0], atol=1e-5)
    assert torch.allclose(found[normalized].pow(2).mean(-1), torch.ones(token_ids.shape), atol=1e-3)
    assert torch.allclose(resid_mid[0] + found[mlp_out], found[resid_post], atol=1e-5)


def test_splicing_what_was_there_recovers_all_and_zero_nothing(lm, small_text):
    batches = held_out.random_batches(small_text, 4)
    clean = mean_cross_entropy(lm, batches)
    identity = Dictionary(
        W_enc=torch.cat([torch.eye(192), -torch.eye(192)], 1),
        b_enc=torch.zeros(384),
        W_dec=torch.cat([torch.eye(192), -torch.eye(192)]),
        b_dec=torch.zeros(192),
        threshold=torch.zeros(384),
    )
    found = cross_entropy_recovered(lm, identity, SAE, 2, batches, clean)
    assert found["recovered"] == pytest.approx(1, abs=1e-4)
    nothing = replace(identity, W_dec=torch.zeros(384, 192))
    for kind in (SAE, TRANSCODER):
        assert cross_entropy_recovered(lm, nothing, kind, 2, batches, clean)["recovered"] == pytest.approx(0, abs=1e-6)


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


def test_a_finished_layer_is_not_trained_again_unless_something_changed(tmp_path):
    rows = np.random.default_rng(0).normal(size=(600, 16)).astype(np.float16)
    for part in (activations.TEXT, activations.PROMPTS):
        np.save(tmp_path / f"{part}.{read_by(SAE, 0)}.npy", rows)
    settings = replace(SMALL, n_samples=1024)
    made_by = {"model_sha256": "a", "settings": {"l0": 4, "n_samples": 1024}, "sample": {"seed": 1}}
    job = Job(SAE, settings, tmp_path, tmp_path / "out", made_by)
    assert missing_layers(job, [0, 1]) == [0, 1]
    train_layer(job, 0)
    assert missing_layers(job, [0, 1]) == [1]
    assert missing_layers(replace(job, made_by={**made_by, "model_sha256": "b"}), [0]) == [0]
    first = load_dictionary(SAE, 0, job.out)
    train_layer(job, 0)
    assert torch.equal(first.W_enc, load_dictionary(SAE, 0, job.out).W_enc)


def test_a_missing_dictionary_is_refused_with_its_command(tmp_path):
    with pytest.raises(AssetError, match="python3 -m model_organism.train_transcoders"):
        load_dictionary(TRANSCODER, 2, tmp_path)


def test_saving_and_loading_changes_nothing(tmp_path):
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_enc": (4, 6), "b_enc": (6,), "W_dec": (6, 3), "b_dec": (3,), "threshold": (6,)}
    saved = Dictionary(**{name: torch.randn(shape, generator=generator) for name, shape in shapes.items()})
    save_dictionary(saved, TRANSCODER, 1, {"minutes": 1}, tmp_path)
    loaded = load_dictionary(TRANSCODER, 1, tmp_path)
    assert all(torch.equal(value, vars(loaded)[name]) for name, value in vars(saved).items())
    assert read_training(1, tmp_path) == {"minutes": 1} and read_training(2, tmp_path) is None


def test_problems_cut_to_prompts_give_only_their_last_token(lm, small_text):
    cut = activations.cut_to_prompts(small_text, 3)
    is_problem = cut.prompt_lengths > 0
    assert (cut.lengths[is_problem] == cut.prompt_lengths[is_problem]).sum() == is_problem.sum() - 3
    assert len(cut.token_ids) == cut.lengths.sum()
    batches = list(activations.token_batches(cut, np.arange(len(cut.lengths))))
    assert sum(int(batch.is_prompt_end.sum()) for batch in batches) == is_problem.sum()
    newline = lm.tokenizer("# Solution:\n")["input_ids"][-1]
    assert {int(token) for batch in batches for token in batch.token_ids[batch.is_prompt_end]} == {newline}
    kept = cut.lengths[~is_problem].sum() + cut.lengths[is_problem][:3].sum()
    assert sum(int(batch.is_text.sum()) for batch in batches) < kept
