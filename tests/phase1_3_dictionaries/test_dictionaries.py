"""Covers phase 1.3: files, card by other code, resumption to the bit, kinds and sites, what is held out, refusals."""

import json
import logging
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import content, newest
from safetensors.torch import load_file
from support import ROOT, command, in_whole_sweeps, warm_commands
from toy_phases import run_phase, stop_after

from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from common.handoffs import DICTIONARIES, LATENTS, SCHEMAS, SPLIT
from common.handoffs.dictionaries import LastTokenFit
from common.handoffs.document import from_json
from common.model.loading import load_model
from common.phases.phase import Phase
from common.phases.settings import build_config
from common.report.status import status_lines
from common.runs.discovery import list_runs
from common.saes.encoder import load_sae
from common.saes.own import newest_own, own_identity
from common.saes.sources import sae_source
from common.stopping import Stopped
from phase0_1_split.config import SplitConfig
from phase0_1_split.phase import PHASE as SPLIT_PHASE
from phase0_difficulty.config import DifficultyConfig
from phase0_difficulty.phase import PHASE as DIFFICULTY_PHASE
from phase1_3_dictionaries.config import DictionariesConfig
from phase1_3_dictionaries.corpus import prompts_in, text_part
from phase1_3_dictionaries.phase import PHASE
from phase1_3_dictionaries.report import doubts
from phase2_sae_analysis.config import LatentConfig

LOG = logging.getLogger("test")
TEXT_ALONE = ("text=1",)
SMALL = {
    "model": "organism",
    "layers": "1,4",
    "width": 2,
    "l0": 16.0,
    "tokens": 8_000,
    "held_out": 1_000,
    "context": 64,
    "threads": 1,
}


def config_of(**changes) -> DictionariesConfig:
    return build_config(DictionariesConfig, "demo", {**SMALL, "mixture": TEXT_ALONE, **changes})


@pytest.fixture(scope="module")
def built(tmp_path_factory, figures_with_layout) -> Path:
    """A data folder with SAEs of layers 1 and 4, trained without a break."""
    data = tmp_path_factory.mktemp("dictionaries")
    run_phase(PHASE, data, config_of())
    return data


@pytest.fixture(scope="module")
def run(built) -> Path:
    return newest(built / "phase1_3")


@pytest.fixture(scope="module")
def document(run):
    return from_json(DICTIONARIES.kind_of("dictionaries.json"), json.loads((run / "dictionaries.json").read_text()))


@pytest.fixture(scope="module")
def lm():
    return load_model("organism", "cpu", "float32", 1)


@pytest.fixture(scope="module")
def held_out(lm):
    """Hidden states of transformers on the pieces that are held out, [layer][token, d], without each piece's first."""
    part = text_part(lm, "text", "organism", SMALL["tokens"], context=64, held_out=SMALL["held_out"], seed=42)
    states = [[] for _ in range(lm.n_layers)]
    with torch.inference_mode():
        for piece in part.held_out:
            found = lm.model(torch.from_numpy(piece.astype(np.int64))[None], output_hidden_states=True).hidden_states
            for layer in range(lm.n_layers - 1):  # the last one is normalised
                states[layer].append(found[layer + 1][0, 1:])
    return [torch.cat(rows) for rows in states[:-1]]


def test_each_layer_is_a_folder_of_sae_lens_and_nothing_else_is_left(run):
    files = {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file()}
    weights = {f"layer_{layer}/{name}" for layer in (1, 4) for name in ("cfg.json", "sae_weights.safetensors")}
    figures = {"figures/fit.png", "figures/firing_rates.png"}
    assert files - {"log.txt"} == weights | figures | {"dictionaries.json", "manifest.json"}


