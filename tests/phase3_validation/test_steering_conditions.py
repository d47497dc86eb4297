"""Covers what is added and to what it is compared: records and conditions, vectors, matched latents, settings."""

import logging

import numpy as np
import pytest
import torch
from documents import made

import run
from common.errors import ConfigError
from common.handoffs.selected import SelectedDocument, SelectedLatent
from common.interventions.conditions import (
    UNSTEERED,
    Condition,
    random_direction,
    rows_by_condition,
    steered,
    steering_vectors,
)
from common.interventions.controls import (
    MAX_SEPARATION,
    controls_of,
    match,
    match_of,
    match_words,
    matched_latents,
    warn_of_few,
    warn_of_too_few_to_judge,
)
from common.interventions.directions import Direction
from common.launch.running import context_for
from common.phases.settings import build_config
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase3_validation.steering.config import CoefficientsConfig

OWN = Direction("steer_correct", 1, 9, "layer_1", made(SelectedLatent, {}))
NORMS = {(1, "resid_post"): 10.0, (2, "resid_mid"): 20.0}


def latents(seed: int = 0, n: int = 300, layers: int = 3) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "layer": np.repeat(np.arange(layers), n),
        "latent": np.tile(np.arange(n), layers),
        "n_active": rng.integers(0, 40, n * layers),
        "separation": rng.normal(0, 0.02, n * layers),
        "decoder_norm": rng.lognormal(0, 0.3, n * layers),
        "kept": rng.random(n * layers) < 0.8,
    }


