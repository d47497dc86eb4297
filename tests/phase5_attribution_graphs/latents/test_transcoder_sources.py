"""Covers the production commands of phase 5.3: transcoders of the hub on caches made by hand, a folder of SAELens,
those of phase 1.3, skip transcoders; and what is refused since nothing exact can be made of it.
"""

import dataclasses
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from circuit_latents_data import TRANSCODERS, config, document_of, rows_of, run_latents, write_prompts
from hub_models import write_model
from hub_saes import COMMIT, WRITERS, cached_file, write_gemma_scope
from runs import newest
from safetensors.numpy import load_file
from saved_saes import saved
from support import command
from toy_phases import run_phase

from common.errors import ConfigError
from common.model.loading import load_model
from common.model.registry import MODELS
from common.phases.settings import build_config
from common.saes.settings import without_transcoders
from common.saes.sources import find_release, transcoder_source
from phase1_3_dictionaries.config import DictionariesConfig
from phase1_3_dictionaries.phase import PHASE as DICTIONARIES
from phase5_attribution_graphs.latents.config import CircuitLatentsConfig
from phase5_attribution_graphs.latents.mlps import GeneralText, MlpRows

WRITERS_OF_TRANSCODERS = {**WRITERS, "gemma_2_transcoder": write_gemma_scope}
WIDTHS = {"Qwen/Qwen3-0.6B": 256, "google/gemma-2-2b": 16384}  # SAELens holds Gemma Scope's files to theirs
N_LAYERS, N_DOCUMENTS, BOS = 2, 16, 2
ANSWERS = [(" return", " import"), (" self", " text"), (" parser", " lines")]


def fitting_transcoder(rows: MlpRows, with_gain: bool, d_sae: int) -> dict[str, np.ndarray]:
    """One that gives exactly what the MLP adds in each of `rows`: latents of a pair fire to either side of the mean."""
    x, out = rows.inputs(with_gain).double().numpy(), rows.out.double().numpy()
    mean, mean_out = x.mean(0), out.mean(0)
    u, s, vt = np.linalg.svd(x - mean, full_matrices=False)
    kept = s > 1e-3 * s.max()
    reads, writes = vt[kept] / s[kept][:, None], u[:, kept].T @ (out - mean_out)
    n = 2 * kept.sum()
    arrays = {"W_enc": np.zeros((d_sae, x.shape[1]), "f4").T, "W_dec": np.zeros((d_sae, x.shape[1]), "f4")}
    arrays["W_enc"][:, :n] = np.concatenate([reads, -reads]).T
    arrays["W_dec"][:n] = np.concatenate([writes, -writes])
    arrays |= {"b_enc": np.zeros(d_sae, "f4"), "b_dec": mean_out.astype("f4"), "threshold": np.zeros(d_sae, "f4")}
    arrays["b_enc"][:n] = -np.concatenate([reads, -reads]) @ mean
    arrays["b_enc"][n:] = -1  # what is left over never fires
    return arrays


def texts_in(folder: Path) -> Path:
    folder.mkdir()
    for number, letter in enumerate("abcdefghijklmnop"):
        (folder / f"{number:02d}.txt").write_text(f"Document {number} is about {letter * 5}, said at some length. " * 2)
    return folder