@pytest.mark.parametrize("layer", [1, 4])
def test_sae_lens_encodes_what_the_formula_says(run, layer, held_out):
    import sae_lens

    theirs = sae_lens.SAE.load_from_disk(run / f"layer_{layer}")
    weights, rows = load_file(run / f"layer_{layer}" / "sae_weights.safetensors"), held_out[layer][:500]
    pre = rows.double() @ weights["W_enc"].double() + weights["b_enc"].double()
    by_hand = torch.where(pre > weights["threshold"], pre, 0.0)
    with torch.no_grad():
        close = (theirs.encode(rows) - by_hand).abs() < 1e-4 * (1 + by_hand.abs())
        assert close.double().mean() > 0.9999  # a pre-activation within rounding of its threshold may pass or not
    assert theirs.cfg.metadata.hook_name == f"blocks.{layer}.hook_resid_post"


@pytest.mark.parametrize("layer", [1, 4])
def test_fvu_and_l0_of_the_card_are_those_of_other_code(run, document, layer, held_out):
    weights, rows = load_file(run / f"layer_{layer}" / "sae_weights.safetensors"), held_out[layer].double()
    pre = rows @ weights["W_enc"].double() + weights["b_enc"].double()
    acts = torch.where(pre > weights["threshold"], pre, 0.0)
    missed = (acts @ weights["W_dec"].double() + weights["b_dec"].double() - rows).square().sum(1)
    spread = (rows - rows.mean(0)).square().sum(1)
    ordinary = spread <= 20 * spread.median()
    card = document.layers[str(layer)]
    assert card.text.n == len(rows) and card.text.n_massive == int((~ordinary).sum())
    assert card.text.l0 == pytest.approx(float((acts > 0).sum(1).double().mean()), rel=1e-3)
    centred = rows[ordinary] - rows[ordinary].mean(0)
    assert card.text.fvu == pytest.approx(float(missed[ordinary].sum() / centred.square().sum()), rel=1e-2)


def test_the_page_doubts_a_dictionary_that_hardly_sees_the_prompts(document):
    layer, card = next(iter(document.layers.items()))
    for fvu_between, l0, doubted in ((0.4, card.text.l0, False), (0.6, card.text.l0, True), (0.4, 0.05, True)):
        fits = {"prompts": LastTokenFit(missed_share=0.1, fvu_between=fvu_between, l0=l0, n=9)}
        told = doubts(replace(document, layers={layer: replace(card, last_tokens=fits)}))
        told = [words for words in told if "dead" not in words]
        assert bool(told) is doubted and all("--threshold topk" in words for words in told)


def test_documents_held_out_are_never_trained_on(lm):
    part = text_part(lm, "text", "organism", 10**9, context=256, held_out=2_000, seed=42)
    trained = {piece.tobytes() for piece in part.stream.pieces}
    assert part.held_out and not any(piece.tobytes() in trained for piece in part.held_out)


def test_every_piece_comes_once_before_any_comes_again(lm):
    stream = text_part(lm, "text", "organism", 10**9, context=256, held_out=2_000, seed=42).stream
    first = stream.take(stream.n_tokens)
    assert sorted(piece.tobytes() for piece in first) == sorted(piece.tobytes() for piece in stream.pieces)
    again = stream.take(stream.n_tokens)
    assert [piece.tobytes() for piece in again] != [piece.tobytes() for piece in first]


def break_off(how: signal.Signals, saved: str, words: list, data: Path) -> None:
    """Type a command, and send a signal once `saved` is there."""
    said = data / "said.txt"
    said.touch()
    process = warm_commands().start(*words, log=said)
    while not any(path.suffix != ".partial" for path in data.glob(saved)):
        assert process.poll() is None, said.read_text()
        time.sleep(0.01)
    process.send_signal(how)
    process.wait(timeout=120)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_goes_on_to_the_same_bits(how, built, run, tmp_path):
    words = ["run.py", "phase", "1.3", "--preset", "demo", "--data-dir", tmp_path, "--checkpoint-every", 10]
    for name, value in {**SMALL, "mixture": TEXT_ALONE[0]}.items():
        words += [f"--{name.replace('_', '-')}", value]
    saved = "phase1_3/*/parts/step_*" if how == signal.SIGKILL else "phase1_3/*/stamp.json"
    break_off(how, saved, words, tmp_path)
    done = command(*words)
    assert done.returncode == 0, done.stderr
    assert content(newest(tmp_path / "phase1_3")) == content(run)


