"""Covers directions fitted to the residual stream: how they are fitted, stored, added, and compared."""

import numpy as np
import pyarrow.parquet
import pytest
import torch
from safetensors.numpy import load_file
from selected_latents import NORMS, SmallExperiment, json_of
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from steered_runs import coefficients_config, rows_of, split_of, steering_config
from toy_phases import run_phase
from whole_selections import copied

from common import handoffs
from common.errors import ConfigError
from common.interventions.fitted import fit
from common.interventions.steered_generation import SteeringVector, generate_steered
from common.model.loading import load_model
from common.programs.solutions import request_for
from common.runs import discovery
from phase3_validation.steering.coefficients_phase import PHASE as COEFFICIENTS_PHASE
from phase3_validation.steering.steering_phase import PHASE as STEERING_PHASE

NAMES = ("steer_correct", "mean_difference", "probe")
LAYER = 2  # of steer_correct


def test_both_directions_are_those_of_sklearn_and_numpy():
    rng = np.random.default_rng(2)
    incorrect = rng.random(120) < 0.4
    resid = rng.normal(size=(120, 6)) * [1, 2, 3, 4, 5, 6] + np.outer(incorrect, [0, 0, 2, 0, 0, -3])
    found = fit(resid.astype(np.float32), incorrect, 42)
    difference = np.mean(resid[~incorrect], axis=0) - np.mean(resid[incorrect], axis=0)
    assert found["mean_difference"] == pytest.approx(difference / np.linalg.norm(difference), abs=1e-5)
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)),
        {"logisticregression__C": [10.0**k for k in range(-5, 2)]},
        scoring="roc_auc",
        cv=StratifiedKFold(5, shuffle=True, random_state=42),
    ).fit(resid, ~incorrect)
    weights = search.best_estimator_[-1].coef_[0] / resid.std(axis=0)
    assert found["probe"] == pytest.approx(weights / np.linalg.norm(weights), abs=2e-3)
    assert {vector.dtype for vector in found.values()} == {np.dtype(np.float32)}


def test_too_few_problems_of_a_label_are_refused():
    with pytest.raises(
        ConfigError, match=r"of 9 problems of the split 'sae' 4 have the rarer label(.|\n)*--directions"
    ):
        fit(np.zeros((9, 3)), np.arange(9) < 4, 42)


@pytest.fixture(scope="module")
def labelled(lively_experiment, tmp_path_factory) -> SmallExperiment:
    """The small experiment, where phase 1 is told that every other program is right."""
    experiment = copied(lively_experiment, tmp_path_factory.mktemp("labelled") / "data")
    made = discovery.list_runs(handoffs.GENERATIONS, experiment.data)[0].path
    chosen = discovery.list_runs(handoffs.LATENTS, experiment.data)[0].path
    rows = pyarrow.parquet.read_table(made / "dataset.parquet").to_pylist()
    marked = [{**row, "label": ("correct", "incorrect")[i % 2], "error": None} for i, row in enumerate(rows)]

    def generations(out) -> None:
        out.table("dataset.parquet", marked)
        for path in made.glob("activations/*"):
            out.file(f"activations/{path.name}", path.read_bytes())

    def latents(out) -> None:
        for name in ("latents.parquet", "selected.json"):
            out.file(name, (chosen / name).read_bytes())

    experiment.write(handoffs.GENERATIONS, generations)
    experiment.write(handoffs.LATENTS, latents)
    return experiment


@pytest.fixture(scope="module")
def runs(labelled):
    config = coefficients_config(labelled, directions=NAMES, layers="auto", coefficients=(0.5,), problems=1)
    tuned = run_phase(COEFFICIENTS_PHASE, labelled.data, config)
    config = steering_config(labelled, problems=2, n_controls=1, tuning_problems=1)
    return tuned, run_phase(STEERING_PHASE, labelled.data, config)


def vectors_by_hand(experiment: SmallExperiment) -> dict[str, np.ndarray]:
    run = discovery.list_runs(handoffs.GENERATIONS, experiment.data)[0].path
    stored = load_file(run / f"activations/layer_{LAYER:02d}.safetensors")
    rows = pyarrow.parquet.read_table(run / "dataset.parquet").to_pylist()
    label = {row["task_id"]: row["label"] for row in rows}
    resid = dict(zip(stored["task_id"].tolist(), stored["resid_post"], strict=True))
    tasks = [problem["task_id"] for problem in split_of(experiment, "sae")]
    return fit(np.stack([resid[task] for task in tasks]), np.array([label[t] == "incorrect" for t in tasks]), 42)


def test_they_are_fitted_on_the_split_that_selected_and_stored(runs, labelled):
    expected, found = vectors_by_hand(labelled), json_of(runs[0], "coefficients.json")
    columns = pyarrow.parquet.read_table(runs[0] / "vectors.parquet").to_pandas()
    sae = load_file(labelled.sae / f"layer_{LAYER}" / "sae_weights.safetensors")["W_dec"][8]
    for name, vector in expected.items():
        own = columns[columns["direction"] == name]
        assert own["value"].to_numpy() == pytest.approx(vector, abs=1e-6) and set(own["layer"]) == {LAYER}
        cosine = float(sae @ vector / np.linalg.norm(sae))
        assert found["fitted"][name] == {"layer": LAYER, "cosines": {"steer_correct": pytest.approx(cosine, abs=1e-5)}}
        assert found["directions"][name]["wanted"] == "raise"


def test_what_is_added_is_the_fitted_vector_and_controls_are_the_latent_s(runs, labelled):
    rows, steering = rows_of(runs[1]), json_of(runs[1], "steering.json")["directions"]
    lm = load_model(str(labelled.model), "cpu", "float32", 1)
    for name, vector in vectors_by_hand(labelled).items():
        own = [row for row in rows if row["direction"] == name and row["control"] == "none"]
        problems = {problem["task_id"]: problem for problem in split_of(labelled, "validation")}
        requests = [request_for(problems[row["task_id"]], 42) for row in own]
        length = own[0]["coefficient"] * (NORMS["resid_post"] + LAYER)
        added = SteeringVector(f"blocks.{LAYER}.hook_resid_post", torch.from_numpy(length * vector))
        made = generate_steered(lm, requests, [added] * len(own), max_new_tokens=12)
        assert [one.generation.token_ids for one in made] == [row["token_ids"] for row in own]
        controls = steering[name]["controls"]["matched_latent"]
        assert "match" not in controls  # a fitted vector has no firing rate
        assert [c["index"] for c in controls["each"]] == [
            c["index"] for c in steering["steer_correct"]["controls"]["matched_latent"]["each"]
        ]
