"""Covers phase 3.4 end to end on a tiny model: its tables, numbers, words and figures, and what cannot be steered."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from documents import made
from selected_latents import NORMS, SmallExperiment, json_of
from toy_phases import run_phase

from common.evaluation.bootstrap import draws_of_problems
from common.handoffs.changes import AttentionDocument
from common.handoffs.document import as_json, from_json
from common.handoffs.steering import RANDOM_DIRECTION, CoefficientsDocument
from common.interventions.conditions import UNSTEERED, Condition, steered
from common.interventions.steered_generation import SteeringVector
from common.model.loading import load_model
from common.model.sites import resid_site
from common.problems.prompt import build_prompt
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase3_validation.attention import figures, words
from phase3_validation.attention.config import AttentionConfig
from phase3_validation.attention.phase import PHASE
from phase3_validation.attention.reading import read_attention
from phase3_validation.attention.results import Measured, moved_by
from phase3_validation.attention.sections import SECTIONS, section_words

PLAIN = ("first_token", "description", "tests", "marker")  # the sections of a prompt that is no chat


@pytest.fixture
def experiment(small_experiment, tmp_path) -> SmallExperiment:
    shutil.copytree(small_experiment.data, tmp_path / "data")
    return SmallExperiment(tmp_path / "data", *(getattr(small_experiment, n) for n in ("dataset", "model", "sae")))


def config_of(experiment: SmallExperiment, **changes) -> AttentionConfig:
    settings = {"batch_size": 3, "threads": 1, "n_random": 3, "n_resamples": 1000}
    return AttentionConfig(**experiment.words, **{**settings, **changes})


@pytest.fixture(scope="module")
def whole(small_experiment, tmp_path_factory) -> tuple[SmallExperiment, Path]:
    data = tmp_path_factory.mktemp("whole") / "data"
    shutil.copytree(small_experiment.data, data)
    words = {name: getattr(small_experiment, name) for name in ("dataset", "model", "sae")}
    experiment = SmallExperiment(data, **words)
    experiment.choose({"steer_correct": (2, 0.5), "steer_incorrect": (1, -0.25), "predict_correct": None})
    return experiment, run_phase(PHASE, data, config_of(experiment))


def arrays_of(run: Path) -> Callable[[str], np.ndarray]:
    """Attention [problems, layers, heads, sections] of a direction, from attention.parquet."""
    table = pyarrow.parquet.read_table(run / "attention.parquet").to_pandas()

    def array(direction: str) -> np.ndarray:
        own = table[table["direction"] == direction]
        shape = [own[name].nunique() for name in ("task_id", "layer", "head", "section")]
        assert len(own) == np.prod(shape) and list(dict.fromkeys(own["section"])) == list(PLAIN)
        return own["attention"].to_numpy().reshape(shape)

    return array


def test_the_numbers_of_the_phase_follow_from_its_tables(whole):
    result, array = json_of(whole[1], "attention.json"), arrays_of(whole[1])
    before = array("none")
    assert before.shape[1] == 3 and np.abs(before.sum(-1) - 1).max() < 1e-6  # blocks 1 to 3
    for name, layer in (("steer_correct", 2), ("steer_incorrect", 1)):
        entry, own = result["directions"][name], before[:, layer - 1 :]
        change = array(name) - own
        means = change.mean(axis=0).ravel()
        assert [move["change"]["value"] for move in entry["moves"]] == pytest.approx(means, abs=1e-9)
        assert (change[:, 0] == 0).all() and np.abs(change[:, 1:]).max() > 1e-3  # its own block has looked already
        assert entry["first_layer_reached"] == layer + 1 and entry["layer"] == layer
        draws = np.random.default_rng(42).multinomial(len(own), np.full(len(own), 1 / len(own)), size=1000)
        pooled = change[:, 1:].mean(axis=(1, 2)) @ np.eye(4)
        for move, values in zip(entry["overall"], pooled.T, strict=True):
            low, high = np.quantile(draws @ values / len(values), [0.025, 0.975])
            assert list(move["change"].values()) == pytest.approx([values.mean(), low, high], abs=1e-9)
        controls = pyarrow.parquet.read_table(whole[1] / "controls.parquet").to_pandas()
        means = controls[controls["direction"] == name].groupby("control_index")["displaced"].mean()
        assert entry["random_directions"]["displaced"] == pytest.approx(means.tolist(), abs=1e-7)
        shares = np.abs(change[:, 1:]).sum(-1).mean(axis=(1, 2)) / 2
        assert entry["displaced"]["value"] == pytest.approx(shares.mean(), abs=1e-7)
        assert entry["random_directions"]["n_as_much"] == (means >= shares.mean()).sum()
        heads = pyarrow.parquet.read_table(whole[1] / "head_controls.parquet").to_pandas()
        by_random = heads[heads["direction"] == name]
        assert len(by_random) == 3 * len(entry["moves"])
        for move in entry["moves"]:
            there = (by_random[key] == move[key] for key in ("layer", "head", "section"))
            others = by_random[np.logical_and.reduce(list(there))]["change"].abs()
            rank = 1 + int((others >= abs(move["change"]["value"])).sum())
            assert move["rank"] == (rank if move["layer"] > layer else None)


def test_what_is_added_is_coefficient_times_mean_norm_times_the_unit_decoder_row(whole):
    experiment, run = whole
    row = load_sae(sae_source(str(experiment.sae), str(experiment.model)), 2).W_dec[8]
    steering = SteeringVector(resid_site(2, "resid_post"), 0.5 * (NORMS["resid_post"] + 2) * row / row.norm())
    split = next(experiment.data.glob("phase0_1/*/validation_small.parquet"))
    problems = pyarrow.parquet.read_table(split).to_pylist()
    made = [build_prompt(problem["text"], problem["test_list"]) for problem in problems]
    lm = load_model(str(experiment.model), "cpu", threads=1)
    expected = read_attention(lm, made, [steering], [2, 3])[0][..., [SECTIONS.index(name) for name in PLAIN]]
    assert arrays_of(run)("steer_correct") == pytest.approx(expected, abs=1e-5)
    assert json_of(run, "attention.json")["directions"]["steer_correct"]["norm"] == NORMS["resid_post"] + 2


def test_a_direction_that_cannot_be_steered_is_there_with_the_reason(whole):
    result = json_of(whole[1], "attention.json")
    assert result["directions"]["predict_correct"]["why"] == "the tests say so"
    assert "predict_correct was not steered: the tests say so." in result["sentences"]
    assert json_of(whole[1], "manifest.json")["summary"]["predict_correct"] == "not steered"


def test_sentences_and_tables_say_the_numbers_and_that_attention_only_suggests(whole):
    result = json_of(whole[1], "attention.json")
    document = from_json(AttentionDocument, result)
    assert result["sentences"] == words.sentences(document)
    assert result["tables"] == as_json(words.tables(document))
    assert result["sentences"][-1] == words.ONLY_SUGGESTS and "phase 3.7" in words.ONLY_SUGGESTS
    for table in result["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    assert {"figures/by_layer.svg", "figures/by_head.svg"} <= json_of(whole[1], "manifest.json")["files"].keys()


def test_the_first_token_is_called_bos_where_it_is_one(whole):
    result = json_of(whole[1], "attention.json")
    assert result["sections"] == list(PLAIN) and result["section_words"]["first_token"] == "BOS"
    assert result["tables"][0]["rows"][0][0] == "BOS" and result["layers_without_attention"] == []
    without = from_json(AttentionDocument, {**result, "section_words": section_words(has_bos=False)})
    assert words.tables(without)[0].rows[0][0] == "first token (attention sink)"


@pytest.mark.parametrize(("layer", "reached"), [(0, [1, 3]), (1, [3]), (3, [])])
def test_of_a_hybrid_the_layers_without_attention_are_left_out_and_said(layer, reached):
    own = steered("steer_correct", layer, "resid_post", 0.5)
    conditions = [UNSTEERED, own, Condition("steer_correct", RANDOM_DIRECTION, 0, layer, "resid_post", 0.5)]
    attention = np.random.default_rng(0).dirichlet(np.ones(4), size=(3, 6, 2, 2))  # layers 1 and 3 of 4, two heads
    layers = [1, 3] if layer < 3 else [3]
    measured = Measured(range(6), conditions, layers, PLAIN, attention[:, :, -len(layers) :])
    entry = {"wanted": "raise", "site": "resid_post", "chosen": {"layer": layer, "coefficient": 0.5}}
    chosen = made(CoefficientsDocument, {"steer": "last", "directions": {"steer_correct": entry}})
    entries = moved_by(measured, chosen, {(layer, "resid_post"): 2.0}, draws_of_problems(6, 1000, 42))
    described = {"section_words": section_words(has_bos=True), "layers_without_attention": [0, 2]}
    result = made(AttentionDocument, {**described, "sections": list(PLAIN), "directions": as_json(entries)})
    found = result.directions["steer_correct"]
    assert found.n_heads == 2 * len(reached) and bool(found.overall) == bool(reached)
    assert {move.layer for move in found.moves} == {place for place in layers if place >= layer}
    assert "Left out, because the model has no attention weights there: layers 0 and 2." in words.sentences(result)
    assert len(figures.all_figures(result, "title")) == 2


def test_the_same_run_gives_the_same_bytes(whole):
    experiment, run = whole
    again = run_phase(PHASE, experiment.data, config_of(experiment), fresh=True)
    for path in run.rglob("*.*"):
        if path.is_file() and path.name not in ("manifest.json", "log.txt"):
            assert path.read_bytes() == (again / path.relative_to(run)).read_bytes(), path.name


def test_where_no_direction_or_no_attention_is_left_the_result_says_so(experiment):
    experiment.choose({"steer_correct": (3, 0.5)})
    run = run_phase(PHASE, experiment.data, config_of(experiment))
    assert "no attention can move" in json_of(run, "attention.json")["sentences"][0]
    experiment.choose({"steer_correct": None})
    run = run_phase(PHASE, experiment.data, config_of(experiment))
    assert pyarrow.parquet.read_table(run / "attention.parquet").num_rows == 0
    experiment.choose({"steer_correct": (3, 0.5)}, site="resid_pre")  # before the last attention
    run = run_phase(PHASE, experiment.data, config_of(experiment))
    assert json_of(run, "attention.json")["directions"]["steer_correct"]["displaced"]["value"] > 0
