"""Covers phase 4.1 on the model organism: a file of labelled programs in, a detector that reads texts out."""

import json
import re

import numpy as np
import pytest
from small_detectors import few_documents
from support import command

from phase4_anomaly_detection import AnomalyDetector, SidecarConfig, SidecarModel
from phase4_anomaly_detection.texts import MEASURES

WORDS = ("Write a function to add {} to a number.", "Write a function to repeat a list {} times.")
FLAGS = ("--preset demo --layer 2 --general-text-limit 1 --n-permutations 100 --top-k 10").split()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """Two kinds of texts, one of which is mostly labelled incorrect: the model can tell them apart."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(160):
        kind = i % 2
        failed = rng.random() < (0.9 if kind else 0.1)
        rows.append({"prompt": WORDS[kind].format(i) + "\n\n# Solution:\n", "label": int(failed)})
    path = tmp_path_factory.mktemp("labelled") / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    return [*FLAGS, "--text", few_documents(tmp_path_factory.mktemp("general") / "text")]


@pytest.fixture(scope="module")
def finished(labelled, flags, tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    done = command("run.py", "phase", "4.1", *flags, "--labelled", labelled, "--data-dir", data)
    assert done.returncode == 0, done.stderr
    (run,) = (data / "phase4_1").glob("*/manifest.json")
    return run.parent, done


def test_labelled_texts_make_a_detector_without_any_other_phase(finished, labelled):
    run, done = finished
    detector = AnomalyDetector.load(run)
    card = detector.document["card"]
    assert card["n"] == {"sae": 80, "hyperparams": 16, "validation": 64} and detector.verdict == "ranks"
    assert card["baselines_left_out"] == list(MEASURES) and detector.population.read == "prompts"
    assert detector.layer == 2 and "ranks. AUROC 0." in done.stderr
    assert json.loads((run / "manifest.json").read_text())["experiment"]["dataset"].startswith("mine@")


def test_the_sidecar_gives_the_scores_that_the_phase_has_stored(finished, labelled):
    import pandas as pd

    run, _ = finished
    detector = AnomalyDetector.load(run)
    texts = [json.loads(line)["prompt"] for line in labelled.read_text().splitlines()]
    reading = SidecarModel(SidecarConfig(model="organism", layer=2, device="cpu", threads=1)).read(texts)
    table = pd.read_parquet(run / "scores.parquet").query("score == 'detector'").set_index("task_id")
    stored = table.value[range(len(texts))].to_numpy()
    assert detector.scores(reading.resid) == pytest.approx(stored, abs=1e-4)  # stored ones were rounded to float32
    assert {each.route for each in detector.detect(reading.resid)} >= {"proceed", "verify"}


def test_what_is_wrong_with_a_file_is_said_without_a_traceback(labelled, tmp_path):
    broken = tmp_path / "broken.jsonl"
    broken.write_text(labelled.read_text() + '{"prompt": "", "label": 1}\n')
    done = command("run.py", "phase", "4.1", *FLAGS, "--labelled", broken, "--data-dir", tmp_path / "data")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert re.search(r"error: .*broken.jsonl, line 161: 'prompt' is", done.stderr)
    assert not list((tmp_path / "data").glob("phase4_1/*/manifest.json"))


def test_a_file_of_another_kind_than_asked_for_is_refused(labelled, flags, tmp_path):
    words = ["run.py", "phase", "4.1", *flags, "--labelled", labelled, "--data-dir", tmp_path, "--read", "programs"]
    done = command(*words)
    assert done.returncode == 2 and re.search(r"error: --read is programs, but .*prompts.*\n.*--read", done.stderr)


def test_the_same_command_again_builds_nothing(finished, labelled, flags):
    run, _ = finished
    again = command("run.py", "phase", "4.1", *flags, "--labelled", labelled, "--data-dir", run.parents[1])
    assert again.returncode == 0 and "already built" in again.stderr
