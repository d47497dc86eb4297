"""Covers phase 6.5 on disk: which nodes it tells of, what its files say, that stopped and sliced runs end alike."""

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from error_pairs import CODE_START, CONTRAST, N_TOKENS, OTHER, made_gate, made_nulls, made_pairs, write_runs
from runs import content
from saved_saes import saved
from tiny_models import save_tiny_llama
from toy_phases import run_phase, stop_after
from transformers import AutoModelForCausalLM

from common import handoffs
from common.errors import ConfigError, MissingArtifactError
from common.handoffs.error_gate import GateVerdict
from common.handoffs.error_latent_circuits import ErrorLatentCircuit
from common.handoffs.error_nodes import ErrorNodesDocument, LatentNode, NodeSource
from common.runs.artifacts import Artifact
from common.runs.discovery import list_runs, read_run
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from common.stopping import Stopped
from phase6_error_circuits.attribution.config import ErrorAttributionConfig
from phase6_error_circuits.attribution.phase import PHASE as ATTRIBUTION
from phase6_error_circuits.nodes.config import ErrorNodesConfig
from phase6_error_circuits.nodes.phase import PHASE
from phase6_error_circuits.nodes.told import source_of

N_LAYERS, D_MODEL, N_NODES = 3, 64, 14
Made = tuple[Path, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Made:
    """A small model, and dictionaries of two of its layers."""
    folder = tmp_path_factory.mktemp("model")
    for layer in (0, 2):
        metadata = {"hook_name": f"blocks.{layer}.hook_resid_post"}
        saved(folder / "saes", layer=layer, d_in=D_MODEL, metadata=metadata)
    return save_tiny_llama(folder / "llama"), folder / "saes"


def settings(made: Made) -> dict:
    return {"model": str(made[0]), "sae": str(made[1]), "threads": 1, "dtype": "float32", "n_resamples": 1000}


def inputs(data: Path, made: Made, second: GateVerdict = GateVerdict.STOP) -> Path:
    """Phases 6.1 to 6.3 of two contrasts; of the second one another template is read, of the first a longer shape."""
    pairs = made_pairs(12)
    others = [
        replace(pair, contrast=OTHER, clean_error="TypeError", corrupted_error="NameError")
        for pair in made_pairs(20)[12:]
    ]
    every = [*pairs, *made_nulls(pairs), *made_pairs(6, shape=1, n_tokens=N_TOKENS + 1), *others]
    write_runs(data, made[0], every, made_gate({CONTRAST: GateVerdict.PASS, OTHER: second}, CONTRAST))
    run_phase(ATTRIBUTION, data, ErrorAttributionConfig(**settings(made), contrasts=(CONTRAST,), n_exact=2, n_points=3))
    return data


def config(made: Made, **given) -> ErrorNodesConfig:
    return ErrorNodesConfig(**{**settings(made), "n_nodes": N_NODES, "n_points": 3, "n_snippets": 2, **given})


def read(path: Path) -> Artifact:
    run = read_run(path, handoffs.ERROR_NODES)
    assert run is not None
    return Artifact(handoffs.ERROR_NODES, run, "")


@pytest.fixture(scope="module")
def data(tmp_path_factory, made) -> Path:
    return inputs(tmp_path_factory.mktemp("data"), made)


@pytest.fixture(scope="module")
def whole(data, made) -> Path:
    return run_phase(PHASE, data, config(made))


def test_without_a_circuit_the_strongest_nodes_of_the_attribution_are_told_of(whole, data):
    document: ErrorNodesDocument = read(whole).document()
    [one] = document.contrasts
    attribution = Artifact(handoffs.ERROR_ATTRIBUTION, list_runs(handoffs.ERROR_ATTRIBUTION, data)[0], "")
    rows = [row for row in attribution.table("nodes.parquet") if row["shape"] == 0]
    rows.sort(key=lambda row: -abs(row["ig"]))
    assert one.source is NodeSource.NOT_RUN and one.of == len(rows)
    assert [(node.layer, node.position, node.effect) for node in one.nodes] == [
        (row["layer"], row["position"], row["ig"]) for row in rows[:N_NODES]
    ]
    kinds = [row["kind"] == "latent" for row in rows[:N_NODES]]
    assert [isinstance(node.what, LatentNode) for node in one.nodes] == kinds and {*kinds} == {True, False}


def test_where_phase_6_4_was_not_run_the_log_says_what_to_type(data, made, caplog):
    caplog.set_level(logging.INFO, logger="test")
    run_phase(PHASE, data, config(made, n_shapes=1, n_examples=1))
    assert "since phase 6.4 was not run on this contrast" in caplog.text
    assert f"python3 run.py phase 6.4 --contrasts {CONTRAST}" in caplog.text


@pytest.mark.parametrize(
    "enough, wanted",
    [
        (None, (NodeSource.NOT_RUN, 90)),
        ([("positive", None), ("absolute", 7)], (NodeSource.STRONGEST, 90)),
        ([("absolute", 7), ("positive", 12)], (NodeSource.CIRCUIT, 12)),
    ],
)
def test_a_phase_6_4_that_was_not_run_is_told_from_one_that_found_no_circuit(enough, wanted):
    circuit = enough and SimpleNamespace(enough=[SimpleNamespace(ranking=name, size=size) for name, size in enough])
    assert source_of(cast(ErrorLatentCircuit | None, circuit), 90) == wanted


def test_effects_on_the_shape_where_they_were_found_are_those_of_phase_6_3(whole, data):
    """In every layer, also where 6.3 took more points than this phase is told to until the nodes added up."""
    attribution = Artifact(handoffs.ERROR_ATTRIBUTION, list_runs(handoffs.ERROR_ATTRIBUTION, data)[0], "")
    measured = attribution.document().shapes[0]
    assert {3} < {layer.n_points for layer in measured.layers}
    told, [group, *_] = read(whole).document().contrasts[0], read(whole).table("groups.parquet")
    effects = json.loads(group["result"])["effects"]
    assert effects["whole"] == pytest.approx(measured.effect.known, rel=1e-4) and told.effect == measured.effect.known
    rows = {
        (row["layer"], row["position"], row["latent"]): row["ig"]
        for row in attribution.table("nodes.parquet")
        if row["shape"] == 0
    }
    latents = [node.what.latent if isinstance(node.what, LatentNode) else -1 for node in told.nodes]
    found = [rows[node.layer, node.position, latent] for node, latent in zip(told.nodes, latents, strict=True)]
    assert {node.layer for node in told.nodes} == {0, 2}
    assert effects["at_place"] == pytest.approx(found, rel=1e-4, abs=1e-6)


def test_activations_in_the_tables_are_those_of_the_model(whole, made):
    rows = read(whole).table("snippets.parquet")
    source = sae_source(str(made[1]), str(made[0]))
    saes = {layer: load_sae(source, layer) for layer in (0, 2)}
    model = AutoModelForCausalLM.from_pretrained(made[0]).eval()
    pairs = {pair.pair: pair for pair in made_pairs(12)}
    tried = 0
    for row in rows:
        pair = pairs.get(row["pair"])
        if row["layer"] == 0 and row["shape"] == 0 and row["contrast"] == CONTRAST and pair is not None:
            ids = pair.clean_ids if row["arm"] == "clean" else pair.corrupted_ids
            with torch.no_grad():
                stream = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]
            acts = saes[0].encode(stream)[CODE_START:, row["latent"]]
            assert row["activations"] == pytest.approx(acts.tolist(), abs=1e-4)
            assert row["peak"] == max(row["activations"]) and len(row["tokens"]) == N_TOKENS - CODE_START
            assert row["position"] == -1 or row["activations"][row["position"] - row["first"]] == row["peak"]
            tried += 1
    assert tried > 4


