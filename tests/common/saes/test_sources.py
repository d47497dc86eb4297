"""Covers the SAEs of every row of common/model/registry.py: their names in SAELens' table, and loading them offline
from hub caches of the real shape, against SAELens' own encode and decode."""

import json
import shutil

import pytest
from hub_saes import COMMIT, WRITERS, cached_file, mostly_zero_arrays, random_arrays
from support import cold_command, offline

from common.model.registry import MODELS
from common.saes.sources import find_release, layer_of, sae_source

RELEASED = [model for model, entry in MODELS.items() if entry.sae_release]
FULL_SIZE = "google/gemma-2-2b"  # of the others of Gemma Scope, SAELens' hard-coded widths are replaced by the file's
N_LAYERS = {
    "google/gemma-2-2b": 26,
    "google/gemma-2-2b-it": 26,
    "google/gemma-2-9b": 42,
    "google/gemma-3-270m": 18,
    "google/gemma-3-270m-it": 18,
    "google/gemma-3-1b-pt": 26,
    "google/gemma-3-1b-it": 26,
    "google/gemma-3-4b-pt": 34,
    "google/gemma-3-4b-it": 34,
    "google/gemma-3-12b-pt": 48,
    "google/gemma-3-12b-it": 48,
    "google/gemma-3-27b-pt": 62,
    "google/gemma-3-27b-it": 62,
    "meta-llama/Llama-3.1-8B": 32,
    "meta-llama/Llama-3.1-8B-Instruct": 32,
    "Qwen/Qwen3-0.6B": 28,
    "Qwen/Qwen3-1.7B": 28,
    "Qwen/Qwen3-4B": 36,
    "Qwen/Qwen3-8B": 36,
    "Qwen/Qwen3-14B": 40,
}
OTHERS = {  # no defaults, in the remaining two file formats: --sae, --model
    "transcoders of Gemma Scope 2": (
        "gemma-scope-2-1b-pt-transcoders-all:layer_{layer}_width_16k_l0_big",
        "google/gemma-3-1b-pt",
    ),
    "a release in SAELens' own files": ("gemma-2-2b-res-matryoshka-dc", "google/gemma-2-2b"),
}
SPARSE_LAYERS = {"google/gemma-2-9b-it": [9, 20, 31], "google/gemma-2-27b": [10, 22, 34]}

# Runs in a process of its own whose hub is the hand-made cache: one row after the other.
LOAD_ROWS = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np, torch
from huggingface_hub import hf_hub_download
from sae_lens import SAE
from sae_lens.loading import pretrained_sae_loaders as loaders
from common.saes.encoder import load_sae, _files_of_one_commit
from common.saes.sources import sae_source

own_config = loaders.get_gemma_2_config_from_hf
def widths_of_the_file(repo_id, folder_name, *arguments):
    with np.load(hf_hub_download(repo_id, "params.npz", subfolder=folder_name)) as arrays:
        d_in, d_sae = arrays["W_enc"].shape
    return {**own_config(repo_id, folder_name, *arguments), "d_in": d_in, "d_sae": d_sae}

found, done = {}, {}
for key, name, model, layer in ROWS:
    source = sae_source(name, model)
    if (source.name, layer) in done:  # two models with the same SAEs
        found[key] = found[done[source.name, layer]]
        continue
    done[source.name, layer] = key
    loaders.get_gemma_2_config_from_hf = own_config if model == FULL_SIZE else widths_of_the_file
    sae = load_sae(source, layer)
    with _files_of_one_commit(None):
        theirs = SAE.from_pretrained(source.release.name, source.ids[layer])
    x = torch.randn(8, sae.d_in, generator=torch.Generator().manual_seed(0)) * 2
    acts, their_acts = sae.encode(x), theirs.encode(x)
    outputs, their_outputs = sae.decode(acts), theirs.decode(their_acts)
    found[key] = {
        "id": sae.id, "site": sae.site, "url": sae.neuronpedia_url(7), "kind": sae.kind, "revision": sae.revision,
        "shape": [sae.d_in, sae.n_latents], "active": (acts > 0).float().mean().item(),
        "encode": ((acts - their_acts).abs().max() / their_acts.abs().max()).item(),
        "decode": ((outputs - their_outputs).abs().max() / their_outputs.abs().max()).item(),
        "dtypes": sorted({str(t.dtype) for t in (sae.W_enc, sae.b_enc, sae.threshold, sae.W_dec, sae.b_dec)}),
    }
