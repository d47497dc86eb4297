"""Covers what float32 may decide: AnomalyDetector.sure, and the texts that are read once more in float64."""

from pathlib import Path

import numpy as np
import pytest
from small_detectors import LAYER, prompts, shared_detector

from phase4_anomaly_detection import AnomalyDetector, Detection, SAEAnomalyPipeline, SidecarConfig, SidecarModel
from phase4_anomaly_detection.float64 import FLOAT32_ERROR

TEXTS = list(prompts(24))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return shared_detector(tmp_path_factory)


@pytest.fixture(scope="module")
def resid() -> np.ndarray:
    return SidecarModel(SidecarConfig(layer=LAYER, device="cpu", threads=1)).read(TEXTS).resid


def decided(detection: Detection) -> tuple[object, ...]:
    """What a reader acts on."""
    fired = sorted(entry["latent"] for entry in detection.top_features)
    return detection.is_anomaly, detection.route, detection.level, fired


def displaced(resid: np.ndarray, detector: AnomalyDetector, error: float, seed: int) -> np.ndarray:
    """Rows moved by `error` of their length, along a mixture of the latents' own columns: where it matters most."""
    generator = np.random.default_rng(seed)
    moves = generator.normal(size=(len(resid), detector.W_enc.shape[1])) @ detector.W_enc.T
    return resid + error * moves * (np.linalg.norm(resid, axis=1) / np.linalg.norm(moves, axis=1))[:, None]


@pytest.mark.parametrize("error", [3e-5, 1e-3, 1e-2])
def test_what_is_sure_is_said_of_every_row_so_near(folder, resid, error):
    detector = AnomalyDetector.load(folder)
    sure = detector.sure(resid, error)
    said = detector.detect(resid)
    for seed in range(40):
        moved = detector.detect(displaced(resid, detector, error, seed))
        for i in np.flatnonzero(sure):
            assert decided(moved[i]) == decided(said[i])
            assert moved[i].probability == pytest.approx(said[i].probability, abs=1e-3)


def test_few_texts_are_unsure_unless_the_threshold_lies_on_them(folder, resid):
    detector = AnomalyDetector.load(folder)
    assert detector.sure(resid, FLOAT32_ERROR).mean() > 0.8
    assert not detector.sure(resid, 1.0).any()
    for row, score in enumerate(detector.scores(resid)):
        assert not detector.with_threshold(score).sure(resid, FLOAT32_ERROR)[row]


@pytest.mark.parametrize("nudge", [1e-7, -1e-7])
@pytest.mark.parametrize("at", range(0, len(TEXTS), 6))
def test_what_is_decided_is_that_of_float64_however_texts_are_batched(folder, resid, at, nudge):
    detector = AnomalyDetector.load(folder)
    threshold = detector.scores(resid)[at] + nudge
    exact = [decided(one) for one in detector.with_threshold(threshold).detect(resid)]
    quick = SAEAnomalyPipeline.load(folder, "cpu", threads=1, threshold=threshold)
    assert quick.sidecar.reads_quickly
    assert [decided(one) for one in quick.detect(TEXTS)] == exact
    assert [decided(quick.detect(text)) for text in TEXTS] == exact
