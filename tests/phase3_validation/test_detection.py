"""Covers phase 3.1 end to end: what it finds, refuses, leaves out and writes."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union

from common import handoffs
from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from common.report.status import status_lines

NAMES = ("predict_incorrect", "predict_correct", "steer_incorrect", "steer_correct")
BASELINES = [
    "always positive",
    "prompt length",
    "description length",
    "complexity",
    "operations",
    "mean log-probability",
    "summed log-probability",
    "first-token entropy",
    "text of the prompt",
    "text of the description",
    "logistic regression",
    "difference of means",
    "full probe",
]
FIGURES = ["baselines", "by_difficulty", "by_temperature", "f1_by_threshold", "precision_recall", "reliability", "roc"]


def document(folder) -> dict:
    return json.loads((folder / "detection.json").read_text())


@pytest.fixture(scope="module")
def found(detection_run) -> dict:
    return document(detection_run[1])


def test_the_scores_are_what_the_artifacts_hold(detection_run, found):
    experiment, folder = detection_run
    table = pd.read_parquet(folder / "predictions.parquet").query("split == 'validation'")
    ids = table.task_id.unique()

    def written(direction: str, score: str) -> np.ndarray:
        rows = table.query("direction == @direction and score == @score")
        return rows.set_index("task_id").value[ids].to_numpy()

    latent = found["directions"]["predict_incorrect"]["latent"]
    assert (latent["layer"], latent["latent"]) == (1, 7) and latent["neuronpedia"].endswith("/small/1-res/7")
    resid = experiment.resid[1][ids, 7]
    assert written("predict_incorrect", "latent") == pytest.approx(np.where(resid > 0.5, resid, 0))
    failed = np.array(experiment.labels) == "incorrect"
    own = np.array(experiment.splits["sae"])
    measured = {
        "prompt length": [len(experiment.programs[i]["prompt"]) for i in range(len(failed))],
        "description length": [len(experiment.problems[i]["text"]) for i in range(len(failed))],
        "operations": [json.loads(experiment.problems[i]["attributes"])["n_operations"] for i in range(len(failed))],
        "summed log-probability": [
            experiment.programs[i]["mean_logprob"] * experiment.programs[i]["n_new_tokens"] for i in range(len(failed))
        ],
    }
    for name, numbers in measured.items():
        numbers = np.array(numbers, dtype=float)
        sign = 1 if sk.roc_auc_score(failed[own], numbers[own]) >= 0.5 else -1
        for direction, turn in (("predict_incorrect", 1), ("predict_correct", -1)):
            assert written(direction, name) == pytest.approx(turn * sign * numbers[ids])
            assert found["directions"][direction]["baselines"][name]["sign"] == turn * sign
    mean = experiment.resid[1][own][failed[own]].mean(axis=0) - experiment.resid[1][own][~failed[own]].mean(axis=0)
    projected = experiment.resid[1][ids].astype(float) @ mean.astype(float)
    assert written("predict_incorrect", "difference of means") == pytest.approx(projected, abs=1e-5)


def test_a_planted_latent_ranks_in_the_log_and_in_the_status(detection_run, found):
    experiment, folder = detection_run
    entry = found["directions"]["predict_incorrect"]
    assert entry["verdict"] == "ranks" and entry["random_latents"]["auroc"]["rank"] == 1
    assert "predict_incorrect: layer 1, latent 7: ranks. AUROC 0." in (folder / "log.txt").read_text()
    (line,) = [line for line in status_lines((handoffs.DETECTION,), experiment.data) if line.state == "built"]
    assert "ranks (AUROC 0." in line.detail


def test_what_the_latent_and_the_probe_add_to_difficulty_is_what_other_code_finds(detection_run, found):
    """Covariates from the artifacts, regressions by statsmodels, text scores by scikit-learn's pipeline."""
    import statsmodels.api as sm  # takes seconds, and one test needs it

    experiment, _ = detection_run
    incorrect = np.array([label == "incorrect" for label in experiment.labels])
    sae, tuning, judging = (np.array(experiment.splits[name]) for name in ("sae", "hyperparams", "validation"))
    learned, rows = np.concatenate([sae, tuning]), range(len(incorrect))
    columns = [
        [len(experiment.programs[i]["prompt"]) for i in rows],
        [len(experiment.problems[i]["text"]) for i in rows],
        [experiment.problems[i]["complexity"] for i in rows],
        [json.loads(experiment.problems[i]["attributes"])["n_operations"] for i in rows],
    ]
    for kind, field in ((experiment.programs, "prompt"), (experiment.problems, "text")):
        name = {"prompt": "text of the prompt", "text": "text of the description"}[field]
        card = found["directions"]["predict_incorrect"]["baselines"][name]
        columns.append(text_score([kind[i][field] for i in rows], incorrect, learned, card["C"]))
    resid = experiment.resid[1][:, 7]
    latent = np.where(resid > 0.5, resid, 0)
    entry = found["directions"]["predict_incorrect"]["beyond_difficulty"]
    designs = [sm.add_constant(np.column_stack(each)) for each in (columns, [*columns, latent])]
    areas = []
    for design in designs:
        mean, scale = design[learned].mean(axis=0), design[learned].std(axis=0)
        scaled = (design - np.where(scale, mean, 0)) / np.where(scale, scale, 1)
        fitted = sm.Logit(incorrect[learned], scaled[learned]).fit(disp=0)
        areas.append(sk.roc_auc_score(incorrect[judging], scaled[judging] @ fitted.params))
    found_areas = [entry["auroc_of_covariates"]["value"], entry["auroc_with_score"]["value"]]
    assert found_areas == pytest.approx(areas, abs=5e-4)  # the text's weights are found to four digits
    assert entry["gain"]["value"] == pytest.approx(found_areas[1] - found_areas[0])
    assert entry["verdict"] == "beyond difficulty" and entry["gain"]["low"] > 0
    assert entry["covariates"] == [*BASELINES[1:5], "text of the prompt", "text of the description"]
    z = sm.Logit(incorrect[judging], designs[1][judging] / designs[1][learned].std(axis=0).clip(1e-9)).fit(disp=0)
    assert entry["partial_z"] == pytest.approx(z.tvalues[-1], rel=0.05)