errors = {}
for model, layer in [(FULL_SIZE, 3), (FULL_SIZE, 4), ("google/gemma-3-1b-pt", 3), ("Qwen/Qwen3-0.6B", 3),
                     ("meta-llama/Llama-3.1-8B", 3)]:
    try:
        load_sae(sae_source("auto", model), layer)
    except Exception as error:
        errors[f"{model} {layer}"] = [type(error).__name__, str(error)]
print(json.dumps([found, errors]))
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> tuple[dict, dict]:
    """What one process found that loaded one layer of every row, and the errors of layers that it has not."""
    home = tmp_path_factory.mktemp("hub")
    rows, written = [], set()
    asked = {**{model: ("auto", model) for model in RELEASED}, **OTHERS}
    for seed, (key, (sae, model)) in enumerate(asked.items()):
        source = sae_source(sae, model)
        layer = sorted(source.ids)[-2]
        rows.append((key, sae, model, layer))
        if source.name not in written:
            arrays = mostly_zero_arrays(2304, 16384) if key == FULL_SIZE else random_arrays(64, 256, seed)
            path = source.release.paths[source.ids[layer]]
            WRITERS[source.release.conversion](home, source.release.repo_id, path, arrays)
            written.add(source.name)
    full = sae_source("auto", FULL_SIZE)
    torn = cached_file(home, full.release.repo_id, f"{full.release.paths[full.ids[4]]}/params.npz")
    torn.write_bytes(b"PK\x03\x04")
    code = f"FULL_SIZE, ROWS = {FULL_SIZE!r}, {rows!r}\n{LOAD_ROWS}"
    finished = offline(home, code)
    shutil.rmtree(home)
    assert finished.returncode == 0, finished.stderr
    return tuple(json.loads(finished.stdout.splitlines()[-1]))


@pytest.fixture(scope="module")
def table():
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    return get_pretrained_saes_directory()


@pytest.mark.parametrize("model", RELEASED)
def test_every_row_names_a_release_and_ids_that_saelens_has(model, table):
    source, entry = sae_source("auto", model), MODELS[model]
    assert sorted(source.ids) == SPARSE_LAYERS.get(model, list(range(N_LAYERS.get(model, 0))))
    assert all(entry.sae_ids.format(layer=layer) == sae_id for layer, sae_id in source.ids.items())
    assert set(source.ids.values()) <= set(table[entry.sae_release].saes_map)


def test_every_model_has_a_row_of_saes():
    assert [model for model, entry in MODELS.items() if not (entry.sae_release or entry.sae_folder)] == []


def test_the_table_is_read_as_saelens_reads_it(table):
    for name, theirs in table.items():
        ours = find_release(name)
        assert (ours.repo_id, ours.model, ours.paths) == (theirs.repo_id, theirs.model, theirs.saes_map)
        assert ours.neuronpedia == theirs.neuronpedia_id
        assert all(layer_of(sae_id) is not None for sae_id in ours.paths if not sae_id.startswith("embedding"))


def test_an_instruction_tuned_model_without_saes_of_its_own_says_whose_it_has():
    notes = {model: sae_source("auto", model).note for model in RELEASED}
    assert {model: note for model, note in notes.items() if note} == {
        "google/gemma-2-2b-it": "SAEs of the base model google/gemma-2-2b",
        "meta-llama/Llama-3.1-8B-Instruct": "SAEs of the base model meta-llama/Llama-3.1-8B",
    }
    assert sae_source("gemma-scope-2b-pt-res-canonical", "google/gemma-2-9b").note == (
        "SAEs of another model, google/gemma-2-2b"
    )


