"""Experiments that several test files of phase 2 share."""

import dataclasses
from pathlib import Path

import pytest
from experiments import Experiment, make_experiment, plant, save_saes


@pytest.fixture(scope="session")
def small_saes(tmp_path_factory) -> Path:
    return save_saes(tmp_path_factory.mktemp("saes") / "small")


@pytest.fixture
def noise(tmp_path, small_saes) -> Experiment:
    return make_experiment(tmp_path, small_saes)


@pytest.fixture
def planted(noise) -> Experiment:
    return plant(noise)


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory, small_saes) -> tuple[Experiment, Path]:
    """A finished run that tests only read, and what it was made from."""
    experiment = plant(make_experiment(tmp_path_factory.mktemp("planted"), small_saes)).build()
    return experiment, experiment.run()


@pytest.fixture
def copy_of():
    return lambda experiment, **changes: dataclasses.replace(experiment, **changes)
