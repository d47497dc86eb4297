"""An experiment with a planted detector, its phases 2 and 3.1 run, that several test files of phase 3 read."""

import logging
from pathlib import Path

import pytest
from detectable import detectable
from experiments import Experiment, save_saes
from selected_latents import SmallExperiment, make_small_experiment, save_noise_saes
from steered_runs import CHOSEN, coefficients_config
from support import built_once
from toy_phases import run_phase
from transfers import ready_for_transfer
from whole_selections import build_with_selection, copied, save_lively

from phase3_validation.detection.config import DetectionConfig
from phase3_validation.detection.phase import PHASE as DETECTION_PHASE
from phase3_validation.steering.coefficients_phase import PHASE as COEFFICIENTS_PHASE


def detect(experiment: Experiment, log=None, **given: object) -> Path:
    """Run phase 3.1 on the newest phase 2; returns its folder."""
    words = {key: str(getattr(experiment, key)) for key in ("dataset", "model", "sae")}
    return experiment.run_phase(DETECTION_PHASE, DetectionConfig(**words, **{"n_random_latents": 20, **given}), log)


@pytest.fixture(scope="session")
def small_saes(tmp_path_factory) -> Path:
    return save_saes(tmp_path_factory.mktemp("saes") / "small")


@pytest.fixture
def detectable_experiment(tmp_path, small_saes) -> Experiment:
    return detectable(tmp_path, small_saes)


@pytest.fixture(scope="session")
def detection_run(tmp_path_factory, small_saes) -> tuple[Experiment, Path]:
    """A finished phase 3.1 that tests only read, and what it was made from."""
    experiment = detectable(tmp_path_factory.mktemp("detectable"), small_saes).build()
    experiment.run()
    log = logging.getLogger("test_detection_run")
    log.setLevel(logging.INFO)
    return experiment, detect(experiment, log)


@pytest.fixture
def run_detection():
    return detect


@pytest.fixture(scope="session")
def noise_saes(tmp_path_factory) -> Path:
    return save_noise_saes(tmp_path_factory.mktemp("noise_saes") / "noise")


@pytest.fixture(scope="session")
def small_experiment(tmp_path_factory, tiny_gemma, noise_saes, small_problem_rows) -> SmallExperiment:
    """Phases 0 to 2 of a real model, which phases 3.4 and 3.7 are run on; tests that write copy its data."""
    folder = tmp_path_factory.mktemp("selected")
    experiment = make_small_experiment(folder, tiny_gemma, noise_saes, small_problem_rows[:20])
    return experiment.build(max_new_tokens=12, batch_size=8, threads=1)


@pytest.fixture(scope="session")
def lively_experiment(tmp_path_factory, tiny_gemma, small_problem_rows) -> SmallExperiment:
    """The same of a model that writes something, with matched latents; phases 3.5 and 3.6 are run on copies of it."""

    def build(folder: Path) -> None:
        folder.mkdir()
        model, saes = save_lively(tiny_gemma, folder / "lively"), save_noise_saes(folder / "noise")
        build_with_selection(folder, model, saes, small_problem_rows)

    folder = built_once(tmp_path_factory, "lively_experiment", build)
    return SmallExperiment(folder / "data", folder / "small.jsonl", folder / "lively", folder / "noise")


@pytest.fixture(scope="session")
def chosen_experiment(lively_experiment, tmp_path_factory) -> SmallExperiment:
    """Where phase 3.3 is still to be run."""
    experiment = copied(lively_experiment, tmp_path_factory.mktemp("chosen") / "data")
    experiment.choose(CHOSEN)
    return experiment


@pytest.fixture(scope="session")
def coefficients_run(lively_experiment, tmp_path_factory) -> Path:
    """A finished phase 3.2 that tests only read."""
    data = copied(lively_experiment, tmp_path_factory.mktemp("coefficients") / "data").data
    return run_phase(COEFFICIENTS_PHASE, data, coefficients_config(lively_experiment))


@pytest.fixture(scope="session")
def transferable(lively_experiment, tmp_path_factory) -> SmallExperiment:
    """Where phase 3.6 is still to be run."""
    return ready_for_transfer(lively_experiment, tmp_path_factory.mktemp("transfer") / "data")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory, tiny_gemma) -> Path:
    """Another one of the same shape."""
    return save_lively(tiny_gemma, tmp_path_factory.mktemp("other") / "tuned", gain=3.0, noise=0.05)