def by_brute_force(columns, layer, latent, n_problems, k, selected) -> list[int]:
    """The same, a latent at a time."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    own = next(row for row in rows if (row["layer"], row["latent"]) == (layer, latent))
    candidates = [
        row
        for row in rows
        if row["layer"] == layer
        and row["kept"]
        and row["n_active"] > 0
        and abs(row["separation"]) < 0.01
        and row["latent"] != latent
        and row["latent"] not in selected
    ]
    norm = np.std([np.log(row["decoder_norm"]) for row in candidates])
    share = np.std([row["n_active"] / n_problems for row in candidates])

    def distance(row) -> float:
        a = (np.log(row["decoder_norm"]) - np.log(own["decoder_norm"])) / norm
        b = (row["n_active"] - own["n_active"]) / n_problems / share
        return a * a + b * b

    return [int(row["latent"]) for row in sorted(candidates, key=lambda row: (distance(row), row["latent"]))[:k]]


@pytest.mark.parametrize("seed", range(5))
def test_matched_latents_are_the_nearest_that_say_nothing(seed):
    columns = latents(seed)
    found = matched_latents(columns, 1, 9, 100, 10, selected={3, 4, 5})
    assert found == by_brute_force(columns, 1, 9, 100, 10, {3, 4, 5}) and len(found) == 10
    rows = [300 + latent for latent in found]
    assert (np.abs(columns["separation"][rows]) < MAX_SEPARATION).all() and columns["kept"][rows].all()
    assert (columns["n_active"][rows] > 0).all() and not {9, 3, 4, 5} & set(found)


def test_latents_of_other_layers_change_nothing():
    columns = latents()
    others = columns["layer"] != 1
    changed = columns | {"decoder_norm": np.where(others, 1e9, columns["decoder_norm"])}
    assert matched_latents(columns, 1, 9, 100, 10) == matched_latents(changed, 1, 9, 100, 10)


def test_norms_that_differ_by_rounding_alone_do_not_decide():
    """Gemma Scope's and the organism's decoder rows all have length 1."""
    columns = latents()
    rng = np.random.default_rng(9)
    flat = columns | {"decoder_norm": 1 + 1e-7 * rng.normal(size=900)}
    found = matched_latents(flat, 1, 9, 100, 10)
    distances = np.abs(flat["n_active"][[300 + latent for latent in found]] - flat["n_active"][309])
    all_of_them = matched_latents(flat, 1, 9, 100, 300)
    assert distances.max() <= min(abs(flat["n_active"][300 + i] - flat["n_active"][309]) for i in all_of_them[10:])
    assert matched_latents(columns | {"decoder_norm": np.ones(900)}, 1, 9, 100, 10)


def test_a_direction_that_cannot_be_judged_is_said_before_its_coefficient_is_sought(caplog):
    selected = made(SelectedDocument, {"problems": 100, "directions": {}})
    few = latents() | {"kept": np.arange(900) < 305, "separation": np.zeros(900), "n_active": np.ones(900)}
    with caplog.at_level(logging.WARNING):
        warn_of_too_few_to_judge([OWN], latents(n=300), selected, logging.getLogger("test"))
        assert not caplog.text
        warn_of_too_few_to_judge([OWN], few, selected, logging.getLogger("test"))
    assert "steer_correct: 5 latents of layer 1 can be matched controls, and a verdict takes 19" in caplog.text


def test_fewer_controls_are_used_and_said_and_none_is_an_error(caplog):
    given = {"problems": 100, "directions": {"a": {"latents": [{"layer": 1, "latent": 3}]}}}
    columns, selected = latents(), made(SelectedDocument, given)
    few = columns | {"kept": (columns["latent"] < 20) & (columns["layer"] == 1), "separation": np.zeros(900)}
    few["n_active"][:] = 1
    found = controls_of(OWN, few, selected, 30)
    assert sorted(found) == [latent for latent in range(20) if latent not in (3, 9)]
    with caplog.at_level(logging.WARNING):
        warn_of_few("steer_correct", 19, 30, logging.getLogger("test"))
        assert "19 of 30 matched latents" in caplog.text and "rank p" not in caplog.text
        warn_of_few("steer_correct", 3, 30, logging.getLogger("test"))
        assert "rank p of 0.25" in caplog.text
    with pytest.raises(ConfigError, match=r"no latent of layer 1 can be a control of steer_correct(.|\n)*--layers"):
        controls_of(OWN, few | {"n_active": np.zeros(900)}, selected, 30)


def test_random_directions_are_gaussian_and_each_has_its_own():
    first = random_direction(42, "steer_correct", 0, 64)
    assert torch.equal(first, random_direction(42, "steer_correct", 0, 64)) and first.dtype == torch.float32
    others = [
        random_direction(*which, 64) for which in ((43, "steer_correct", 0), (42, "b", 0), (42, "steer_correct", 1))
    ]
    for vector in (first, *others):
        assert float(vector.norm()) == pytest.approx(1, abs=1e-6)
    assert max(abs(float(first @ vector)) for vector in others) < 0.5
    many = torch.stack([random_direction(1, "a", index, 64) for index in range(400)])
    assert abs(float(many.mean())) < 0.005 and float((many.T @ many / 400 * 64 - torch.eye(64)).abs().max()) < 0.35


def test_what_is_added_has_the_length_of_the_coefficient_times_the_mean_norm(noise_saes):
    source = sae_source(str(noise_saes), "organism")
    conditions = [
        UNSTEERED,
        steered("steer_correct", 1, "resid_post", 0.5),
        steered("steer_correct", 2, "resid_mid", -0.25),
        Condition("steer_correct", "matched_latent", 7, 1, "resid_post", 0.5),
        Condition("steer_correct", "random_direction", 4, 1, "resid_post", 0.5),
    ]
    loaded = []

    def load(layer: int):
        loaded.append(layer)
        return load_sae(source, layer)

    made = steering_vectors(conditions, [OWN], load, NORMS, seed=42, d_model=64)
    rows = load_sae(source, 1).W_dec
    assert made[0] is None and loaded == [1]  # the direction is of layer 1's SAE, wherever it is added
    expected = {
        1: 0.5 * 10 * rows[9] / rows[9].norm(),
        2: -0.25 * 20 * rows[9] / rows[9].norm(),
        3: 0.5 * 10 * rows[7] / rows[7].norm(),
        4: 0.5 * 10 * random_direction(42, "steer_correct", 4, 64),
    }
    for place, vector in expected.items():
        assert torch.allclose(made[place].vector, vector, rtol=1e-5, atol=0)
    assert [steering.site for steering in made[1:]] == [
        "blocks.1.hook_resid_post",
        "blocks.2.hook_resid_mid",
        "blocks.1.hook_resid_post",
        "blocks.1.hook_resid_post",
    ]


def test_rows_are_found_again_by_condition():
    conditions = [UNSTEERED, steered("steer_correct", 1, "resid_post", 0.5)]
    rows = [{"task_id": i // 2, **conditions[i % 2].fields} for i in range(6)]
    found = rows_by_condition(rows)
    assert list(found) == conditions
    assert [row["task_id"] for row in found[conditions[1]]] == [0, 1, 2]


def test_the_command_of_the_issue_is_understood_as_it_is_typed():
    words = ["--preset", "demo", "--coefficients", "-1.0,-0.5,0.5,1.0", "--layers", "3,5", "--site", "resid_mid"]
    config = context_for(run.CATALOGUE.phase("3.2"), words)[0].config
    assert config.coefficients == (-1.0, -0.5, 0.5, 1.0)
    assert config.chosen_layers() == [3, 5] and config.site == "resid_mid"
    assert build_config(CoefficientsConfig, "full", {}).chosen_layers() is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"coefficients": (0.5, 0.5)}, r"--coefficients is '0.5,0.5'\n.*-1.0,-0.5"),
        ({"coefficients": (0.0,)}, "--coefficients is '0.0'"),
        ({"coefficients": (1.5,)}, r"--coefficients is 1.5\n.*-1.0 to 1.0"),
        ({"directions": ()}, "--directions is ''"),
        ({"directions": ("steer_right",)}, "--directions is 'steer_right'"),
        ({"layers": "1,x"}, r"--layers is '1,x'\nGive auto"),
        ({"site": "mlp_out"}, r"--site is 'mlp_out'\nGive one of: resid_pre"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        CoefficientsConfig(**changes)


def test_how_well_controls_match_is_said_by_the_factor():
    columns = {
        "layer": np.array([0, 1, 1, 1]),
        "latent": np.array([9, 9, 2, 3]),
        "n_active": np.array([99, 20, 24, 8]),
        "decoder_norm": np.array([9.0, 1.0, 1.2, 1.0]),
    }
    found = match_of(columns, OWN, [2, 3], 100)
    assert found.own == {"firing rate": 0.2, "decoder norm": 1.0} and found.n_worse == 1
    assert found.each == {"firing rate": [0.24, 0.08], "decoder norm": [1.2, 1.0]}
    assert found.worst == pytest.approx({"firing rate": 2.5, "decoder norm": 1.2})
    assert match_words(found).endswith("by more than a factor of 1.5 (firing rate: up to 2.5)")
    assert match({"variance": 0.0}, {"variance": [1.0]}).worst == {"variance": None}