def text_score(texts: list[str], incorrect: np.ndarray, learned: np.ndarray, strength: float) -> np.ndarray:
    """Cross-fitted on the problems learned from, in the order of the splits."""
    union = make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char", ngram_range=(2, 4)))
    model = make_pipeline(union, LogisticRegression(C=strength, max_iter=2000))
    folds, every = StratifiedKFold(5, shuffle=True, random_state=42), np.array(texts, dtype=object)
    outside = cross_val_predict(model, every[learned], incorrect[learned], cv=folds, method="decision_function")
    found = model.fit(every[learned], incorrect[learned]).decision_function(every)
    found[learned] = outside
    return found


def test_the_probe_is_that_of_the_layer_which_cross_validation_prefers(detection_run, found):
    experiment, _ = detection_run
    probes = found["probes"]
    areas = probes["cross_validated_auroc"]
    assert set(areas) == {str(layer) for layer in experiment.resid}
    assert areas[str(probes["layer"])] == max(areas.values())
    for entry in found["directions"].values():
        assert entry["baselines"]["full probe"]["layer"] == probes["layer"]
        assert entry["baselines"]["logistic regression"]["layer"] == entry["latent"]["layer"]


def test_the_planted_latent_is_chosen_by_every_other_draw(found):
    stable = found["directions"]["predict_incorrect"]["stability"]
    assert (stable["same_latent"], stable["same_layer"], stable["draws"]) == (10, 10, 10)
    assert abs(stable["selected_on"] - 130) <= 3 and stable["selected_on"] + stable["read_on"] == 190
    assert stable["auroc"]["value"] > 0.7 and stable["auroc"]["low"] <= stable["auroc"]["value"]


def test_the_document_and_the_tables_are_as_declared(detection_run, found):
    _, folder = detection_run
    labels, predictions = (pd.read_parquet(folder / f"{name}.parquet") for name in ("labels", "predictions"))
    for name, declared in handoffs.DETECTION.tables.items():
        assert list(pd.read_parquet(folder / name).columns) == list(declared)
    assert found["n"] == {"sae": 130, "hyperparams": 60, "validation": 150} and found["readings"] == 1
    assert list(found["directions"]) == list(NAMES) and list(found["baselines"]) == BASELINES
    for entry in found["directions"].values():
        assert list(entry["baselines"]) == BASELINES
        assert set(entry["latent"]) == {"layer", "latent", "sae_id", "neuronpedia", "t", "p_max", "significant"}
    assert set(labels.split) == {"hyperparams", "validation"} and not predictions.value.isna().any()
    assert len(labels[labels.temperature == 0.3]) == 450


