"""An experiment with a planted detector, its phases 2 and 3.1 run, that several test files of phase 3 read."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest
from experiments import Experiment, make_experiment, plant, save_saes
from selected_latents import SmallExperiment, make_small_experiment, save_noise_saes
from steered_runs import CHOSEN, coefficients_config
from toy_phases import run_phase
from whole_selections import build_with_selection, copied, save_lively

from phase3_validation.detection.config import DetectionConfig
from phase3_validation.detection.phase import PHASE as DETECTION_PHASE
from phase3_validation.steering.coefficients_phase import PHASE as COEFFICIENTS_PHASE

SIZES = {"sae": 130, "hyperparams": 60, "validation": 150}


def detectable(folder: Path, saes: Path) -> Experiment:
    """Latent 1/7 fires on what fails; failing problems are longer, harder, and their programs less likely.

    Every field that a baseline reads is filled in; every validation problem has three samples at 0.3 and at 0.6.
    """
    experiment = plant(make_experiment(folder, saes, sum(SIZES.values())))
    rng = np.random.default_rng(3)
    order, first = rng.permutation(sum(SIZES.values())).tolist(), 0
    for name, size in SIZES.items():
        experiment.splits[name] = order[first : first + size]
        first += size
    for task_id, label in enumerate(experiment.labels):
        failed = label == "incorrect"
        operations = int(rng.integers(1, 4)) + failed
        experiment.problems[task_id] = {
            "text": "x" * int(rng.integers(20, 60) + 20 * failed),
            "complexity": int(rng.integers(1, 6)) + failed,
            "attributes": json.dumps({"n_operations": operations}),
        }
        experiment.programs[task_id] = {
            "prompt": "y" * int(rng.integers(100, 200) + 30 * failed),
            "mean_logprob": float(-rng.uniform(0, 1) - 0.3 * failed),
            "n_new_tokens": int(rng.integers(10, 60)),
            "first_token_entropy": float(rng.uniform(0, 1)),
        }
    for task_id in experiment.splits["validation"]:
        chance = 0.8 if experiment.labels[task_id] == "correct" else 0.2
        experiment.temperature[task_id] = ["correct" if rng.random() < chance else "incorrect" for _ in range(6)]
    return experiment


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
def lively_experiment(tmp_path_factory, tiny_gemma, noise_saes, small_problem_rows) -> SmallExperiment:
    """The same of a model that writes something, with matched latents; phases 3.5 and 3.6 are run on copies of it."""
    folder = tmp_path_factory.mktemp("lively")
    model = save_lively(tiny_gemma, folder / "lively")
    return build_with_selection(folder, model, noise_saes, small_problem_rows)


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
