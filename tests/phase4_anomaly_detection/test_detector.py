"""Covers detector.py: scores by hand, routes, windows, calibration, and a folder that is read as it was written."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from detectors import LATENTS, small_detector
from support import ROOT

from common.errors import ArtifactMismatchError, ConfigError, MissingArtifactError
from phase4_anomaly_detection import AnomalyDetector, DetectorConfig
from phase4_anomaly_detection.detector import ARRAYS, CARD, DOCUMENT, SCHEMA_VERSION

ROWS = np.array(
    [
        [3.0, 0.0, 0.0, 9.0],  # 1.5
        [0.5, 4.0, 0.0, 0.0],  # at the gate, latent 7 is silent: 1.0
        [1.0, 2.0, 2.0, 0.0],  # 0.5 + 0.5 - 2
        [0.0, 0.0, 0.0, 0.0],
    ]
)


def test_a_score_is_the_sum_of_its_listed_contributions():
    """A score is the sum of the listed contributions and the gate is strict."""
    detections = small_detector().detect(ROWS)
    assert [each.anomaly_score for each in detections] == [1.5, 1.0, -1.0, 0.0]
    for each in detections:
        assert sum(entry["contribution"] for entry in each.top_features) == pytest.approx(each.anomaly_score, abs=1e-12)
        for entry in each.top_features:
            assert entry["contribution"] == entry["activation"] * entry["weight"] != 0
    assert [entry["latent"] for entry in detections[2].top_features] == [9, 2, 7]  # equal ones by number
    assert detections[0].top_features == [
        {"layer": 2, "latent": 7, "activation": 3.0, "weight": 0.5, "contribution": 1.5, "t": 4.0}
    ]
    assert detections[3].top_features == []


def test_what_is_said_of_a_score():
    detections = small_detector(abstain=None).detect(ROWS, n_tokens=[5, 6, 7, 8])
    assert [each.is_anomaly for each in detections] == [True, False, False, False]  # 1.0 does not exceed 1.0
    assert [each.route for each in detections] == ["verify", "proceed", "proceed", "proceed"]
    assert [each.probability for each in detections] == pytest.approx(1 / (1 + np.exp(-np.array([1, 0, -4, -2]))))
    assert [each.level for each in detections] == ["medium", "medium", "none", "none"]  # 0.73, 0.5, 0.02, 0.12
    assert [each.n_tokens for each in detections] == [5, 6, 7, 8]


def test_a_bound_belongs_to_the_level_that_it_begins():
    detector = small_detector(calibration={"method": "isotonic", "x": [0.0, 1.0], "y": [0.0, 1.0]})
    scores = np.array([0.2, 0.25, 0.5, 0.75, 0.9, 1.0])
    rows = np.zeros((6, 4))
    rows[:, 1] = scores * 4
    rows[0, 1], rows[0, 0] = 0.0, 0.4 + 0.2  # 0.3 from latent 7
    levels = [each.level for each in detector.detect(rows)]
    assert levels == ["low", "low", "medium", "high", "critical", "critical"]


def test_it_abstains_in_the_band_ends_included():
    """It abstains in the band, ends included, and still says whether it is an anomaly."""
    detector = small_detector(abstain={"low": 1.0, "high": 1.5})
    detections = detector.detect(ROWS)
    assert [each.route for each in detections] == ["abstain", "abstain", "proceed", "proceed"]
    assert [each.is_anomaly for each in detections] == [True, False, False, False]
    moved = detector.with_threshold(-2)
    assert moved.document["abstain"] is None and [each.route for each in moved.detect(ROWS)] == ["verify"] * 4
    with pytest.raises(ConfigError, match=r"threshold is nan\n"):
        detector.with_threshold(float("nan"))


def test_torch_and_numpy_batched_and_one_by_one_give_the_same_scores():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 4)) * 3
    detector = small_detector()
    whole = detector.scores(rows)
    assert detector.scores(torch.from_numpy(rows)) == pytest.approx(whole, abs=1e-12)
    assert np.concatenate([detector.scores(rows[i : i + 1]) for i in range(200)]) == pytest.approx(whole, abs=1e-12)
    assert [each.anomaly_score for each in detector.detect(rows)] == pytest.approx(whole, abs=1e-12)
    assert detector.scores(torch.from_numpy(rows).bfloat16()) == pytest.approx(whole, abs=0.2)


def test_of_several_windows_the_one_with_the_largest_score_decides():
    detections = small_detector().detect(ROWS, n_tokens=[30, 9], owners=[0, 0, 0, 1])
    assert [each.anomaly_score for each in detections] == [1.5, 0.0]
    assert [each.window for each in detections] == [{"index": 0, "count": 3}, None]
    assert [each.n_tokens for each in detections] == [30, 9]


def test_a_detection_as_json_has_its_fields_and_the_verdict_of_the_card():
    found = small_detector().detect(ROWS)[0].as_json()
    assert list(found) == [
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
    ]
    assert found["verdict"] == "made by hand" and json.loads(json.dumps(found, allow_nan=False)) == found


def test_rows_of_another_width_or_that_are_no_numbers_are_refused():
    with pytest.raises(ArtifactMismatchError, match=r"rows of 4 numbers.*block 2 of organism.*\[2, 3\]\n"):
        small_detector().scores(np.zeros((2, 3)))
    with pytest.raises(ConfigError, match=r"text 1 .*nan or infinity\n.*float32"):
        small_detector().scores(np.array([[0, 0, 0, 0], [0, np.inf, 0, 0.0]]))


def test_calibrating_again_keeps_latents_and_weights_and_drops_the_card():
    rng = np.random.default_rng(0)
    correct, incorrect = rng.normal(size=(60, 4)), rng.normal(size=(50, 4)) + [2, 1, 0, 0]
    before = small_detector(card={"n": {}})
    after = before.calibrate(correct, incorrect, target="precision=0.9")
    assert after.latents == before.latents and (after.scores(correct) == before.scores(correct)).all()
    scores = np.concatenate([after.scores(correct), after.scores(incorrect)])
    flagged = scores > after.threshold
    assert (flagged[60:].sum() / flagged.sum()) == after.document["target"]["value"] >= 0.9
    assert after.document["card"] is None and "not evaluated" in after.verdict
    assert "not evaluated" in after.detect(incorrect)[0].as_json()["verdict"]
    band = after.document["abstain"]
    assert band["low"] <= after.threshold <= band["high"]


def test_what_is_saved_is_read_again(tmp_path):
    rng = np.random.default_rng(0)
    detector = small_detector()
    folder = detector.save(tmp_path / "detector")
    assert sorted(path.name for path in folder.iterdir()) == sorted([ARRAYS, CARD, DOCUMENT])
    again, rows = AnomalyDetector.load(folder), rng.normal(size=(50, 4)) * 3
    assert again.document == detector.document and again.latents == LATENTS
    assert (again.layer, again.model_name, again.threshold) == (2, "organism", 1.0)
    assert [each.as_json() for each in again.detect(rows)] == [each.as_json() for each in detector.detect(rows)]
    assert again.save(folder) == folder  # over an earlier detector
    assert AnomalyDetector.load(detector.save(tmp_path / "run" / "detector").parent).document == detector.document


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match=r"already holds thesis\.tex\n"):
        small_detector().save(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        small_detector().save(tmp_path / "thesis.tex")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_damage_is_found(tmp_path):
    def spoilt(name: str, change) -> None:
        folder = small_detector().save(tmp_path / name)
        change(folder)
        with pytest.raises((ArtifactMismatchError, MissingArtifactError), match=r"discover --out"):
            AnomalyDetector.load(folder)

    def edit(folder, name: str, old: bytes, new: bytes) -> None:
        content = (folder / name).read_bytes()
        assert old in content
        (folder / name).write_bytes(content.replace(old, new))

    spoilt("threshold", lambda folder: edit(folder, DOCUMENT, b'"threshold": 1.0', b'"threshold": 9.0'))
    spoilt("no_json", lambda folder: (folder / DOCUMENT).write_text("{"))
    spoilt("bit", lambda folder: edit(folder, ARRAYS, b"\x80?", b"\x81?"))
    spoilt("no_arrays", lambda folder: (folder / ARRAYS).unlink())
    spoilt("empty", lambda folder: [path.unlink() for path in folder.iterdir()])
    newer = small_detector(schema_version=SCHEMA_VERSION + 1).save(tmp_path / "newer")
    with pytest.raises(ArtifactMismatchError, match=r"schema version \d, .*version \d\n.*run\.py discover"):
        AnomalyDetector.load(newer)
    with pytest.raises(MissingArtifactError, match="no detector in .*nowhere"):
        AnomalyDetector.load(tmp_path / "nowhere")


def test_a_detector_loads_and_scores_without_torch_and_saelens(tmp_path):
    folder = small_detector().save(tmp_path / "detector")
    code = (
        "import sys\nfrom phase4_anomaly_detection import AnomalyDetector\n"
        f"print(AnomalyDetector.load({str(folder)!r}).detect([[3.0, 0, 0, 0]])[0].route)\n"
        "print([name for name in ('torch', 'sae_lens', 'transformers', 'sklearn') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.stdout.split("\n")[:2] == ["verify", "[]"], done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "recall"}, "target is 'recall'"),
        ({"calibration": "beta"}, "calibration is 'beta'"),
        ({"abstain": 1.5}, "abstain .*is 1.5"),
        ({"levels": (0.5, 0.4, 0.6, 0.7)}, r"levels are 0.5, 0.4, 0.6, 0.7\n.* 4 rising"),
        ({"levels": (0.5,)}, r"levels are 0.5\n.* 4 rising"),
    ],
)
def test_a_wrong_setting_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        DetectorConfig(**settings)


def test_every_name_of_the_interface_is_there_and_no_other():
    import phase4_anomaly_detection

    for name in phase4_anomaly_detection.__all__:
        assert getattr(phase4_anomaly_detection, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'Detector'; it has AnomalyDetector"):
        phase4_anomaly_detection.Detector  # noqa: B018
