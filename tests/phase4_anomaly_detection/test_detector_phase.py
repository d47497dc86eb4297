"""Covers phase 4.1 end to end: what it finds, that its card is what its numbers say, what it refuses and counts."""

import contextlib
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from detectable import detectable
from experiments import PLANTED, Experiment, save_saes
from scipy.stats import binom
from sklearn import metrics as sk
from support import WHOLE_SWEEPS

from common import handoffs
from common.errors import ArtifactMismatchError, AssetError, ConfigError, MissingArtifactError
from common.evaluation.bootstrap import draws_by_label
from common.evaluation.statistics import wilson_interval
from common.report.status import status_lines
from common.runs.held_out_log import DETECTOR, SELECTION, all_readings, count_selections, readings_of
from phase4_anomaly_detection import AnomalyDetector
from phase4_anomaly_detection.calibration import fit_calibration
from phase4_anomaly_detection.config import DetectorPhaseConfig
from phase4_anomaly_detection.phase import PHASE
from phase4_anomaly_detection.texts import known_layer

BASELINES = [
    "always flag",
    "logistic regression",
    "difference of means",
    "text length",
    "mean log-probability",
    "summed log-probability",
    "first-token entropy",
    "program length",
]


@pytest.fixture(scope="module")
def saes(tmp_path_factory) -> Path:
    return save_saes(tmp_path_factory.mktemp("saes") / "small")


@pytest.fixture
def experiment(tmp_path, saes) -> Experiment:
    return detectable(tmp_path, saes)


def discover(experiment: Experiment, log: logging.Logger | None = None, **given: object) -> Path:
    words = {key: str(getattr(experiment, key)) for key in ("dataset", "model", "sae")}
    return experiment.run_phase(PHASE, DetectorPhaseConfig(**words, **{"n_permutations": 200, **given}), log)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, saes) -> tuple[Experiment, Path, AnomalyDetector, pd.DataFrame]:
    """A finished run that tests only read."""
    made = detectable(tmp_path_factory.mktemp("detectable"), saes).build()
    log = logging.getLogger("test_detector_phase")
    log.setLevel(logging.INFO)
    folder = discover(made, log)
    return made, folder, AnomalyDetector.load(folder), pd.read_parquet(folder / "scores.parquet")


def test_the_planted_latent_is_found_in_the_layer_that_has_it(finished):
    _, folder, detector, _ = finished
    assert (detector.layer, detector.latents[0]["latent"]) == PLANTED
    tried = detector.document["layers_tried"]
    assert max(tried, key=tried.get) == str(PLANTED[0])
    assert detector.document["model"]["quantisation"] == "none"
    assert detector.verdict == "ranks" and "INFO ranks. AUROC 0." in (folder / "log.txt").read_text()
    selection = detector.document["selection"]
    assert selection["counts"]["significant among them"] >= 1
    assert selection["auroc_of_choice"] == pytest.approx(max(tried.values()))
    assert 0.5 < selection["cross_validated_auroc"]["low"] < selection["cross_validated_auroc"]["value"]
    assert all(0 <= latent["general_text_rate"] <= 0.02 for latent in detector.latents)


def test_the_scores_are_those_of_the_stored_activations(finished):
    """The scores are those of the stored activations and the folder reads as the phase wrote."""
    experiment, _, detector, table = finished
    own = table[table.score == "detector"]
    resid = experiment.resid[detector.layer][own.task_id]
    assert detector.scores(resid) == pytest.approx(own.value.to_numpy(), abs=1e-9)
    assert detector.probabilities(own.value.to_numpy()) == pytest.approx(own.probability.to_numpy())
    assert detector.routes(own.value.to_numpy()) == own.route.tolist()
    latents = [latent["latent"] for latent in detector.latents]
    by_hand = np.concatenate([resid, -resid], axis=1)[:, latents]
    weights = [latent["weight"] for latent in detector.latents]
    assert np.where(by_hand > 0.5, by_hand, 0) @ weights == pytest.approx(own.value.to_numpy(), abs=1e-5)
    firing = np.where(by_hand > 0.5, 1, 0)[(own.split == "validation").to_numpy()].sum(axis=0)
    assert firing.tolist() == [latent["n_fired"] for latent in detector.latents]
    assert {latent["n"] for latent in detector.latents} == {150}