def test_every_latent_has_pairs_and_programs_of_both_splits(whole):
    made, document = read(whole), read(whole).document()
    rows = made.table("snippets.parquet")
    for latent in document.latents:
        own = [row for row in rows if (row["layer"], row["latent"]) == (latent.layer, latent.latent)]
        pairs = [(row["split"], row["rank"], row["arm"]) for row in own if row["what"] == "pair"]
        assert pairs == [(s, k, arm) for s in ("select", "report") for k in (0, 1) for arm in ("clean", "corrupted")]
        for split in ("select", "report"):
            peaks = [row["peak"] for row in own if (row["what"], row["split"]) == ("top", split)]
            assert peaks == sorted(peaks, reverse=True) and len(peaks) <= 2
        largest = max((row["peak"] for row in own if row["what"] == "top"), default=0)
        assert largest == pytest.approx(latent.largest)


def test_means_by_error_are_those_of_the_table(whole):
    made, document = read(whole), read(whole).document()
    rows = made.table("activations.parquet")
    for latent in document.latents:
        own = [row for row in rows if (row["layer"], row["latent"]) == (latent.layer, latent.latent)]
        assert (
            sum(row["n"] for row in own) == latent.n == document.n and sum(row["fires"] for row in own) == latent.fires
        )
        for error, kind in latent.kinds.items():
            of = [row for row in own if row["error"] == error]
            assert kind.n == sum(row["n"] for row in of)
            assert kind.mean == pytest.approx(sum(row["mean"] * row["n"] for row in of) / kind.n)


