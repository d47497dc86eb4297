"""Covers phases 3.2 and 3.3 as runs: records, slices, resumption, what is added and when, refusals, figures."""

import dataclasses
import logging
import statistics
from pathlib import Path

import documents
import numpy as np
import pyarrow.parquet
import pytest
import torch
from runs import content
from safetensors.numpy import load_file
from selected_latents import NORMS, SmallExperiment, json_of
from steered_runs import CHOSEN, N_CONTROLS, N_TUNED_ON, coefficients_config, rows_of, split_of, steering_config
from toy_phases import run_phase, stop_after
from whole_selections import copied

from common import handoffs
from common.errors import ConfigError
from common.interventions.conditions import random_direction
from common.interventions.degenerate import is_degenerate
from common.interventions.steered_generation import SteeringVector, generate_steered
from common.model.generation import generate
from common.model.loading import load_model
from common.problems.datasets import load_problems
from common.programs.solutions import request_for
from common.runs import discovery
from common.stopping import Stopped
from phase3_validation.steering.coefficients import check_places
from phase3_validation.steering.coefficients_phase import PHASE as COEFFICIENTS_PHASE
from phase3_validation.steering.control_signs import TUNING
from phase3_validation.steering.steering_phase import PHASE as STEERING_PHASE


@pytest.fixture
def begun(chosen_experiment, tmp_path) -> SmallExperiment:
    return copied(chosen_experiment, tmp_path / "data")


@pytest.fixture(scope="session")
def whole(chosen_experiment, tmp_path_factory) -> Path:
    """A finished phase 3.3 that tests only read."""
    data = copied(chosen_experiment, tmp_path_factory.mktemp("whole") / "data").data
    return run_phase(STEERING_PHASE, data, steering_config(chosen_experiment))


def test_every_problem_has_all_conditions_side_by_side_the_unsteered_one_first(coefficients_run, lively_experiment):
    rows, problems = rows_of(coefficients_run), split_of(lively_experiment, "hyperparams")
    assert list(rows[0]) == list(handoffs.STEERING_FIELDS)
    assert [row["record"] for row in rows] == list(range(9 * len(problems)))
    assert [row["task_id"] for row in rows] == [problem["task_id"] for problem in problems for _ in range(9)]
    expected = [("none", "unsteered", -1, "", 0.0)] + [
        (name, "none", layer, "resid_post", c)
        for name in ("steer_incorrect", "steer_correct")
        for layer in (1, 3)
        for c in (-0.5, 0.5)
    ]
    for i in range(0, len(rows), 9):
        found = [(r["direction"], r["control"], r["layer"], r["site"], r["coefficient"]) for r in rows[i : i + 9]]
        assert found == expected


def test_unsteered_programs_are_those_of_phase_1_and_steered_ones_are_not(coefficients_run, whole):
    for run, name in ((coefficients_run, "coefficients.json"), (whole, "steering.json")):
        document, rows = json_of(run, name), rows_of(run)
        assert document["agrees_with_phase_1"] == {"same_tokens": document["n"], "of": document["n"]}
        unsteered = {row["task_id"]: row["token_ids"] for row in rows if row["control"] == "unsteered"}
        changed = [row["token_ids"] != unsteered[row["task_id"]] for row in rows if row["control"] != "unsteered"]
        assert sum(changed) > 0.8 * len(changed)
        assert all(row["trajectory_kl"] < 1e-6 for row in rows if row["control"] == "unsteered")
        assert statistics.median(row["trajectory_kl"] for row in rows if row["control"] != "unsteered") > 0.1


def test_the_organism_writes_unsteered_in_a_mixed_batch_what_it_writes_alone():
    lm = load_model("organism", "cpu", "float32", 1)
    requests = [request_for(dataclasses.asdict(p), 42) for p in load_problems("organism").problems[:6]]
    plain = [made.token_ids for made in generate(lm, requests, max_new_tokens=60)]
    steering = SteeringVector("blocks.3.hook_resid_post", 25 * random_direction(1, "a", 0, lm.d_model))
    zero = SteeringVector(steering.site, 0.0 * steering.vector)
    mixed = generate_steered(
        lm, [request for request in requests for _ in range(3)], [None, steering, zero] * 6, max_new_tokens=60
    )
    assert [made.generation.token_ids for made in mixed[::3]] == plain
    assert [made.generation.token_ids for made in mixed[2::3]] == plain
    assert [made.generation.token_ids for made in mixed[1::3]] != plain