def test_the_figures_are_drawings_that_a_page_can_hold(detection_run):
    _, folder = detection_run
    assert sorted(path.stem for path in (folder / "figures").iterdir()) == FIGURES
    for path in (folder / "figures").iterdir():
        text = path.read_text()
        assert "<svg" in text and text.rstrip().endswith("</svg>")
        assert len(text) < 300_000


def test_the_same_run_gives_the_same_bytes_and_a_second_selection_is_refused_unless_it_is_counted(
    detection_run, detectable_experiment, run_detection
):
    detectable_experiment.build().run()
    again = run_detection(detectable_experiment)
    for name in ("predictions.parquet", "labels.parquet", *(f"figures/{name}.svg" for name in FIGURES)):
        assert (again / name).read_bytes() == (detection_run[1] / name).read_bytes(), name
    assert document(detection_run[1])["directions"] == document(again)["directions"]
    detectable_experiment.run(layers="0,2")
    with pytest.raises(ConfigError, match="--reuse-validation"):
        run_detection(detectable_experiment)
    assert document(run_detection(detectable_experiment, reuse_validation=True))["readings"] == 2


def test_what_is_not_there_is_left_out_and_said(detectable_experiment, run_detection, caplog):
    """Programs that could not be judged; samples; what an imported run does not know of its programs."""
    experiment = detectable_experiment
    experiment.temperature = {}
    for fields in experiment.programs.values():
        fields |= {"mean_logprob": None, "first_token_entropy": None}
    gone = [experiment.splits[name][0] for name in ("sae", "hyperparams", "validation")]
    for task_id, label in zip(gone, ("not_run", "unsupported", "not_run"), strict=True):
        experiment.labels[task_id] = label
    experiment.build().run()
    with caplog.at_level(logging.INFO, "test_without"):
        folder = run_detection(experiment, logging.getLogger("test_without"))
    found = document(folder)
    labels, predictions = (pd.read_parquet(folder / f"{name}.parquet") for name in ("labels", "predictions"))
    left_out = {"sae": {"not_run": 1}, "hyperparams": {"unsupported": 1}, "validation": {"not_run": 1}, "samples": {}}
    assert found["left_out"] == left_out and found["n"] == {"sae": 129, "hyperparams": 59, "validation": 149}
    assert not set(gone) & (set(predictions.task_id) | set(labels.task_id))
    absent = ["rarity", "mean log-probability", "summed log-probability", "first-token entropy"]
    assert found["baselines_left_out"] == absent
    assert "so they are no baselines: rarity, mean log-probability" in caplog.text
    assert "going on without temperature_samples: no finished" in caplog.text
    assert "validation: 149 problems" in caplog.text and "left out: 1 not_run" in caplog.text
    for entry in found["directions"].values():
        assert entry["temperatures"] == [] and "mean log-probability" not in entry["baselines"]
    assert not (folder / "figures" / "by_temperature.svg").exists()


def test_refusals_say_what_is_wrong_and_what_to_type(detectable_experiment, run_detection):
    experiment = detectable_experiment.build()
    with pytest.raises(MissingArtifactError, match="no finished latents .*\nBuild it with: .*phase 2"):
        run_detection(experiment)
    with pytest.raises(ConfigError, match="--n-resamples is 100"):
        run_detection(experiment, n_resamples=100)


def test_activations_that_the_sae_does_not_fit_are_refused_unless_accepted(detectable_experiment, run_detection):
    experiment = detectable_experiment
    for layer, resid in experiment.resid.items():
        experiment.resid[layer] = np.where(resid > 0, 0.49, -0.49).astype(np.float32)  # below every threshold
    experiment.text = {layer: resid.copy() for layer, resid in experiment.resid.items()}
    experiment.resid[1][[label == "incorrect" for label in experiment.labels], 7] = 0.6
    experiment.build().run(accept_bad_fit=True)
    with pytest.raises(ArtifactMismatchError, match="--accept-bad-fit"):
        run_detection(experiment)
    entry = document(run_detection(experiment, accept_bad_fit=True))["directions"]["predict_incorrect"]
    assert entry["card"]["auroc"]["value"] == 1 and entry["random_latents"]["n"] == 0
    assert entry["random_latents"]["auroc"] == {"median": None, "q05": None, "q95": None, "rank": None}