def test_a_contrast_that_the_gate_stops_is_read_and_has_no_effect(whole):
    for latent in read(whole).document().latents:
        by_contrast = {one.contrast: one for one in latent.templates}
        assert by_contrast[OTHER].effect is None and by_contrast[CONTRAST].effect is not None
        assert latent.kinds["NameError"].added is None and latent.kinds["IndexError"].added is not None
        both = [latent.kinds[error].added for error in ("IndexError", "KeyError")]
        assert sum(both) == pytest.approx(by_contrast[CONTRAST].effect)


def test_a_latent_whose_effect_was_measured_on_one_template_has_no_spread(whole):
    """Of the two templates that are read the gate stops one."""
    assert [latent.spread for latent in read(whole).document().latents] == [None] * len(read(whole).document().latents)


def test_a_run_that_was_stopped_ends_as_one_that_was_not(whole, data, made, tmp_path):
    own = inputs(tmp_path, made)
    with pytest.raises(Stopped):
        run_phase(PHASE, own, config(made), stop=stop_after(1))
    assert content(run_phase(PHASE, own, config(made))) == content(whole)


def test_slices_end_as_one_run(whole, made, tmp_path):
    own = inputs(tmp_path, made)
    run_phase(PHASE, own, config(made), start=1)
    assert content(run_phase(PHASE, own, config(made), start=0, end=0)) == content(whole)


def test_one_shape_of_each_template_may_be_enough(data, made):
    made_of_one = read(run_phase(PHASE, data, config(made, n_shapes=1)))
    found = made_of_one.table("groups.parquet")
    assert [(row["contrast"], row["shape"]) for row in found] == [(CONTRAST, 0), (OTHER, 0)]
    [told] = made_of_one.document().contrasts
    shares = [node.effect / told.effect for node in told.nodes]
    assert [node.share for node in told.nodes] == pytest.approx(shares)
    assert [node.templates["bracket"] for node in told.nodes] == pytest.approx(shares, rel=1e-4, abs=1e-6)


def test_only_dictionaries_of_layers_that_have_a_node_are_loaded(data, made, monkeypatch):
    loaded = []

    def noted(source, layer):
        loaded.append(layer)
        return load_sae(source, layer)

    monkeypatch.setattr("phase6_error_circuits.latents.dictionaries.load_sae", noted)
    [told] = read(run_phase(PHASE, data, config(made, n_shapes=1, n_nodes=1))).document().contrasts
    assert loaded == [told.nodes[0].layer]


def test_a_contrast_that_was_not_attributed_is_refused_with_what_to_type(tmp_path, made):
    data = inputs(tmp_path, made, GateVerdict.PASS)
    with pytest.raises(MissingArtifactError, match=f"no finished error_attribution of .* {OTHER}") as refused:
        run_phase(PHASE, data, config(made, contrasts=(OTHER,)))
    assert re.search(f"python3 run.py phase 6.3 .*--contrasts {OTHER}", str(refused.value))


def test_an_unknown_contrast_is_refused_by_the_gates_own_words(data, made):
    with pytest.raises(ConfigError, match="which phase 6.1b does not know"):
        run_phase(PHASE, data, config(made, contrasts=("TypeError/NameEror",)))