def test_the_card_follows_from_the_stored_numbers(finished):
    _, _, detector, table = finished
    card = detector.document["card"]
    judged = table[table.split == "validation"]
    assert list(card["baselines"]) == BASELINES and card["n"] == {"sae": 130, "hyperparams": 60, "validation": 150}
    for name in ("detector", *BASELINES):
        rows = judged[judged.score == name]
        failed, flagged = (rows.label == "incorrect").to_numpy(), (rows.value > rows.threshold).to_numpy()
        found = card["detector"] if name == "detector" else card["baselines"][name]
        assert found["auroc"]["value"] == pytest.approx(sk.roc_auc_score(failed, rows.value))
        assert found["average_precision"]["value"] == pytest.approx(sk.average_precision_score(failed, rows.value))
        assert found["f1"]["value"] == pytest.approx(sk.f1_score(failed, flagged))
        assert found["recall"]["value"] == pytest.approx(sk.recall_score(failed, flagged))
        assert found["precision"]["value"] == pytest.approx(sk.precision_score(failed, flagged))
    rows = judged[judged.score == "detector"]
    failed, flagged = (rows.label == "incorrect").to_numpy(), (rows.value > detector.threshold).to_numpy()
    draws = draws_by_label(failed, 2000, 42).astype(int)
    areas = [sk.roc_auc_score(failed, rows.value, sample_weight=draw) for draw in draws[::10]]
    area = card["detector"]["auroc"]
    assert [area["low"], area["high"]] == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.02)
    target = card["target"]
    hits = (failed & flagged).sum()
    assert target["value"] == hits / failed.sum()
    assert (target["low"], target["high"]) == wilson_interval(int(hits), int(failed.sum()))
    assert card["calibration"]["brier"] == pytest.approx(sk.brier_score_loss(failed, rows.probability))
    for route, entry in card["routes"].items():
        own = (rows.route == route).to_numpy()
        assert entry["n"] == own.sum()
        assert entry["error_rate"]["value"] == (failed[own].mean() if own.any() else None)


def test_the_operating_point_and_the_differences_are_paired(finished):
    """By the same resamples, of precision and recall, and of AUROC by scikit-learn."""
    _, _, detector, table = finished
    card, judged = detector.document["card"], table[table.split == "validation"]
    own = judged[judged.score == "detector"]
    failed, flagged = (own.label == "incorrect").to_numpy(), (own.value > detector.threshold).to_numpy()
    draws = draws_by_label(failed, 2000, 42)
    hits, n_flagged = draws @ (flagged & failed), draws @ flagged
    point = card["operating_point"]
    assert point["base_rate"] == failed.mean() and point["flag_rate"]["value"] == flagged.mean()
    assert point["precision"]["value"] == pytest.approx(sk.precision_score(failed, flagged))
    for name, value, resampled in (
        ("precision_minus_base_rate", failed[flagged].mean() - failed.mean(), hits / n_flagged - failed.mean()),
        (
            "recall_minus_flag_rate",
            sk.recall_score(failed, flagged) - flagged.mean(),
            hits / failed.sum() - n_flagged / len(failed),
        ),
    ):
        expected = [value, *np.quantile(resampled, [0.025, 0.975])]
        assert [*point[name].values()] == pytest.approx(expected, abs=1e-9)
    assert list(card["auroc_minus"]) == BASELINES[1:] and card["known_after"] == [*BASELINES[4:6], BASELINES[7]]
    for name, found in card["auroc_minus"].items():
        other = judged[judged.score == name].value.to_numpy()
        value = sk.roc_auc_score(failed, own.value) - sk.roc_auc_score(failed, other)
        areas = [
            sk.roc_auc_score(failed, own.value, sample_weight=draw)
            - sk.roc_auc_score(failed, other, sample_weight=draw)
            for draw in draws[::20]
        ]
        assert found["value"] == pytest.approx(value)
        assert [found["low"], found["high"]] == pytest.approx(np.quantile(areas, [0.025, 0.975]), abs=0.03)


def test_the_verdict_does_not_depend_on_the_target(finished, experiment):
    """An F1 at one threshold once said that a good detector was none, where few texts were to be flagged."""
    _, _, detector, _ = finished
    experiment.build()
    for target in ("flag_rate=0.1", "recall=0.5"):
        other = AnomalyDetector.load(discover(experiment, target=target, reuse_validation=True))
        assert other.verdict == detector.verdict == "ranks"
        assert other.document["card"]["detector"]["auroc"] == detector.document["card"]["detector"]["auroc"]