def test_the_rows_hold_what_the_engine_writes_when_the_vector_is_added_by_hand(whole, chosen_experiment):
    """Nothing of the phase but its rows: the vector is made here from the SAE's file."""
    rows = [row for row in rows_of(whole) if row["direction"] == "steer_correct" and row["control"] == "none"]
    layer, coefficient = CHOSEN["steer_correct"]
    sae_layer, latent = chosen_experiment.latents["steer_correct"]
    decoder = load_file(chosen_experiment.sae / f"layer_{sae_layer}" / "sae_weights.safetensors")["W_dec"][latent]
    vector = coefficient * (NORMS["resid_post"] + layer) * decoder / np.linalg.norm(decoder)
    lm = load_model(str(chosen_experiment.model), "cpu", "float32", 1)
    requests = [request_for(problem, 42) for problem in split_of(chosen_experiment, "validation")]
    steering = SteeringVector(f"blocks.{layer}.hook_resid_post", torch.from_numpy(vector.astype(np.float32)))
    made = generate_steered(lm, requests, [steering] * len(requests), max_new_tokens=12)
    assert [one.generation.token_ids for one in made] == [row["token_ids"] for row in rows]
    assert [one.trajectory_kl for one in made] == pytest.approx(
        [row["trajectory_kl"] for row in rows], rel=1e-3, abs=1e-5
    )
    for row in rows:
        assert row["degenerate"] == is_degenerate(row["code"], row["token_ids"], row["stop_reason"])


def test_slices_give_the_same_bytes(whole, begun):
    for start, end in ((90, None), (0, 19), (20, 89)):  # the first computes the records of the others that it needs
        run_phase(STEERING_PHASE, begun.data, steering_config(begun), start=start, end=end)
    run = discovery.list_runs(handoffs.STEERING, begun.data)[0]
    assert run.finished and content(run.path) == content(whole)


def test_a_stopped_run_goes_on_to_the_same_bytes(whole, begun):
    with pytest.raises(Stopped):
        run_phase(STEERING_PHASE, begun.data, steering_config(begun), stop=stop_after(3))
    assert discovery.n_saved(discovery.list_runs(handoffs.STEERING, begun.data)[0].path) == 75
    assert content(run_phase(STEERING_PHASE, begun.data, steering_config(begun))) == content(whole)


def test_the_prompt_is_steered_too_when_it_is_asked_for(lively_experiment, coefficients_run, tmp_path):
    data = copied(lively_experiment, tmp_path / "data").data
    run = run_phase(COEFFICIENTS_PHASE, data, coefficients_config(lively_experiment, steer="all"))
    assert json_of(run, "coefficients.json")["steer"] == "all"
    assert json_of(run, "coefficients.json")["agrees_with_phase_1"]["same_tokens"] == 3
    for layer, matters in ((1, True), (3, False)):  # behind the last block no token is read any more
        last, everywhere = (
            np.array([row["trajectory_kl"] for row in rows_of(r) if row["layer"] == layer])
            for r in (coefficients_run, run)
        )
        assert (np.abs(last - everywhere).max() > 1e-3) == matters


def test_labels_of_unchanged_programs_are_those_of_phase_1(lively_experiment, tmp_path):
    """Phase 1 is told to have seen something else: where the program is the same, it is believed."""
    experiment = copied(lively_experiment, tmp_path / "data")
    generations = discovery.list_runs(handoffs.GENERATIONS, experiment.data)[0].path
    rows = pyarrow.parquet.read_table(generations / "dataset.parquet").to_pylist()
    marked = [{**row, "label": "incorrect", "error": "killed", "failed_test": "assert marked"} for row in rows]
    experiment.write(handoffs.GENERATIONS, lambda out: out.table("dataset.parquet", marked))
    experiment.write(handoffs.LATENTS, lambda out: _copy_latents(lively_experiment, out))
    run = run_phase(COEFFICIENTS_PHASE, experiment.data, coefficients_config(experiment))
    codes = {row["task_id"]: row["code"] for row in rows}
    found = rows_of(run)
    assert any(row["code"] == codes[row["task_id"]] for row in found)
    for row in found:
        assert (row["error"] == "killed") == (row["code"] == codes[row["task_id"]])


def _copy_latents(experiment: SmallExperiment, out) -> None:
    run = discovery.list_runs(handoffs.LATENTS, experiment.data)[0].path
    for name in ("latents.parquet", "selected.json"):
        out.file(name, (run / name).read_bytes())


def test_a_site_that_a_block_does_not_have_is_refused():
    norms = {(layer, site): 1.0 for layer in range(2) for site in ("resid_pre", "resid_post")}
    check_places(norms, [0, 1], "resid_post")
    with pytest.raises(ConfigError, match=r"--site resid_mid.*block 1(.|\n)*--site resid_pre or --site resid_post"):
        check_places(norms, [1], "resid_mid")


def test_a_layer_that_does_not_exist_is_refused(lively_experiment):
    with pytest.raises(ConfigError, match=r"--layers names block 9; the model's blocks are 0 to 3"):
        run_phase(COEFFICIENTS_PHASE, lively_experiment.data, coefficients_config(lively_experiment, layers="1,9"))


