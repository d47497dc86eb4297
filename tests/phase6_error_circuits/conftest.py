"""Pairs of one contrast for the organism, and its gate, run once for all tests."""

from pathlib import Path

import pytest
from support import built_once
from toy_phases import run_phase

from common import handoffs
from common.phases.settings import build_config
from common.runs.artifacts import Artifact
from common.runs.discovery import list_runs
from phase6_error_circuits.gate.config import ErrorGateConfig
from phase6_error_circuits.gate.phase import PHASE as GATE
from phase6_error_circuits.pair import ErrorPair, pair_of
from phase6_error_circuits.pairs.config import ErrorPairsConfig
from phase6_error_circuits.pairs.phase import PHASE as PAIRS


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    """The data folder of the demo's pairs and gate."""

    def build(data: Path) -> None:
        run_phase(PAIRS, data, build_config(ErrorPairsConfig, "demo", {}), preset="demo")
        run_phase(GATE, data, build_config(ErrorGateConfig, "demo", {}), preset="demo")

    return built_once(tmp_path_factory, "error_circuits", build)


@pytest.fixture(scope="session")
def made(demo) -> Artifact:
    """What phase 6.1 has made."""
    return newest(handoffs.ERROR_PAIRS, demo)


@pytest.fixture(scope="session")
def gate(demo) -> Artifact:
    """What phase 6.1b has made."""
    return newest(handoffs.ERROR_GATE, demo)


@pytest.fixture(scope="session")
def pairs(made) -> list[ErrorPair]:
    return [pair_of(row) for row in made.table("pairs.parquet")]


def newest(schema: handoffs.ArtifactSchema, data: Path) -> Artifact:
    return Artifact(schema, list_runs(schema, data)[0], "")
