"""Covers limits.py, probing.py and the filter: what it costs is measured on other problems, and said."""

import json
import logging

import numpy as np
import pyarrow.parquet
import pytest
from experiments import GENERAL, PLANTED, D, make_experiment, plant
from scipy.stats import ttest_ind
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

from common.evaluation.sparse_probing import Grid, nested
from common.handoffs.document import from_json
from common.handoffs.selected import SelectedDirection
from phase2_sae_analysis.limits import LIMITS, LimitSweep
from phase2_sae_analysis.words import cost_of_the_filter

SEED = 42


def selected(folder) -> dict:
    return json.loads((folder / "selected.json").read_text())


def place(latent: dict) -> tuple[int, int]:
    return latent["layer"], latent["latent"]


def activations(experiment, layer: int) -> np.ndarray:
    """Of the SAEs of `save_saes`, by hand: x and -x above 0.5, but for the layer's silent dimensions."""
    both = np.concatenate([experiment.resid[layer], -experiment.resid[layer]], axis=1)
    both[:, [8 + 2 * layer + side + j for side in (0, D) for j in (0, 1)]] = 0
    return np.where(both > 0.5, both, 0).astype(np.float64)


def incorrect_of(experiment) -> np.ndarray:
    return np.array([label == "incorrect" for label in experiment.labels])


def of_folds(scores: np.ndarray, incorrect: np.ndarray) -> float:
    """AUROC over the pairs inside the folds, by scikit-learn."""
    areas, pairs = [], []
    for _, own in StratifiedKFold(5, shuffle=True, random_state=SEED).split(scores, incorrect):
        areas.append(roc_auc_score(incorrect[own], scores[own]))
        pairs.append(incorrect[own].sum() * (~incorrect[own]).sum())
    return float(np.average(areas, weights=pairs))


@pytest.fixture(scope="module")
def denser_run(tmp_path_factory, small_saes):
    """The planted latent above 2 % in a dictionary that fires on 1 % on average; and its run with `auto`."""
    experiment = plant(make_experiment(tmp_path_factory.mktemp("denser"), small_saes))
    for rates in experiment.rates.values():
        rates[rates < 0.03] = 0.01
    experiment.rates[0][0] = 0.04  # nearly the limit of its layer
    return experiment.build(), experiment.run()


def test_a_strong_latent_above_two_percent_stays_in_a_dense_dictionary(denser_run):
    found = selected(denser_run[1])
    assert place(found["directions"]["predict_incorrect"]["latents"][0]) == GENERAL
    assert found["directions"]["predict_incorrect"]["left_out"] is None and found["general_text_limit"] == "auto"
    for site in found["sites"]:
        told = site["general_text"]
        assert told["limit"] == pytest.approx(max(0.02, 4.4 * told["mean_rate"])) and told["limit"] > 0.03
        assert told["n_documents"] == 1000 and told["kept"] == 2 * D


def test_a_fixed_limit_removes_it_and_names_it(denser_run, caplog):
    log = logging.getLogger("test_fixed_limit")
    with caplog.at_level(logging.WARNING, "test_fixed_limit"):
        folder = denser_run[0].run(log, general_text_limit=0.02)
    found = selected(folder)
    entry = found["directions"]["predict_incorrect"]
    lost, row = entry["left_out"], GENERAL[0] * 2 * D + GENERAL[1]
    table = pyarrow.parquet.read_table(folder / "latents.parquet").to_pydict()
    assert place(entry["latents"][0]) == PLANTED and place(lost) == GENERAL and lost["stronger"]
    assert all(lost[name] == table[name][row] for name in ("t", "auroc", "separation", "general_text_rate"))
    assert lost["general_text_rate"] == 0.03 and lost["limit"] == 0.02 and not table["kept"][row]
    warned = [line for line in caplog.messages if "was left out" in line]
    assert "predict-incorrect: layer 2, latent 3 was left out, because it fires on 3.0 % of general text" in warned[0]
    assert cost_of_the_filter("predict_incorrect", from_json(SelectedDirection, entry)) in warned


def test_a_weaker_latent_that_was_left_out_is_named_without_a_warning(planted_run):
    for name, entry in selected(planted_run[1])["directions"].items():
        lost, best = entry["left_out"], entry["latents"][0]
        column = "t" if name.startswith("predict") else "separation"
        assert lost is None or lost["stronger"] == (abs(lost[column]) > abs(best[column])), name


