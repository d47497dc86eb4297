"""Covers phase4_anomaly_detection/pipeline.py: the whole API on the organism, equal scores, other models and layers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from experiments import make_experiment, plant, save_saes
from small_detectors import LAYER, few_documents, labels, prompts, shared_detector
from support import ROOT

from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from common.files import read_sealed_json, write_sealed_json
from phase4_anomaly_detection import (
    AnomalyDetector,
    DetectorConfig,
    DiscoveryConfig,
    SAEAnomalyPipeline,
    SidecarConfig,
    SidecarModel,
)

TEXTS = list(prompts(24))
SCORES_DIFFER = 1e-9  # in float64: a thousandth of what is promised
ROUNDED = 1e-4  # in float32


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return shared_detector(tmp_path_factory)


@pytest.fixture(scope="module")
def pipeline(folder) -> SAEAnomalyPipeline:
    return SAEAnomalyPipeline.load(folder, "cpu", threads=1).load_model()


def of_each_label(texts: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The correct ones, and the incorrect ones."""
    pairs = list(zip(texts, labels(texts), strict=True))
    return [text for text, bad in pairs if not bad], [text for text, bad in pairs if bad]


def test_scores_in_float64_are_the_same_however_texts_are_batched(folder):
    """Scores are the same batched, one by one, in another order and by the parts."""
    wide, in_threes = (
        SAEAnomalyPipeline.load(folder, "cpu", threads=1, dtype="float64", batch_size=size) for size in (16, 3)
    )
    said = [wide.detect(TEXTS), [wide.detect(text) for text in TEXTS], wide.detect(TEXTS[::-1])[::-1]]
    batched, *others = ([one.anomaly_score for one in each] for each in (*said, in_threes.detect(TEXTS)))
    sidecar = SidecarModel(SidecarConfig(model="organism", layer=LAYER, device="cpu", threads=1))
    by_parts = AnomalyDetector.load(folder).scores(sidecar.read(TEXTS).resid)
    for scores in (*others, by_parts):
        np.testing.assert_allclose(scores, batched, rtol=0, atol=SCORES_DIFFER)
    assert len({round(score, 6) for score in batched}) > 10


def test_a_score_is_the_sum_of_the_listed_contributions(pipeline):
    for detection in pipeline.detect(TEXTS):
        listed = detection.top_features
        assert sum(entry["contribution"] for entry in listed) == pytest.approx(detection.anomaly_score, abs=1e-9)
        assert all(entry["activation"] * entry["weight"] == entry["contribution"] for entry in listed)
        assert [*map(abs, (e["contribution"] for e in listed))] == sorted(abs(e["contribution"]) for e in listed)[::-1]
        assert all({*entry} == {"layer", "latent", "activation", "weight", "contribution", "t"} for entry in listed)


def test_a_detection_says_all_that_was_promised(pipeline):
    detection = pipeline.detect(TEXTS[0])
    found = detection.as_json()
    assert json.loads(json.dumps(found)) == found
    assert {*found} == {
        "is_anomaly",
        "anomaly_score",
        "probability",
        "level",
        "threshold",
        "top_features",
        "route",
        "n_tokens",
        "window",
        "reason",
        "verdict",
    }
    assert detection.level in ("none", "low", "medium", "high", "critical")
    assert detection.route in ("proceed", "verify", "abstain")
    assert detection.n_tokens == len(pipeline.sidecar.lm.tokenizer(TEXTS[0])["input_ids"])
    assert detection.window is None and 0 <= detection.probability <= 1


def test_no_text_gives_no_detection_and_an_empty_one_is_refused(pipeline):
    assert pipeline.detect([]) == []
    with pytest.raises(ConfigError, match=r"text 1 of 1 is empty\n"):
        pipeline.detect("")


def test_of_a_long_text_the_window_with_the_largest_score_decides(folder):
    windowed = SAEAnomalyPipeline.load(folder, "cpu", threads=1, long_input="windows")
    long = "\n".join(prompts(14))
    detections = windowed.detect([TEXTS[0], long])
    reading = windowed.sidecar.read([long])
    scores = windowed.detector.scores(reading.resid)
    assert len(scores) > 2 and reading.n_tokens[0] > 1024
    assert detections[1].anomaly_score == pytest.approx(scores.max(), abs=ROUNDED)
    assert detections[1].window == {"index": int(scores.argmax()), "count": len(scores)}
    assert detections[1].n_tokens == reading.n_tokens[0] and detections[0].window is None
    with pytest.raises(ConfigError, match="--long-input windows"):
        SAEAnomalyPipeline.load(folder, "cpu", threads=1).detect(long)


def test_a_saved_pipeline_says_the_same(pipeline, tmp_path):
    saved = SAEAnomalyPipeline.load(pipeline.save(tmp_path / "saved"), "cpu", threads=1)
    assert saved.detect(TEXTS[:3]) == pipeline.detect(TEXTS[:3])


def test_calibrating_moves_the_threshold_and_keeps_the_scores(folder):
    own = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    before = own.detect(TEXTS)
    correct_texts, incorrect_texts = of_each_label(tuple(TEXTS))
    after = own.calibrate(correct_texts, incorrect_texts, target="flag_rate=0.25").detect(TEXTS)
    assert sum(detection.is_anomaly for detection in after) <= 6 < sum(detection.is_anomaly for detection in before)
    for old, new in zip(before, after, strict=True):
        assert new.anomaly_score == pytest.approx(old.anomaly_score, abs=ROUNDED)
    assert "not evaluated" in after[0].verdict