@pytest.mark.parametrize("key", [*RELEASED, *OTHERS])
def test_every_row_loads_offline_and_computes_what_saelens_computes(key, loaded):
    found = loaded[0][key]
    assert found["encode"] <= 1e-6 and found["decode"] <= 1e-6
    assert 0.05 < found["active"] < 0.95, "a comparison of nothing"
    assert found["shape"] == ([2304, 16384] if key in (FULL_SIZE, f"{FULL_SIZE}-it") else [64, 256])
    assert found["dtypes"] == ["torch.float32"] and found["revision"] == COMMIT


@pytest.mark.parametrize("model", RELEASED)
def test_every_row_reads_the_site_of_its_layer(model, loaded):
    found, source = loaded[0][model], sae_source("auto", model)
    layer = sorted(source.ids)[-2]
    inputs = {"sae": f"blocks.{layer}.hook_resid_post", "transcoder": f"blocks.{layer}.mlp.hook_in"}
    assert found["kind"] == source.kind == ("transcoder" if model.startswith("Qwen/") else "sae")
    assert found["site"] == inputs[source.kind]


def test_releases_that_are_no_defaults_load_too(loaded):
    transcoder, sae = (loaded[0][key] for key in OTHERS)
    assert (transcoder["kind"], transcoder["site"]) == ("transcoder", "blocks.24.hook_mlp_in")
    assert transcoder["id"].endswith("layer_24_width_16k_l0_big = transcoder_all/layer_24_width_16k_l0_big")
    assert (sae["kind"], sae["site"]) == ("sae", "blocks.23.hook_resid_post")


def test_ids_are_shown_with_what_they_resolve_to_and_with_their_page(loaded):
    shown = {model: (found["id"], found["url"]) for model, found in loaded[0].items()}
    assert shown["google/gemma-2-2b"] == (
        "gemma-scope-2b-pt-res-canonical layer_24/width_16k/canonical = layer_24/width_16k/average_l0_73",
        "https://www.neuronpedia.org/gemma-2-2b/24-gemmascope-res-16k/7",
    )
    assert shown["meta-llama/Llama-3.1-8B"] == (
        "llama_scope_lxr_8x l30r_8x = Llama3_1-8B-Base-L30R-8x",
        "https://www.neuronpedia.org/llama3.1-8b/30-llamascope-res-32k/7",
    )
    assert shown["Qwen/Qwen3-4B"][1] == "https://www.neuronpedia.org/qwen3-4b/34-transcoder-hp/7"
    assert shown["google/gemma-3-4b-it"][1] is None


def test_what_is_not_on_this_disk_is_one_message(loaded):
    """What is not on this disk is one message with release id and command."""
    errors = loaded[1]
    kind, message = errors[f"{FULL_SIZE} 3"]
    assert kind == "AssetError" and "cannot be fetched" in message
    assert "gemma-scope-2b-pt-res-canonical layer_3/width_16k/canonical = layer_3/width_16k/average_l0_59" in message
    assert "google/gemma-scope-2b-pt-res" in message
    assert "SAE.from_pretrained('gemma-scope-2b-pt-res-canonical', 'layer_3/width_16k/canonical')" in message
    assert {kind for kind, _ in errors.values()} == {"AssetError"} and len(errors) == 5
    assert all("cannot be fetched" in message for name, (_, message) in errors.items() if not name.endswith(" 4"))


def test_a_torn_file_in_the_cache_is_one_message(loaded):
    assert "cannot be read: BadZipFile" in loaded[1][f"{FULL_SIZE} 4"][1]


def test_what_a_command_asks_first_needs_no_library_or_network(tmp_path):
    """What a command asks at its start loads no library and needs no network."""
    code = (
        "import sys\nfrom common.saes.sources import sae_source\n"
        "print(sae_source('auto', 'google/gemma-2-2b').identity)\n"
        "print([m for m in ('torch', 'sae_lens', 'transformers', 'huggingface_hub') if m in sys.modules])"
    )
    finished = cold_command("-c", code, home=tmp_path)
    assert finished.stdout.splitlines() == ["gemma-scope-2b-pt-res-canonical", "[]"], finished.stderr