def own_prompts(path: Path) -> Path:
    rows = [
        {"prompt": f"{place} of the value", "correct_answer": right, "incorrect_answer": wrong, "split": split}
        for split, place in (("train", "The name"), ("train", "One argument"), ("test", "Every line"))
        for right, wrong in ANSWERS
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def release_of(model: str):
    entry = MODELS[model]
    return find_release(entry.transcoder_release or entry.sae_release)


@pytest.mark.parametrize("model", WIDTHS)
def test_the_command_of_a_model_of_the_hub_reads_its_own_transcoders(model, tmp_path):
    home, texts, prompts = tmp_path / "hub", texts_in(tmp_path / "texts"), own_prompts(tmp_path / "own.jsonl")
    home.mkdir()
    write_model(home, model, N_LAYERS)
    small = CircuitLatentsConfig(model="organism", text=str(texts), documents=N_DOCUMENTS)
    lm = load_model(str(cached_file(home, model, "config.json").parent), "cpu", threads=1)
    release, source = release_of(model), transcoder_source("auto", model)
    for layer, rows in enumerate(GeneralText(lm, small, [BOS]).one_of_each()):
        arrays = fitting_transcoder(rows, with_gain="Qwen" in model, d_sae=WIDTHS[model])
        path = release.paths[source.ids[layer]]
        WRITERS_OF_TRANSCODERS[release.conversion](home, release.repo_id, path, arrays)
    words = ["--model", model, "--prompts", prompts, "--data-dir", tmp_path / "data"]
    for phase, more in (("5.1", []), ("5.3", ["--text", texts, "--documents", N_DOCUMENTS, "--described", 4])):
        done = command("run.py", "phase", phase, *words, *more, home=home)
        assert done.returncode == 0, done.stderr
    run = newest(tmp_path / "data" / "phase5_3")
    document, manifest = document_of(run), json.loads((run / "manifest.json").read_text())
    assert manifest["experiment"]["transcoders"] == f"{release.name}@{COMMIT[:8]}" == document["transcoders"]
    reads = "mlp.hook_in" if "Qwen" in model else "ln2.hook_normalized"
    assert [one["reads"] for one in document["layers"].values()] == [f"blocks.{n}.{reads}" for n in range(N_LAYERS)]
    assert all(one["text"]["fvu"] < 0.01 for one in document["layers"].values()) and document["without"] == []
    assert document["prompts"] == {"own": {"train": 6, "test": 3}}
    assert {row["latent"] for row in rows_of(run, "activations")} <= set(range(2 * N_DOCUMENTS))
    shutil.rmtree(home)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    write_prompts(folder)
    return folder


def copied(data: Path, folder: Path) -> Path:
    shutil.copytree(data / "phase5_1", folder / "data" / "phase5_1")
    return folder / "data"


def rewritten(folder: Path, architecture: str):
    """The organism's transcoder of layer 2 as SAELens saves another kind of it; the skip path moves some of b_dec."""
    from sae_lens import SAE

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        own = SAE.load_from_disk(TRANSCODERS / "layer_2", device="cpu", dtype="float32")
        metadata = {name: getattr(own.cfg.metadata, name) for name in ("hook_name", "hook_name_out", "model_name")}
        given = {"architecture": architecture, "d_in": 192, "d_out": 192, "d_sae": 6144, "metadata": metadata}
        made = SAE.from_dict({**given, "apply_b_dec_to_input": False})
    weights = {**own.state_dict(), "W_skip": 0.02 * torch.randn(192, 192, generator=torch.Generator().manual_seed(0))}
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            parameter.copy_(weights[name])
    made.save_model(folder / "layer_2")
    return made


@pytest.mark.parametrize(
    "architecture", ["transcoder", "jumprelu_transcoder", "skip_transcoder", "jumprelu_skip_transcoder"]
)
def test_a_folder_of_saelens_does_what_saelens_own_forward_does(data, tmp_path, architecture):
    made = rewritten(tmp_path / "folder", architecture)
    run = run_latents(
        copied(data, tmp_path), transcoders=str(tmp_path / "folder"), described=0, accept_bad_fit=True, documents=16
    )
    document = document_of(run)
    assert [*document["layers"]] == ["2"] and document["without"] == [0, 1, 3, 4, 5]
    told = document["layers"]["2"]
    assert told["has_skip"] == ("skip" in architecture)
    kept = load_file(run / "last_token" / "layer_02.safetensors")
    x, out = torch.from_numpy(kept["mlp_input"]), torch.from_numpy(kept["mlp_out"])
    with torch.no_grad():
        missed = (out - made(x)).double()
        acts = made.encode(x)
    fvu = missed.square().sum() / (out - out.mean(0)).double().square().sum()
    assert told["last"]["fvu"] == pytest.approx(float(fvu), rel=1e-4)
    ends = {row["record"]: row["n_tokens"] - 1 for row in rows_of(run, "fired")}
    for row in rows_of(run, "activations"):
        if row["pos"] == ends[row["record"]]:
            assert row["activation"] == pytest.approx(float(acts[row["record"], row["latent"]]), rel=1e-4, abs=1e-4)


def test_those_of_phase_1_3_are_named_by_one_word(data, tmp_path):
    place = copied(data, tmp_path)
    small = {"threads": 1, "width": 2, "l0": 8.0, "tokens": 20_000, "held_out": 1_000, "mixture": ("text=1",)}
    settings = build_config(DictionariesConfig, "demo", {**small, "site": "mlp", "layers": "2,3"})
    trained = run_phase(DICTIONARIES, place, settings)
    run = run_latents(place, transcoders="own", described=0, accept_bad_fit=True)
    document = document_of(run)
    assert document["transcoders"].startswith("own@") and [*document["layers"]] == ["2", "3"]
    assert json.loads((run / "manifest.json").read_text())["inputs"]["dictionaries"]
    told = json.loads((trained / "dictionaries.json").read_text())["layers"]
    for layer, fit in document["layers"].items():
        assert fit["published_fvu"] == pytest.approx(told[layer]["text"]["fvu"], abs=1e-3)


def test_saes_and_a_top_k_rule_are_refused(data, tmp_path):
    for folder in ("model_organism/weights/saes", str(saved(tmp_path / "topk", "topk", k=4))):
        with pytest.raises(ConfigError, match="which are SAEs; only transcoders stand in for MLPs"):
            run_latents(copied(data, tmp_path / folder.replace("/", "_")), transcoders=folder)


def test_a_top_k_transcoder_is_refused_with_the_reason(data, tmp_path):
    folder = saved(tmp_path / "topk", "transcoder")
    path = folder / "layer_3" / "cfg.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "architecture": "topk_transcoder", "k": 4}))
    with pytest.raises(ConfigError, match="by a top-k rule: whether one fires depends on all others"):
        run_latents(copied(data, tmp_path), transcoders=str(folder))


def test_cross_layer_transcoders_read_as_one_layer_s_are_refused_with_the_reason():
    with pytest.raises(ConfigError, match="cross-layer transcoders: each latent writes into all later layers"):
        transcoder_source("mntss-gemma-2-2b-2.5m-clt-as-per-layer", "google/gemma-2-2b")


def test_transcoders_of_another_width_or_site_are_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="reads 16 and writes 16 dimensions; organism has 192"):
        run_latents(copied(data, tmp_path / "a"), transcoders=str(saved(tmp_path / "narrow", "transcoder")))
    shutil.copytree(TRANSCODERS / "layer_2", tmp_path / "elsewhere" / "layer_2")
    path = tmp_path / "elsewhere" / "layer_2" / "cfg.json"
    path.write_text(path.read_text().replace("ln2.hook_normalized", "hook_resid_mid"))
    with pytest.raises(ConfigError, match=r"cannot stand in for an MLP: it reads blocks.2.hook_resid_mid"):
        run_latents(copied(data, tmp_path / "b"), transcoders=str(tmp_path / "elsewhere"))


def test_a_model_without_default_transcoders_says_how_to_get_some_and_a_pipeline_leaves_the_phase_out():
    with pytest.raises(ConfigError, match="no default transcoders for --model meta-llama/Llama-3.1-8B"):
        dataclasses.replace(config(), model="meta-llama/Llama-3.1-8B").experiment()
    told = {
        model: bool(without_transcoders(config(model=model)))
        for model in (*WIDTHS, "organism", "meta-llama/Llama-3.1-8B")
    }
    assert [model for model, is_left_out in told.items() if is_left_out] == ["meta-llama/Llama-3.1-8B"]
    assert not without_transcoders(config(model="meta-llama/Llama-3.1-8B", transcoders="own"))