def test_rates_within_their_interval_of_the_limit_are_undecided(denser_run):
    table = pyarrow.parquet.read_table(denser_run[1] / "latents.parquet").to_pydict()
    sites = {site["layer"]: site["general_text"] for site in selected(denser_run[1])["sites"]}
    for layer, rate, undecided in zip(table["layer"], table["general_text_rate"], table["undecided"], strict=True):
        limit = sites[layer]["limit"]
        assert undecided == (abs(rate - limit) <= 1.959964 * np.sqrt(limit * (1 - limit) / 1000))
    assert sum(table["undecided"]) == sum(told["undecided"] for told in sites.values()) > 0


def test_the_table_of_limits_is_a_loop_of_scipy_and_scikit_learn(denser_run):
    experiment, folder = denser_run
    found, incorrect = selected(folder)["limits"], incorrect_of(experiment)
    assert [row["limit"] for row in found] == [*LIMITS, None]
    acts = np.concatenate([activations(experiment, layer) for layer in range(3)], axis=1)
    table = pyarrow.parquet.read_table(folder / "latents.parquet").to_pydict()
    rates = np.array(table["general_text_rate"])
    for row in found:
        kept = np.array(table["kept"]) if row["limit"] is None else rates <= row["limit"]
        scores = np.zeros(len(incorrect))
        for own, held_out in StratifiedKFold(5, shuffle=True, random_state=SEED).split(acts, incorrect):
            with np.errstate(all="ignore"):
                t = ttest_ind(acts[own][incorrect[own]], acts[own][~incorrect[own]], equal_var=False).statistic
            best = np.argmax(np.where(kept, np.abs(np.nan_to_num(t)), 0))
            scores[held_out] = np.sign(t[best]) * acts[held_out, best]
        assert row["kept"] == kept.sum()
        assert row["auroc"]["value"] == pytest.approx(of_folds(scores, incorrect), abs=1e-12)
        assert row["auroc"]["low"] < row["auroc"]["value"] < row["auroc"]["high"]
    assert place(found[0]["best"]) == GENERAL and place(found[4]["best"]) == PLANTED
    assert found[0]["auroc"]["value"] > found[4]["auroc"]["value"] + 0.1, "the filter has a price, and it is shown"


def test_probes_are_those_of_the_kept_latents_and_of_the_stream(denser_run):
    experiment, folder = denser_run
    found, incorrect = selected(folder)["sparse_probing"], incorrect_of(experiment)
    assert [layer["layer"] for layer in found] == [0, 1, 2]
    for layer in found:
        acts = activations(experiment, layer["layer"])
        acts = acts[:, (acts > 0).any(axis=0)]
        assert layer["n_latents"] == acts.shape[1] == 28
        assert [probe["k"] for probe in layer["sparse"]] == [1, 2, 4, 8, 16]
        scores = nested(acts.astype(np.float32), incorrect, Grid((4,))).scores[0]
        assert layer["sparse"][2]["auroc"]["value"] == pytest.approx(of_folds(scores, incorrect), abs=1e-12)
        resid = experiment.resid[layer["layer"]]
        scores = nested(resid, incorrect, Grid((D,), tuple(10.0**k for k in range(-5, 2)))).scores[0]
        assert layer["full"]["auroc"]["value"] == pytest.approx(of_folds(scores, incorrect), abs=1e-12)
        assert layer["full"]["k"] == D and len(layer["full"]["strengths"]) == 5
    assert found[2]["sparse"][0]["auroc"]["value"] > 0.9 and found[0]["sparse"][0]["auroc"]["value"] < 0.7


def test_a_description_of_the_validation_split_chooses_nothing(planted):
    planted.build()
    found = selected(planted.run(split="validation"))
    assert found["limits"] == found["sparse_probing"] == []


def test_layers_one_by_one_give_what_all_together_do():
    rng = np.random.default_rng(0)
    incorrect, rates = np.arange(60) % 3 == 0, rng.uniform(0, 0.3, 40)
    acts = np.maximum(rng.normal(size=(60, 40)), 0).astype(np.float32)
    whole, parts = LimitSweep(incorrect, SEED), LimitSweep(incorrect, SEED)
    whole.add(acts, rates, 0.1)
    for own in np.split(np.arange(40), 4):
        parts.add(acts[:, own], rates[own], 0.1)
    columns = {"kept": rates <= 0.1, "general_text_rate": rates, "t": rng.normal(size=40), "undecided": rates > 1}
    columns |= {"separation": np.zeros(40), "auroc": np.full(40, 0.5)}
    columns |= {"layer": np.zeros(40, int), "latent": np.arange(40)}
    assert whole.table(columns) == parts.table(columns)