def test_what_was_detected_is_counted_for_drift(folder):
    own = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    first, second = own.detect(TEXTS[:2])
    own.detect(TEXTS[2])
    assert own.drift.report()["n"] == 3
    latent = first.top_features[0]["latent"]
    assert own.drift.n_fired[latent] >= 1
    listed = {entry["latent"] for detection in (first, second) for entry in detection.top_features}
    assert all(own.drift.n_fired[latent] for latent in listed)


def test_texts_like_those_at_discovery_have_not_moved_and_other_ones_have(folder):
    own = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    own.detect(list(prompts()))
    assert own.drift.report() == {"n": 80, "n_other": 0, "moved": False, "latents": own.drift.report()["latents"]}
    other = SAEAnomalyPipeline.load(folder, "cpu", threads=1)
    other.detect([f"x{i} = {i}\n\n# Solution:\n" for i in range(60)])
    assert other.drift.report()["moved"]


def test_the_model_may_lie_elsewhere_but_must_be_the_same(folder, tmp_path):
    copy = shutil.copytree(ROOT / "model_organism" / "weights" / "model", tmp_path / "copied")
    moved = SAEAnomalyPipeline.load(folder, "cpu", model=str(copy), threads=1)
    assert moved.sidecar.config.model == str(copy)
    settings = json.loads((copy / "config.json").read_text())
    other = shutil.copytree(copy, tmp_path / "other")
    (other / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 1e-5}))
    with pytest.raises(ArtifactMismatchError, match=r"reads organism@\w+, .*other is other@\w+.*\n.*--model"):
        SAEAnomalyPipeline.load(folder, model=str(other))
    with pytest.raises(ArtifactMismatchError, match="google/gemma-2-2b is google/gemma-2-2b"):
        SAEAnomalyPipeline.load(folder, model="google/gemma-2-2b")


def test_a_model_that_lies_where_it_lay_no_more_is_asked_for(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "detector")
    document = read_sealed_json(copy / "detector.json")
    document.pop("sha256_of_all_other_entries", None)
    write_sealed_json(copy / "detector.json", {**document, "model": {**document["model"], "name": "/gone/model"}})
    with pytest.raises(ConfigError, match=r" /gone/model .*\n.*--model FOLDER"):
        SAEAnomalyPipeline.load(copy)


def test_another_layer_than_the_detectors_is_refused(folder):
    assert SAEAnomalyPipeline.load(folder, "cpu", layer=LAYER).sidecar.config.layer == LAYER
    with pytest.raises(ConfigError, match=rf"--layer is 2.*detector in .*layer {LAYER}\b.*\n.*--layer"):
        SAEAnomalyPipeline.load(folder, layer=2)


def test_a_pipeline_without_a_detector_says_how_to_make_one():
    with pytest.raises(ConfigError, match=r"no detector .*\n.*\.run_discovery"):
        SAEAnomalyPipeline().detect("x")


def test_texts_of_one_label_and_unknown_settings_are_refused(tmp_path):
    own = SAEAnomalyPipeline()
    with pytest.raises(ConfigError, match=r" correct texts alone.*\nGive"):
        own.run_discovery(correct=["x"], data_dir=tmp_path)
    with pytest.raises(ConfigError, match=r"phase 4\.1 .*'topk'\n.*phase 4\.1 --help"):
        own.run_discovery(data_dir=tmp_path, topk=3)
    with pytest.raises(MissingArtifactError, match=r"python3 run\.py phase .* --preset demo"):
        own.run_discovery(data_dir=tmp_path)


def test_discovery_from_labelled_texts_to_detection(tmp_path):
    texts = prompts(160)
    incorrect = labels(texts)
    correct_texts, incorrect_texts = of_each_label(texts)
    own = SAEAnomalyPipeline(
        SidecarConfig(layer=LAYER, device="cpu", threads=1),
        DiscoveryConfig(top_k=10, general_text_limit=1.0, n_permutations=100),
        DetectorConfig(target="recall=0.9"),
    ).load_model()
    own.run_discovery(
        correct_texts,
        incorrect_texts,
        data_dir=tmp_path / "data",
        n_resamples=2000,
        text=few_documents(tmp_path / "text"),
    )
    detector = AnomalyDetector.load(own.save(tmp_path / "saved"))
    assert detector.layer == LAYER and 1 <= len(detector.latents) <= 10
    assert detector.document["target"]["wanted"] == 0.9 and all(latent["n"] == 64 for latent in detector.latents)
    assert sum(path.stat().st_size for path in (tmp_path / "saved").iterdir()) < 100_000
    again = SAEAnomalyPipeline.load(tmp_path / "saved", "cpu", threads=1).detect(list(texts))
    for one, other in zip(own.detect(list(texts)), again, strict=True):
        assert one.anomaly_score == pytest.approx(other.anomaly_score, abs=SCORES_DIFFER)
    flagged = np.array([detection.is_anomaly for detection in again])
    assert flagged[incorrect].mean() > flagged[~incorrect].mean() + 0.2


def test_discovery_from_the_artifacts_of_the_phases_needs_no_model(tmp_path):
    experiment = plant(make_experiment(tmp_path, save_saes(tmp_path / "saes")))
    order = np.random.default_rng(3).permutation(130).tolist()
    experiment.splits = {"sae": order[:70], "hyperparams": order[70:90], "validation": order[90:]}
    experiment.build()
    own = SAEAnomalyPipeline(
        SidecarConfig(model=str(experiment.model), layer=1, device="cpu"), DiscoveryConfig(top_k=4)
    )
    own.run_discovery(data_dir=experiment.data, dataset=str(experiment.dataset), sae=str(experiment.sae))
    assert own.detector.layer == 1 and own.detector.latents[0]["latent"] == 7  # the one that was planted
