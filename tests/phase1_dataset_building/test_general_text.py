"""Covers phase 1.1: documents, positions, activations, norms; slices, resumption, refusals; rates counted from them."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.numpy import load_file
from support import command, offline, prepare_datasets_cache
from tiny_models import save_tiny_gemma, save_tiny_llama, save_tiny_qwen
from toy_phases import content, run_phase, stop_after

from common.errors import ArtifactMismatchError, ConfigError
from common.handoffs import DIFFICULTY, GENERAL_TEXT, RESID_SITES
from common.model.general_text import ORGANISM_FILE, first_documents, load_text, text_identity
from common.model.loading import load_model
from common.model.text_activations import mean_norms, read_documents
from common.problems.settings import DatasetConfig
from common.report.status import status_lines
from common.runs import discovery
from common.runs.artifacts import Artifact
from common.saes.activations import StoredText
from common.saes.encoder import load_from_folder
from common.saes.rates import firing_rates
from common.stopping import Stopped
from phase0_difficulty.phase import PHASE as DIFFICULTY_PHASE
from phase1_dataset_building.config import GeneralTextConfig
from phase1_dataset_building.general_text_phase import PHASE

N = 70
TEXTS = [f"{'word ' * (i % 9)}document {i} says {i * i}." + " More of it follows." * (i % 40) for i in range(N)]


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """A text of seventy documents, and a blank one."""
    path = tmp_path_factory.mktemp("texts") / "small"
    path.mkdir()
    for i, text in enumerate(TEXTS):
        (path / f"{i:03d}.txt").write_text(text)
    (path / "020_blank.txt").write_text(" \n")
    return path


@pytest.fixture(scope="session")
def saes(tmp_path_factory) -> Path:
    """SAEs of two of the tiny model's layers, which phase 1.1 knows nothing of."""
    from sae_lens import JumpReLUSAE, JumpReLUSAEConfig

    path = tmp_path_factory.mktemp("dictionaries") / "saes"
    for layer in (1, 3):
        torch.manual_seed(layer)
        settings = JumpReLUSAEConfig(d_in=64, d_sae=96, device="cpu", dtype="float32")
        settings.metadata.hook_name = f"blocks.{layer}.hook_resid_post"
        sae = JumpReLUSAE(settings)
        with torch.no_grad():
            sae.threshold.copy_(torch.rand(96) * 20)
        sae.save_model(path / f"layer_{layer}")
    return path


def config_of(folder: Path, model: Path | str, **changes) -> GeneralTextConfig:
    settings = {"documents": N + 1, "batch_size": 16, "threads": 1, "max_tokens": 40, **changes}
    return GeneralTextConfig(model=str(model), text=str(folder), **settings)


@pytest.fixture(scope="session")
def config(folder, tiny_gemma) -> GeneralTextConfig:
    return config_of(folder, tiny_gemma)


@pytest.fixture(scope="session")
def whole(config, tmp_path_factory) -> Path:
    """A finished run, made without a break."""
    return run_phase(PHASE, tmp_path_factory.mktemp("whole"), config)


def documents_of(run: Path) -> list[dict]:
    return pyarrow.parquet.read_table(run / "documents.parquet").to_pylist()


@pytest.fixture(params=[save_tiny_gemma, save_tiny_llama, save_tiny_qwen], ids=["gemma", "llama", "qwen"])
def lm(request, tmp_path):
    return load_model(str(request.param(tmp_path / "model")), "cpu", threads=1)


def test_a_run_has_a_row_a_vector_and_a_position_for_every_document(whole):
    rows = documents_of(whole)
    assert [row["document"] for row in rows] == list(range(N))
    assert all(1 <= row["position"] < row["n_tokens"] <= 40 for row in rows)
    assert len({row["position"] for row in rows}) > 15
    for layer in range(4):
        arrays = load_file(whole / "activations" / f"layer_{layer:02d}.safetensors")
        assert arrays["resid_post"].shape == (N, 64) and arrays["resid_post"].dtype == np.float32
        assert arrays["document"].tolist() == list(range(N))