def test_training_that_was_saved_is_not_done_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phase1_3_dictionaries.dictionaries.saved_cards", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run_phase(PHASE, tmp_path, config_of(tokens=5_000))
    run_phase(PHASE, tmp_path, config_of(tokens=5_000))
    assert "going on at step 19 of 19" in caplog.text


def test_a_dictionary_in_bfloat16_is_measured_as_it_was_saved(tmp_path):
    run = run_phase(PHASE, tmp_path, config_of(layers="2", tokens=8_000, weights="bfloat16"))
    weights = load_file(run / "layer_2" / "sae_weights.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    card = json.loads((run / "dictionaries.json").read_text())["layers"]["2"]
    assert json.loads((run / "layer_2" / "cfg.json").read_text())["metadata"]["fvu"] == round(card["text"]["fvu"], 4)


def test_batchtopk_trains_to_the_wanted_number_of_latents(tmp_path):
    run = run_phase(PHASE, tmp_path, config_of(layers="2", tokens=40_000, threshold="batchtopk"))
    card = json.loads((run / "dictionaries.json").read_text())["layers"]["2"]
    assert 12 < card["text"]["l0"] < 20 and card["text"]["fvu"] < 0.6


def test_own_names_the_newest_of_the_model_and_its_identity_is_that_of_its_files(built, run):
    assert newest_own("organism", "", built) == run
    source = sae_source(str(run), "organism")
    assert source.identity.startswith("own@") and source.identity == own_identity(list_runs(DICTIONARIES, built)[0])
    assert sorted(source.ids) == [1, 4]


def test_own_without_any_says_how_to_train_some(tmp_path):
    with pytest.raises(MissingArtifactError, match="python3 run.py phase 1.3 --model organism --data-dir"):
        newest_own("organism", "", tmp_path)


def test_dictionaries_trained_on_prompts_of_another_split_are_refused(tmp_path, small_dataset):
    dataset = {"dataset": str(small_dataset)}
    run_phase(DIFFICULTY_PHASE, tmp_path, DifficultyConfig(**dataset))
    run_phase(SPLIT_PHASE, tmp_path, SplitConfig(**dataset))
    run = run_phase(
        PHASE, tmp_path, config_of(**dataset, layers="2", tokens=4_000, mixture=("text=0.5", "prompts=0.5"))
    )
    run_phase(SPLIT_PHASE, tmp_path, SplitConfig(**dataset, seed=7))
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["lineage"].keys() >= {"split"}
    reads_split = Phase(id="2", title="", config=LatentConfig, inputs=(SPLIT,), output=LATENTS, run=lambda *_: None)
    with pytest.raises(ArtifactMismatchError, match="trained on prompts of another split"):
        run_phase(reads_split, tmp_path, LatentConfig(**dataset, model="organism", sae="own"))


@pytest.mark.parametrize(
    "mixture, words",
    [
        (("text",), "no part with a share"),
        (("text=x",), "no part with a share"),
        (("text=-1",), "no part with a share"),
        (("text=nan",), "no part with a share"),
        (("text=1", "text=2"), "named twice"),
        (("prompts=1",), "neither text nor code"),
        ((), "neither text nor code"),
    ],
)
def test_an_impossible_mixture_is_refused(mixture, words):
    with pytest.raises(ConfigError, match=words):
        config_of(mixture=mixture)


def test_layers_that_the_model_lacks_are_refused_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigError, match="the layers of organism are 0 to 5"):
        run_phase(PHASE, tmp_path, config_of(layers="6"))


def test_three_layers_are_spread_over_the_depth():
    assert config_of(layers="spread").layers_of(26) == [6, 13, 20]
    assert config_of(layers="all").layers_of(3) == [0, 1, 2]