def test_a_precision_that_cannot_be_promised_is_said_on_the_card(experiment):
    folder = discover(experiment.build(), target="precision=0.99")
    target = AnomalyDetector.load(folder).document["target"]
    assert not target["reached"] and target["low"] < 0.99
    said = f"**it cannot be promised**: its lower bound at 95 % is {target['low']:.3f}"
    assert said in (folder / "detector" / "README.md").read_text()


def test_the_population_is_that_of_the_fitted_prompts_and_programs_are_refused(finished):
    experiment, folder, detector, _ = finished
    population, card = detector.document["population"], detector.document["card"]["populations"]
    assert (population["read"], population["n"], population["ends_in_marker"]) == ("prompts", 190, 190)
    assert card["prompts"]["n_abstained"] == 0 and card["programs"]["n_abstained"] == card["programs"]["n"] == 150
    assert card["prompts"]["auroc"]["value"] == detector.document["card"]["detector"]["auroc"]["value"]
    assert card["programs"]["auroc"]["value"] is None  # no model has read them
    fields = experiment.programs[experiment.splits["validation"][0]]
    assert detector.population.says_no([fields["prompt"]]) == [None]
    assert "| programs | 150 | 150 | – |" in (folder / "detector" / "README.md").read_text()


def test_threshold_band_and_calibration_are_of_the_tuning_split_alone(finished):
    _, _, detector, table = finished
    rows = table[(table.score == "detector") & (table.split == "hyperparams")]
    failed, scores = (rows.label == "incorrect").to_numpy(), rows.value.to_numpy()
    target = detector.document["target"]
    assert target["reached"] and target["n"] == 60
    assert target["value"] == ((scores > detector.threshold) & failed).sum() / failed.sum() >= 0.8
    assert target["low"] is None
    higher = np.unique(scores[scores > detector.threshold])[0]
    assert ((scores > higher) & failed).sum() / failed.sum() < 0.8
    band = detector.document["abstain"]
    assert ((scores >= band["low"]) & (scores <= band["high"])).mean() <= 0.1
    assert detector.document["calibration"] == fit_calibration(scores, failed, "platt")


def test_the_model_card_states_the_cards_numbers(finished):
    _, folder, detector, _ = finished
    text = (folder / "detector" / "README.md").read_text()
    card = detector.document["card"]
    (row,) = [line for line in text.splitlines() if line.startswith("| this detector |")]
    for key, cell in zip(
        ("auroc", "f1", "precision", "recall", "specificity", "average_precision"), row.split(" | ")[1:7], strict=True
    ):
        entry = card["detector"][key]
        assert cell == f"{entry['value']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
    for name, entry in card["baselines"].items():
        assert f"| {name} | {entry['auroc']['value']:.3f} (" in text
    target = card["target"]
    assert f"Verdict on texts that it was not made from: {detector.verdict}." in text
    assert f"recall {target['wanted']:g}" in text and f"**{target['met']}**" in text
    assert f"({target['count']} of {target['of']})" in text
    assert f"Expected calibration error {card['calibration']['ece']:.3f}" in text
    assert f"Above {detector.threshold:.6g} a text is flagged" in text
    for latent in detector.latents:
        assert re.search(rf"\| {latent['latent']} \| {latent['t']:.2f} \| .*{latent['n_fired']} of 150 \|", text)


def test_labels_that_were_dealt_out_at_random_make_no_detector(experiment):
    rng = np.random.default_rng(11)
    experiment.labels = rng.permutation(experiment.labels).tolist()
    folder = discover(experiment.build())
    detector = AnomalyDetector.load(folder)
    assert detector.verdict in ("does not rank", "cannot tell")
    area = detector.document["card"]["detector"]["auroc"]
    assert area["low"] < 0.5 < area["high"]
    assert detector.verdict in (folder / "detector" / "README.md").read_text()
    assert detector.document["selection"]["counts"]["significant among them"] == 0


