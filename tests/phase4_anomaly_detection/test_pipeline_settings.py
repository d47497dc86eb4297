"""Covers phase4_anomaly_detection/pipeline.py: what a detector was made with is kept, long texts, files read again."""

import json
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from detectors import small_detector
from small_detectors import LAYER, few_documents, labels, prompts, shared_detector

from common.errors import ConfigError
from phase4_anomaly_detection import AnomalyDetector, SAEAnomalyPipeline, SidecarConfig, pipeline, sidecar


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return shared_detector(tmp_path_factory)


@pytest.fixture
def made_with(folder, tmp_path):
    """Save the detector as one that was made with another number type or quantisation; returns its folder."""
    detector = AnomalyDetector.load(folder)
    return lambda **facts: detector.having(model={**detector.document["model"], **facts}).save(tmp_path / "made_with")


@pytest.fixture
def said(caplog, monkeypatch):
    """What the log says, whatever another test made of the logger."""
    log = logging.getLogger("pva_sae")
    monkeypatch.setattr(log, "propagate", False)  # else it would come twice
    log.addHandler(caplog.handler)
    caplog.set_level(logging.INFO, "pva_sae")
    yield caplog
    log.removeHandler(caplog.handler)


def test_the_quantisation_is_the_detectors_and_another_one_is_refused(folder, made_with):
    assert SAEAnomalyPipeline.load(folder, "cpu").sidecar.config.quantisation == "none"
    assert SAEAnomalyPipeline.load(folder, "cpu", quantisation="none").sidecar.config.quantisation == "none"
    with pytest.raises(ConfigError, match=r"--quantisation is 8bit.* none: .*\n.*--quantisation 8bit"):
        SAEAnomalyPipeline.load(folder, "cpu", quantisation="8bit")
    quantised = made_with(quantisation="4bit")
    assert SAEAnomalyPipeline.load(quantised, "cpu").sidecar.config.quantisation == "4bit"
    for other in ("none", "8bit"):
        with pytest.raises(ConfigError, match=f"--quantisation is {other}.*made with 4bit"):
            SAEAnomalyPipeline.load(quantised, "cpu", quantisation=other)
    with pytest.raises(ConfigError, match="--dtype is float64 .*--quantisation 4bit"):
        SAEAnomalyPipeline.load(quantised, "cpu", dtype="float64")


def test_a_type_that_rounds_more_than_the_detectors_is_said_once(folder, said):
    own = SAEAnomalyPipeline.load(folder, "cpu", dtype="float32", threads=1)
    own.detect(prompts()[0])
    own.load_model().detect(prompts()[1])
    (record,) = said.records
    assert record.levelname == "WARNING" and "read in float32; the detector was made in float64" in record.getMessage()


def test_a_larger_model_is_read_in_the_detectors_type(made_with, said, monkeypatch):
    """A larger model is read in the detector's type and a wider one is no warning."""
    rounded = made_with(dtype="bfloat16")
    assert SAEAnomalyPipeline.load(rounded, "cpu", threads=1).load_model().sidecar.dtype == "float64"
    assert [record.levelname for record in said.records] == ["INFO"]
    monkeypatch.setattr(sidecar, "FLOAT64_BELOW", 0)
    assert SAEAnomalyPipeline.load(rounded, "cpu", threads=1).load_model().sidecar.dtype == "bfloat16"
    assert len(said.records) == 1


def test_a_detector_of_chat_prompts_reads_chat_prompts_once_it_is_made(made_with, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "run_to_its_folder", lambda _context: made_with(prompt="chat"))
    own = SAEAnomalyPipeline(SidecarConfig(device="cpu", threads=1))
    own.run_discovery(data_dir=tmp_path, prompt="chat")
    assert own.sidecar.config.prompt == "chat" and own.sidecar.config.layer == own.detector.layer


def test_discovery_from_stored_activations_takes_no_quantisation(tmp_path):
    own = SAEAnomalyPipeline(SidecarConfig(quantisation="8bit"))
    with pytest.raises(ConfigError, match=r"--quantisation is 8bit.*no model.*\n.*--labelled"):
        own.run_discovery(data_dir=tmp_path)


def test_a_long_text_counts_once_in_calibration_by_the_window_that_decides(folder):
    own = SAEAnomalyPipeline.load(folder, "cpu", threads=1, long_input="windows")
    texts = prompts(24)
    incorrect = labels(texts)
    of_correct = [text for text, bad in zip(texts, incorrect, strict=True) if not bad]
    of_incorrect = [*(text for text, bad in zip(texts, incorrect, strict=True) if bad), "\n".join(prompts(14))]
    detections = own.detect(of_incorrect)
    assert detections[-1].window["count"] > 2
    own.calibrate(of_correct, of_incorrect, target="recall=0.5")
    target = own.detector.document["target"]
    flagged = sum(detection.anomaly_score > own.detector.threshold for detection in detections)
    assert target["n"] == 25 and target["value"] == flagged / len(of_incorrect)


def test_threads_that_ask_for_the_drift_share_one_monitor():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for _ in range(200):
                own = SAEAnomalyPipeline()
                own._use(small_detector())
                assert len({id(found) for found in list(pool.map(lambda _, own=own: own.drift, range(8)))}) == 1
    finally:
        sys.setswitchinterval(before)


def test_a_labelled_file_is_the_same_whatever_it_is_called(tmp_path):
    """A labelled file is the same whatever it is called and the refusal says how to read it again."""
    texts = prompts(120)
    rows = [{"text": text, "label": int(bad)} for text, bad in zip(texts, labels(texts), strict=True)]
    for name in ("mine.jsonl", "renamed.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    own = SAEAnomalyPipeline(SidecarConfig(layer=LAYER, device="cpu", threads=1))
    settings = {
        "data_dir": tmp_path / "data",
        "general_text_limit": 1.0,
        "top_k": 8,
        "n_permutations": 100,
        "text": few_documents(tmp_path / "text"),
    }
    own.run_discovery(labelled=str(tmp_path / "mine.jsonl"), **settings)
    other = {"labelled": str(tmp_path / "renamed.jsonl"), "target": "recall=0.3", "seed": 43, **settings}
    with pytest.raises(ConfigError, match="validation split .*another detector") as refused:
        own.run_discovery(**other)
    advice = str(refused.value)
    assert f"--labelled {tmp_path / 'renamed.jsonl'}" in advice and "--target recall=0.3" in advice
    assert "--reuse-validation, or from Python .run_discovery(..., reuse_validation=True)" in advice
    own.run_discovery(reuse_validation=True, **other)
    assert own.detector.document["card"]["readings"] == 2