def test_a_direction_without_a_coefficient_is_named_with_the_reason(lively_experiment, tmp_path):
    experiment = copied(lively_experiment, tmp_path / "data")
    experiment.choose({"steer_correct": (1, 0.5), "steer_incorrect": None})
    run = run_phase(STEERING_PHASE, experiment.data, steering_config(experiment, problems=2))
    found = json_of(run, "steering.json")["directions"]
    assert found["steer_incorrect"]["verdict"] == "cannot be steered: the tests say so"
    assert "effect" not in found["steer_incorrect"] and found["steer_correct"]["effect"]["n"] == 2
    assert len(rows_of(run)) == 2 * (2 + 2 * N_CONTROLS)
    assert len(rows_of(run, TUNING)) == N_TUNED_ON * (1 + 4 * N_CONTROLS)
    experiment.choose({"steer_correct": None})
    run = run_phase(STEERING_PHASE, experiment.data, steering_config(experiment, problems=2, reuse_validation=True))
    assert {row["control"] for row in rows_of(run)} == {"unsteered"} and not (run / TUNING).exists()


def test_each_control_gets_the_sign_that_is_better_for_it_on_a_sample_of_hyperparams(whole, chosen_experiment):
    rows, split = rows_of(whole, TUNING), split_of(chosen_experiment, "hyperparams")
    places = np.random.default_rng(42).choice(len(split), size=N_TUNED_ON, replace=False)
    tasks = [split[place]["task_id"] for place in sorted(places)]
    assert list(dict.fromkeys(row["task_id"] for row in rows)) == tasks
    assert [row["record"] for row in rows] == list(range(N_TUNED_ON * (1 + 2 * 2 * 2 * N_CONTROLS)))
    passed = {row["task_id"]: row["label"] == "correct" for row in rows if row["control"] == "unsteered"}
    for name, entry in json_of(whole, "steering.json")["directions"].items():
        wanted = 1 if entry["wanted"] == "raise" else -1
        for kind, found in entry["controls"].items():
            for control in found["each"]:
                place = (name, kind, control["index"])
                gains = {abs(entry["coefficient"]): 0, -abs(entry["coefficient"]): 0}
                for row in rows:
                    if (row["direction"], row["control"], row["control_index"]) == place:
                        gains[row["coefficient"]] += wanted * ((row["label"] == "correct") - passed[row["task_id"]])
                best = max(gains.values())
                assert gains[control["coefficient"]] == best and len(gains) == 2
                used = [
                    row for row in rows_of(whole) if (row["direction"], row["control"], row["control_index"]) == place
                ]
                assert {row["coefficient"] for row in used} == {control["coefficient"]}
    assert json_of(whole, "steering.json")["n_tuned_on"] == N_TUNED_ON


def test_another_limit_of_length_than_phase_1_s_is_warned_of(lively_experiment, tmp_path, caplog):
    experiment = copied(lively_experiment, tmp_path / "data")
    with caplog.at_level(logging.WARNING):
        run_phase(COEFFICIENTS_PHASE, experiment.data, coefficients_config(experiment, max_new_tokens=9, layers="1"))
    assert "--max-new-tokens is 9 here, and was 12 in phase 1" in caplog.text


def test_the_validation_split_is_read_once(begun, lively_experiment):
    run_phase(STEERING_PHASE, begun.data, steering_config(begun, problems=1))
    other = dataclasses.replace(begun, latents={**begun.latents, "steer_correct": (2, 20)})
    other.write(handoffs.LATENTS, lambda out: _other_selection(other, lively_experiment, out))
    other.choose(CHOSEN)
    with pytest.raises(ConfigError, match=r"evaluated with another selection(.|\n)*--reuse-validation"):
        run_phase(STEERING_PHASE, begun.data, steering_config(begun, problems=1))
    run = run_phase(STEERING_PHASE, begun.data, steering_config(begun, problems=1, reuse_validation=True))
    assert json_of(run, "steering.json")["readings"] == 2


def _other_selection(experiment: SmallExperiment, lively_experiment: SmallExperiment, out) -> None:
    run = discovery.list_runs(handoffs.LATENTS, lively_experiment.data)[0].path
    out.file("latents.parquet", (run / "latents.parquet").read_bytes())
    documents.write(out, "selected.json", json_of(run, "selected.json") | {"directions": experiment._directions()})


def test_figures_are_drawings_for_a_page(coefficients_run, whole):
    names = {path.name for run in (coefficients_run, whole) for path in run.glob("figures/*")}
    assert names == {
        f"{kind}_{direction}.svg"
        for direction in ("steer_correct", "steer_incorrect")
        for kind in ("dose_response", "among_controls", "transitions")
    }
    for path in (*coefficients_run.glob("figures/*"), *whole.glob("figures/*")):
        text = path.read_text()
        assert "<svg" in text and len(text) < 150_000