@pytest.mark.sweep
@pytest.mark.parametrize("rule", ["probe", "ace"])
def test_the_verdict_on_permuted_labels_is_seldom_that_it_ranks(tmp_path, saes, rule):
    """The whole phase, layers, k, penalty, threshold and card: at most 5 % of 200 runs, within sampling error."""
    runs, ranks = (200 if WHOLE_SWEEPS else 2), 0
    made = detectable(tmp_path, saes)
    made.make(handoffs.SPLIT), made.make(handoffs.GENERAL_TEXT)  # the phase reads no others but the generations
    without_labels = made.data
    for run in range(runs):
        rng = np.random.default_rng(run)
        made.labels = rng.permutation(made.labels).tolist()
        made.data = Path(shutil.copytree(without_labels, tmp_path / f"data_{run}"))
        made.make(handoffs.GENERATIONS)
        with contextlib.suppress(ConfigError):  # ACE's rule may find no latent at all: no verdict
            ranks += AnomalyDetector.load(discover(made, rule=rule)).verdict == "ranks"
        shutil.rmtree(made.data)
    assert ranks <= binom.ppf(0.99, runs, 0.05)


def test_the_folder_is_kilobytes_and_the_status_tells_the_verdict(finished):
    experiment, folder, detector, _ = finished
    files = list((folder / "detector").iterdir())
    assert len(files) == 3 and sum(path.stat().st_size for path in files) < 60_000
    (line,) = [line for line in status_lines((handoffs.DETECTOR,), experiment.data) if line.state == "built"]
    assert "verdict ranks" in line.detail and f"layer {detector.layer}" in line.detail