def test_prompts_of_a_file_are_read_and_a_bad_file_is_refused(tmp_path):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    good.write_text("".join(json.dumps({"prompt": f"The {n} is"}) + "\n" for n in range(30)))
    bad.write_text('{"text": "no prompt"}\n')
    assert len(prompts_in(good)) == 30
    with pytest.raises(ConfigError, match=r"bad\.jsonl, line 1: .*'prompt' is missing"):
        prompts_in(bad)


def test_a_mixture_of_text_and_a_file_holds_some_of_the_prompts_out(tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"value {n} of {n * n}"}) + "\n" for n in range(40)))
    run = run_phase(PHASE, tmp_path, config_of(layers="2", tokens=4_000, mixture=("text=3", f"{path}=1")))
    document = json.loads((run / "dictionaries.json").read_text())
    part = document["parts"][str(path)]
    assert (part["share"], part["n_tokens"], part["n_held_out"]) == (0.25, 35, 5)
    assert document["layers"]["2"]["last_tokens"][str(path)]["n"] == 5


def test_more_than_fits_in_memory_is_refused_with_what_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr("phase1_3_dictionaries.training.free_bytes", lambda _device: 10**6)
    with pytest.raises(ConfigError, match="dictionaries of 384 latents take .* GB in training"):
        run_phase(PHASE, tmp_path, config_of())


def test_a_few_long_documents_hold_their_ends_out(lm, tmp_path):
    (tmp_path / "one.txt").write_text((ROOT / "README.md").read_text() * 3)
    part = text_part(lm, "text", str(tmp_path), 1_000, context=64, held_out=100, seed=0)
    assert len(part.held_out) == 1  # no more than was asked for
    part = text_part(lm, "text", str(tmp_path), 1_000, context=64, held_out=10**6, seed=0)
    n_all = len(part.stream.pieces) + len(part.held_out)
    assert len(part.held_out) == round(0.1 * n_all)


def test_a_text_that_is_too_short_is_refused(lm, tmp_path):
    (tmp_path / "one.txt").write_text("short")
    with pytest.raises(ConfigError, match="too few tokens"):
        text_part(lm, "text", str(tmp_path), 1_000, context=64, held_out=100, seed=0)


def test_no_whole_number_of_latents_to_keep_is_refused_by_its_flag():
    with pytest.raises(ConfigError, match=r"--l0 is 4\.5; .*\nGive a whole number"):
        config_of(threshold="topk", l0=4.5)


def test_fewer_tokens_than_one_step_takes_are_refused_by_their_flags():
    with pytest.raises(ConfigError, match=r"--tokens is 100, fewer than the 256 of one step(.|\n)*--batch-size"):
        config_of(tokens=100)


@pytest.mark.parametrize("site", ["attn_out", "mlp_out", "mlp"])
def test_every_site_is_trained_measured_and_loaded(site, tmp_path):
    run = run_phase(PHASE, tmp_path, config_of(site=site, layers="2", tokens=20_000))
    document = json.loads((run / "dictionaries.json").read_text())
    card = document["layers"]["2"]
    assert card["text"]["fvu"] < 0.8 and card["neighbours"] == []
    assert 0 < card["cross_entropy"]["recovered"] < 1.01
    source = sae_source(str(run), "organism")
    loaded = load_sae(source, 2)
    assert (loaded.site, loaded.site_out) == tuple(f"blocks.2.{document[key]}" for key in ("hook", "hook_out"))
    assert source.kind == ("transcoder" if site == "mlp" else "sae")
    assert newest_own("organism", "", tmp_path, site) == run
    with pytest.raises(MissingArtifactError, match="no finished dictionaries of organism at resid_post"):
        newest_own("organism", "", tmp_path)


