"""Covers what several dictionaries of a model share: one run of phase 1.1, which phases 2, 3.1 and 4.1 read."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from detectable import detectable
from experiments import RATE, Experiment, save_saes
from safetensors.torch import load_file, save_file

from common.handoffs import GENERAL_TEXT, SCHEMAS
from common.report.status import status_lines
from phase3_validation.detection.config import DetectionConfig
from phase3_validation.detection.phase import PHASE as DETECTION
from phase4_anomaly_detection.config import DetectorPhaseConfig
from phase4_anomaly_detection.phase import PHASE as DETECTOR

SILENCED = 3  # a latent of layer 1


@pytest.fixture(scope="module")
def read_with_both(tmp_path_factory) -> tuple[Experiment, list[list[Path]]]:
    """An experiment, and the runs of phases 2, 3.1 and 4.1 with each of two folders of SAEs."""
    folder = tmp_path_factory.mktemp("shared")
    experiment = detectable(folder, save_saes(folder / "saes")).build()
    others = Path(shutil.copytree(folder / "saes", folder / "others"))
    weights = load_file(others / "layer_1" / "sae_weights.safetensors")
    weights["threshold"][SILENCED] = 100
    save_file(weights, others / "layer_1" / "sae_weights.safetensors")
    return experiment, [runs_with(experiment, saes) for saes in (folder / "saes", others)]


def runs_with(experiment: Experiment, saes: Path) -> list[Path]:
    own = dataclasses.replace(experiment, sae=saes)
    words = {name: str(getattr(own, name)) for name in ("dataset", "model", "sae")}
    detection = DetectionConfig(**words, n_random_latents=5, reuse_validation=True)
    detector = DetectorPhaseConfig(**words, n_permutations=100, reuse_validation=True)
    return [own.run(), own.run_phase(DETECTION, detection), own.run_phase(DETECTOR, detector)]


def test_both_dictionaries_read_the_one_run_there_is(read_with_both):
    experiment, both = read_with_both
    [general_text] = (experiment.data / GENERAL_TEXT.folder).glob("*/manifest.json")
    digest = json.loads(general_text.read_text())["content_sha256"]
    for run in (run for runs in both for run in runs):
        assert json.loads((run / "manifest.json").read_text())["inputs"]["general_text"] == digest, run
    names = {run.name for runs in both for run in runs}
    assert sum("_saes" in name for name in names) == sum("_others" in name for name in names) == 3


def test_each_dictionary_has_rates_of_its_own(read_with_both):
    tables = [pyarrow.parquet.read_table(runs[0] / "latents.parquet") for runs in read_with_both[1]]
    rates = np.array([table["general_text_rate"].to_numpy() for table in tables])
    assert np.flatnonzero(rates[0] != rates[1]).tolist() == [32 + SILENCED]
    assert rates[:, 32 + SILENCED].tolist() == [RATE, 0.0]


def test_status_shows_the_run_once_and_nothing_that_is_stale(read_with_both):
    experiment, _ = read_with_both
    lines = status_lines(SCHEMAS, experiment.data)
    assert [line.state for line in lines if line.phase == "1.1"] == ["built"]
    assert [line.phase for line in lines if line.state == "built"].count("2") == 2
    assert not [line for line in lines if line.state == "stale"]