def test_the_same_run_gives_the_same_bytes(finished, experiment):
    _, folder, _, _ = finished
    again = discover(experiment.build())
    for name in ("scores.parquet", "detector/latents.safetensors"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()
    mine, theirs = (json.loads((run / "detector" / "detector.json").read_text()) for run in (again, folder))
    for document in (mine, theirs):
        for key in ("experiment", "model", "sae", "sha256_of_all_other_entries"):
            document.pop(key)
    assert mine == theirs


def test_another_detector_is_refused_unless_it_is_counted(experiment):
    """Another detector is refused unless it is counted and phase 3 is not concerned."""
    experiment.build()
    discover(experiment)
    discover(experiment, n_resamples=2500)  # the same detector, judged again
    with pytest.raises(ConfigError, match=r"(?s)another detector on .*recall=0.8.*precision=0.7.*--reuse-validation"):
        discover(experiment, target="precision=0.7")
    folder = discover(experiment, target="precision=0.7", reuse_validation=True)
    document = AnomalyDetector.load(folder).document
    assert document["card"]["readings"] == 2
    assert "2 detectors were evaluated on this split" in (folder / "detector" / "README.md").read_text()
    entries = all_readings(experiment.data)
    place = [entries[0][key] for key in ("model", "dataset", "split")]
    assert readings_of(experiment.data, *place, SELECTION) == []
    assert count_selections(readings_of(experiment.data, *place, DETECTOR)) == 2


def test_flags_do_what_they_say(experiment):
    experiment.build()
    detector = AnomalyDetector.load(discover(experiment, layer="1", top_k=3, rule="ace", abstain=0.0))
    assert detector.layer == 1 and len(detector.latents) <= 3 and detector.document["abstain"] is None
    t = np.array([latent["t"] for latent in detector.latents])
    assert detector.weights == pytest.approx(t / t.sum()) and t.min() >= 2
    assert detector.document["layers_tried"] == {} and "ACE's own rule" in detector.files()["README.md"].decode()
    rate = AnomalyDetector.load(
        discover(experiment, target="flag_rate=0.2", calibration="isotonic", reuse_validation=True)
    )
    assert rate.document["target"]["value"] <= 0.2 and rate.document["calibration"]["method"] == "isotonic"


def test_a_limit_of_one_needs_no_baseline(experiment, monkeypatch):
    """A limit of one needs no baseline and reads general text on the spot."""
    for schema in (handoffs.SPLIT, handoffs.GENERATIONS):
        experiment.make(schema)
    with pytest.raises(MissingArtifactError, match=r"no finished general_text .*\n.*phase 1\.1"):
        discover(experiment)
    with pytest.raises(AssetError, match=r"pile-10k .*(\n.*)+\.txt.* --text FOLDER"):
        discover(experiment, general_text_limit=1.0)
    asked = []

    class Read:
        def __init__(self, text, model, _load, _log):
            asked.append((text, model))

        def layers(self):
            return [0, 1, 2]

        def of_layer(self, layer):
            return torch.from_numpy(experiment.resid[layer])

    monkeypatch.setattr("phase4_anomaly_detection.texts.ReadText", Read)
    detector = AnomalyDetector.load(discover(experiment, general_text_limit=1.0, text="prose"))
    assert asked == [("prose", str(experiment.model))]
    assert {latent["general_text_rate"] for latent in detector.latents} == {None}


def test_refusals_say_what_is_wrong_and_what_to_type(experiment):
    experiment.build()
    for given, message in (
        ({"layer": "7"}, r"layer 7 .*0, 1, 2\n.*--layer"),
        ({"layer": "first"}, "--layer is 'first'"),
        ({"target": "f1=1"}, "target is 'f1=1'"),
        ({"levels": (0.1,)}, r"levels are 0.1\n.* 4 rising"),
        ({"rule": "best"}, r"--rule is 'best'\n.*probe, ace"),
        ({"read": "code"}, r"--read is 'code'\n.*auto, prompts, programs"),
        ({"n_resamples": 5}, "--n-resamples is 5"),
        ({"labelled": "absent.jsonl"}, "--labelled absent.jsonl .*No such file"),
        ({"quantisation": "8bit"}, r"--quantisation is 8bit.*no model.*\n.*--labelled"),
    ):
        with pytest.raises(ConfigError, match=message):
            discover(experiment, **given)
    assert not list((experiment.data / "phase4_1").glob("*/manifest.json"))


def test_what_phase_1_does_not_know_of_its_programs_is_no_baseline(experiment):
    for fields in experiment.programs.values():
        fields |= {"mean_logprob": None, "first_token_entropy": None}
    experiment.labels[experiment.splits["sae"][0]] = "not_run"
    document = AnomalyDetector.load(discover(experiment.build())).document
    assert document["card"]["baselines_left_out"] == BASELINES[4:7]
    assert list(document["card"]["baselines"]) == [*BASELINES[:4], BASELINES[7]]
    assert document["card"]["left_out"]["sae"] == {"not_run": 1} and document["card"]["n"]["sae"] == 129


def test_activations_that_the_sae_does_not_fit_are_refused_unless_accepted(experiment):
    for layer, resid in experiment.resid.items():
        experiment.resid[layer] = np.where(resid > 0, 0.49, -0.49).astype(np.float32)  # below every threshold
    experiment.text = {layer: resid.copy() for layer, resid in experiment.resid.items()}
    failed = [label == "incorrect" for label in experiment.labels]
    experiment.resid[1][failed, 7] = 0.6 + 1e-4 * np.arange(sum(failed))
    experiment.build()
    with pytest.raises(ArtifactMismatchError, match="--accept-bad-fit"):
        discover(experiment, layer="1")
    detector = AnomalyDetector.load(discover(experiment, layer="1", accept_bad_fit=True))
    assert [latent["latent"] for latent in detector.latents] == [7]
    assert detector.document["card"]["detector"]["auroc"]["value"] == 1


def test_saes_of_another_site_are_refused_before_anything_is_loaded(tmp_path, saes):
    others = shutil.copytree(saes, tmp_path / "others")
    for path in others.glob("layer_*/cfg.json"):
        path.write_text(path.read_text().replace("hook_resid_post", "hook_mlp_out"))
        (path.parent / "sae_weights.safetensors").write_bytes(b"not read")
    with pytest.raises(ConfigError, match=r"others names SAEs, which read hook_mlp_out, not hook_resid_post\n.*--sae"):
        discover(detectable(tmp_path, others).build())


def test_the_layer_is_the_one_given_else_the_registrys_else_to_be_found():
    def layer(model: str, **given: object) -> int | None:
        return known_layer(DetectorPhaseConfig(model=model, **given))

    assert layer("meta-llama/Llama-3.1-8B-Instruct") == layer("meta-llama/Llama-3.1-8B") == 12
    assert layer("google/gemma-2-2b-it") == layer("google/gemma-2-2b") == 19
    assert layer("organism") is None and layer("google/gemma-2-9b") is None
    assert layer("google/gemma-2-2b", layer="3") == 3