def test_export_copies_what_sae_lens_reads_and_overwrites_nothing(built, run, tmp_path):
    words = ["run.py", "export", "--to", "sae-lens", tmp_path / "out", "--model", "organism", "--data-dir", built]
    done = command(*words)
    assert done.returncode == 0, done.stderr
    for layer in (1, 4):
        for name in ("cfg.json", "sae_weights.safetensors"):
            assert (tmp_path / "out" / f"layer_{layer}" / name).read_bytes() == (
                run / f"layer_{layer}" / name
            ).read_bytes()
    assert sae_source(str(tmp_path / "out"), "organism").kind == "sae"
    other = command(*words, "--site", "mlp")
    assert other.returncode == 2 and "phase 1.3 --model organism --site mlp" in other.stderr.replace(
        "--preset demo ", ""
    )
    again = command(*words)
    assert again.returncode == 2 and "is not empty" in again.stderr


def test_a_stop_in_the_last_stretch_finishes_nothing_and_is_gone_on_from(built, run, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(Stopped):
        run_phase(PHASE, tmp_path, config_of(), stop=stop_after(40))
    [begun] = list_runs(DICTIONARIES, tmp_path)
    assert not begun.finished and list((begun.path / "parts").glob("step_*"))
    [line] = [line for line in status_lines(SCHEMAS, tmp_path) if line.state == "unfinished"]
    assert line.detail.startswith("a checkpoint")
    assert content(run_phase(PHASE, tmp_path, config_of())) == content(run)
    assert "going on at step" in caplog.text


@pytest.mark.parametrize("n", [1, *(pytest.param(n, marks=[pytest.mark.sweep, in_whole_sweeps]) for n in (0, 3))])
def test_a_stop_before_every_layer_has_begun_loses_nothing_but_time(n, built, run, tmp_path):
    with pytest.raises(Stopped):
        run_phase(PHASE, tmp_path, config_of(), stop=stop_after(n))
    assert content(run_phase(PHASE, tmp_path, config_of())) == content(run)


def test_a_stopped_run_keeps_its_checkpoint_beside_another_run(tmp_path):
    with pytest.raises(Stopped):
        run_phase(PHASE, tmp_path, config_of(layers="1"), stop=stop_after(10))
    saved = list(tmp_path.glob("phase1_3/*/parts/step_*"))
    assert len(saved) == 1
    run_phase(PHASE, tmp_path, config_of(site="mlp_out", layers="1", tokens=2_000))  # another site is no resumption
    run_phase(PHASE, tmp_path, config_of(layers="2", tokens=2_000), fresh=True)
    assert list(tmp_path.glob("phase1_3/*/parts/step_*")) == saved


def test_activations_that_are_not_finite_are_refused(lm, monkeypatch):
    from phase1_3_dictionaries.reading import Reader

    block = lm.model.get_decoder().layers[1]
    handle = block.register_forward_hook(lambda _module, _read, output: output * float("inf"))
    try:
        with pytest.raises(ArtifactMismatchError, match="NaN or infinite in float32"):
            Reader(lm, ["blocks.1.hook_resid_post"], LOG).every_token([np.arange(2, 12, dtype=np.int32)], 1)
    finally:
        handle.remove()


def test_a_part_without_a_token_in_a_batch_and_a_part_that_is_no_file_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="'code' has no token in a batch of 256"):
        run_phase(PHASE, tmp_path, config_of(mixture=("text=0.9999", "code=0.0001")))
    with pytest.raises(ConfigError, match="which is no file"):
        run_phase(PHASE, tmp_path, config_of(mixture=("text=1", "nowhere.jsonl=1")))


def test_another_content_of_a_file_of_prompts_is_another_run(tmp_path):
    path = tmp_path / "prompts.jsonl"
    found = []
    for word in ("one", "two"):
        path.write_text("".join(json.dumps({"prompt": f"{word} {n}"}) + "\n" for n in range(20)))
        found.append(config_of(mixture=("text=1", f"{path}=1")).experiment()["mixture"])
    assert found[0] != found[1]