def test_the_position_is_never_that_of_the_beginning_of_sequence_token(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    for seed in range(20):
        readings = read_documents(lm, ["a", "two words", "def f(x):"], max_tokens=128, base_seed=seed)
        assert all(reading.token_ids[reading.position] != lm.tokenizer.bos_token_id for reading in readings)
        assert readings[0].position == 1


def test_positions_are_spread_evenly_over_the_document(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    readings = read_documents(lm, [f"{n} " + "a b c d e f g" * 9 for n in range(300)], max_tokens=11, base_seed=0)
    counts = np.bincount([reading.position for reading in readings], minlength=11)
    assert counts[0] == 0 and (abs(counts[1:] - 30) < 4 * 30**0.5).all()


def test_a_document_s_position_and_vector_depend_on_nothing_but_its_text(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    together = read_documents(lm, TEXTS[:12], max_tokens=40, base_seed=7)
    for text, expected in zip(TEXTS[:12], together, strict=True):
        [alone] = read_documents(lm, [text], max_tokens=40, base_seed=7)
        assert alone.position == expected.position
        for layer in range(lm.n_layers):
            gap = np.linalg.norm(alone.resid_post[layer] - expected.resid_post[layer])
            assert gap < 1e-4 * np.linalg.norm(expected.resid_post[layer])
        assert np.allclose(alone.norm_sum, expected.norm_sum, rtol=1e-4)
    other = read_documents(lm, TEXTS[:12], max_tokens=40, base_seed=8)
    assert [r.position for r in other] != [r.position for r in together]


def test_vectors_and_norms_are_those_of_transformer_lens_for_each_architecture(lm):
    from transformer_lens.model_bridge import TransformerBridge

    bridge = TransformerBridge.boot_transformers(lm.name, device="cpu", hf_model=lm.model, tokenizer=lm.tokenizer)
    for reading in read_documents(lm, TEXTS[30:36], max_tokens=40, base_seed=1):
        with torch.no_grad():
            _, cache = bridge.run_with_cache(torch.tensor([reading.token_ids]))
        for layer in range(lm.n_layers):
            resid = {site: cache[f"blocks.{layer}.hook_{site}"][0].numpy() for site in RESID_SITES}
            assert np.allclose(reading.resid_post[layer], resid["resid_post"][reading.position], rtol=1e-4, atol=1e-5)
            expected = [np.linalg.norm(resid[site][1:], axis=-1).sum() for site in RESID_SITES]
            assert np.allclose(reading.norm_sum[layer], expected, rtol=1e-5)


def test_mean_norms_weigh_every_token_alike():
    norm_sum = np.array([[[3.0, 6.0]], [[1.0, 0.0]]])  # of 3 positions, and of 1
    assert mean_norms(norm_sum, [4, 2]).tolist() == [[1.0, 1.5]]


def test_the_table_of_norms_agrees_with_a_plain_pass_over_every_document(whole, config):
    lm = load_model(config.model, "cpu", threads=1)
    norms, n = [], 0
    for text in first_documents(config.text, N + 1):
        ids = lm.tokenizer(text)["input_ids"][:40]
        with torch.no_grad():
            states = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        norms.append([state[0, 1:].norm(dim=-1).sum().item() for state in states[:-1]])
        n += len(ids) - 1
    rows = pyarrow.parquet.read_table(whole / "resid_norms.parquet").to_pylist()
    assert [(row["layer"], row["site"]) for row in rows] == [(i, site) for i in range(4) for site in RESID_SITES]
    assert {row["n"] for row in rows} == {n}
    before = [row["mean_norm"] for row in rows if row["site"] == "resid_pre"]
    assert before == pytest.approx((np.sum(norms, axis=0) / n).tolist(), rel=1e-5)
    after = [row["mean_norm"] for row in rows if row["site"] == "resid_post"]
    assert after[:-1] == pytest.approx(before[1:], rel=1e-12)


def rates_of(run: Path, saes: Path, layer: int) -> np.ndarray:
    """As phases 2 and 4.1 count them."""
    text = StoredText(Artifact(GENERAL_TEXT, discovery.read_run(run, GENERAL_TEXT), "rebuild"), "rebuild")
    return firing_rates(load_from_folder(saes / f"layer_{layer}", "sae", layer, "sae"), text.every_of_layer(layer))


def test_firing_rates_are_counted_from_the_stored_vectors(whole, saes):
    for layer in (1, 3):
        resid = load_file(whole / "activations" / f"layer_{layer:02d}.safetensors")["resid_post"]
        sae = load_from_folder(saes / f"layer_{layer}", "sae", layer, "sae")
        before_gate = resid @ sae.W_enc.numpy() + sae.b_enc.numpy()
        rates = rates_of(whole, saes, layer)
        assert rates.tolist() == (before_gate > sae.threshold.numpy()).mean(axis=0).tolist()
        assert 0 < rates.mean() < 1


def test_a_model_without_saes_is_read_and_names_none(folder, tiny_gemma, tmp_path):
    words = ("run.py", "phase", "1.1", "--model", tiny_gemma, "--text", folder, "--documents", 5, "--threads", 1)
    done = command(*words, "--data-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    [run] = discovery.list_runs(GENERAL_TEXT, tmp_path)
    assert run.experiment.keys() == {"model"} and run.path.name.endswith("Z_tiny-gemma0")
    refused = command(*words, "--sae", tmp_path, "--data-dir", tmp_path)
    assert refused.returncode == 2 and "--sae" in refused.stderr


def without_bos(model: Path) -> Path:
    """The model, whose tokenizer now puts nothing in front."""
    path = model / "tokenizer.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "post_processor": None}))
    return model


def test_a_document_of_one_token_counts_in_no_rate_norm_or_fit(saes, tmp_path):
    """In models without a beginning-of-sequence token it has nothing but an attention sink."""
    for folder, texts in (("longer", TEXTS[:12]), ("with_one", ("a", *TEXTS[:12]))):
        (tmp_path / folder).mkdir()
        for number, text in enumerate(texts):
            (tmp_path / folder / f"{number:03d}.txt").write_text(text)
    model = without_bos(save_tiny_qwen(tmp_path / "model"))
    with_it = run_phase(PHASE, tmp_path / "with", config_of(tmp_path / "with_one", model, documents=13))
    without = run_phase(PHASE, tmp_path / "without", config_of(tmp_path / "longer", model, documents=12))
    assert [row["position"] for row in documents_of(with_it)].count(0) == 1
    norms = [pyarrow.parquet.read_table(run / "resid_norms.parquet")["mean_norm"] for run in (with_it, without)]
    assert norms[0].to_pylist() == pytest.approx(norms[1].to_pylist(), rel=1e-4)
    assert rates_of(with_it, saes, 1).tolist() == rates_of(without, saes, 1).tolist()


def test_text_of_single_tokens_alone_is_refused(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "000.txt").write_text("a")
    with pytest.raises(ConfigError, match=r" 1 documents .*one token\n.*--text"):
        model = without_bos(save_tiny_qwen(tmp_path / "model"))
        run_phase(PHASE, tmp_path / "data", config_of(folder, model, documents=1))


def test_slices_and_a_joining_process_that_computed_nothing_give_the_same_bytes(whole, config, tmp_path):
    for start, end in ((40, 69), (0, 9), (10, 39)):
        run_phase(PHASE, tmp_path, config, start=start, end=end)
    run = discovery.list_runs(GENERAL_TEXT, tmp_path)[0]
    assert run.finished and content(run.path) == content(whole)


def test_a_failed_join_is_made_up_for_without_a_model(whole, config, tmp_path, monkeypatch):
    """A join that failed is made up for by a process without a model."""
    from phase1_dataset_building import general_text as general_text_phase

    with monkeypatch.context() as patched, pytest.raises(RuntimeError):
        patched.setattr(general_text_phase, "conclude", fail)
        run_phase(PHASE, tmp_path, config)
    monkeypatch.setattr("phase1_dataset_building.general_text.load_model", fail)
    assert content(run_phase(PHASE, tmp_path, config)) == content(whole)


def fail(*_arguments, **_options):
    raise RuntimeError("not now")


def test_a_stopped_run_goes_on_to_the_same_bytes(whole, config, tmp_path):
    with pytest.raises(Stopped):
        run_phase(PHASE, tmp_path, config, stop=stop_after(2))
    assert 0 < discovery.n_saved(discovery.list_runs(GENERAL_TEXT, tmp_path)[0].path) < N
    assert content(run_phase(PHASE, tmp_path, config)) == content(whole)


def test_an_edited_text_is_another_and_a_moved_one_the_same(folder, config, tiny_gemma, tmp_path):
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere" / folder.name))
    assert text_identity(str(moved)) == text_identity(str(folder))
    edited = Path(shutil.copytree(folder, tmp_path / folder.name))
    (edited / "003.txt").write_text("something else")
    assert text_identity(str(edited)) != text_identity(str(folder))
    with pytest.raises(Stopped):
        run_phase(PHASE, tmp_path, config, stop=stop_after(1))
    with pytest.raises(ArtifactMismatchError, match="text was small@.*, is small@"):
        run_phase(PHASE, tmp_path, config_of(edited, tiny_gemma))


def test_status_shows_a_phase_that_has_no_dataset(whole):
    [line] = status_lines((GENERAL_TEXT,), whole.parent.parent)
    assert line.state == "built" and line.experiment == "tiny_gemma0" and "documents 70" in line.detail


def test_status_names_the_demo_of_a_phase_without_dataset(tmp_path):
    """Where the demo was begun, status names the demo of a phase without dataset."""
    phase_0 = dataclasses.replace(DIFFICULTY_PHASE, run=write_nothing)
    run_phase(phase_0, tmp_path, DatasetConfig(dataset="organism"), preset="demo")
    *_, line = status_lines((DIFFICULTY, GENERAL_TEXT), tmp_path)
    assert line.state == "missing" and line.command.startswith("python3 run.py phase 1.1 --preset demo --data-dir")


def write_nothing(ctx, _config):
    with ctx.write() as out:
        out.table("difficulty.parquet", [])


def test_blank_documents_are_left_out_and_too_few_refused(folder, tmp_path):
    """Blank documents are left out and too few are an error with their number."""
    assert first_documents(str(folder), N + 1) == tuple(TEXTS)  # the 71 documents there are, without the blank one
    assert first_documents(str(folder), 25) == tuple(TEXTS[:24])
    with pytest.raises(ConfigError, match=r" 71 documents.*--documents is 72\n.*--documents 71\b"):
        first_documents(str(folder), N + 2)
    (tmp_path / "blank.txt").write_text(" \n")
    with pytest.raises(ConfigError, match=r"first 1 documents .*blank\n.*--text"):
        first_documents(str(tmp_path), 1)


@pytest.mark.parametrize("kind", ["nowhere", "empty", "not UTF-8"])
def test_what_is_no_text_is_refused(tmp_path, kind):
    path = tmp_path / "texts"
    if kind != "nowhere":
        path.mkdir()
    if kind == "not UTF-8":
        (path / "a.txt").write_bytes(b"caf\xe9")
    message = {"nowhere": "pile-10k, organism", "empty": "holds no .txt file", "not UTF-8": "a.txt: the byte"}
    with pytest.raises(ConfigError, match=message[kind]):
        load_text(str(path))


def test_the_organism_has_enough_text_of_its_own_for_the_demo():
    documents = load_text("organism").documents
    assert len(documents) == len(ORGANISM_FILE.read_text(encoding="utf-8").splitlines()) == 1476
    assert len(set(documents)) > 1470 and text_identity("organism").startswith("organism@")


def test_pile_10k_is_read_from_the_hub_s_cache(tmp_path):
    texts = [*(f"document {i}" for i in range(5)), ""]
    rows = [{"text": text, "meta": {"pile_set_name": "Pile-CC"}} for text in texts]
    prepare_datasets_cache(tmp_path, "NeelNanda/pile-10k", "default", {"train": rows})
    code = (
        "from common.model.general_text import first_documents, load_text\n"
        "read = first_documents('pile-10k', 6)\nprint(len(read), read[-1], load_text('pile-10k').source)"
    )
    done = offline(tmp_path, code)
    assert done.stdout.startswith("5 document 4 NeelNanda/pile-10k, revision 0123456789"), done.stderr


def test_without_a_network_the_full_preset_says_how_to_get_the_text(tmp_path):
    commit = ("--revision", "a" * 40)  # no hub tells it
    done = command("run.py", "phase", "1.1", "--data-dir", tmp_path / "data", *commit, home=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "pile-10k (NeelNanda/pile-10k)" in done.stderr
    assert "load_dataset('NeelNanda/pile-10k')" in done.stderr and "--preset demo" in done.stderr
