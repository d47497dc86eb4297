"""The organism with its transcoders, a circuit of it, and the same by plain transformers, for tests of phase 5.5."""

import pytest
from plain_interventions import PlainOrganism
from small_circuits import PROMPTS, circuit_of, meter_of

from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.saes.sources import transcoder_source
from phase5_attribution_graphs.interventions.circuits import Circuit
from phase5_attribution_graphs.interventions.measuring import Meter
from phase5_attribution_graphs.replacement.transcoders import load_transcoders


@pytest.fixture(scope="session")
def organism() -> LanguageModel:
    return load_model("organism", "cpu", threads=1)


@pytest.fixture(scope="session")
def transcoders(organism):
    return load_transcoders(transcoder_source("auto", "organism"), organism)


@pytest.fixture(scope="session")
def plain() -> PlainOrganism:
    return PlainOrganism()


@pytest.fixture(scope="session")
def circuit(organism, transcoders) -> Circuit:
    return circuit_of(organism, transcoders, next(iter(PROMPTS)))


@pytest.fixture(scope="session")
def meter(organism, transcoders, circuit) -> Meter:
    return meter_of(organism, transcoders, circuit)
