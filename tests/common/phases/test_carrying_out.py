"""Covers Phase.carry_out: what a phase computes does not depend on how many cores the machine has."""

import json
import os
import subprocess
import sys

import pytest
from support import ROOT

COUNTED = """
import json
import numpy, scipy.linalg  # as a phase's module imports them
from threadpoolctl import threadpool_info
from common.handoffs import DIFFICULTY
from common.phases.phase import Phase
from common.phases.settings import PhaseConfig

def threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]

class Context:
    config = PhaseConfig()

seen = []
phase = Phase(id="0", title="", config=PhaseConfig, inputs=(), output=DIFFICULTY,
              run=lambda ctx, config: seen.append(threads()))
before = threads()
phase.carry_out(Context())
print(json.dumps({"before": before, "within": seen[0], "after": threads()}))
"""


@pytest.mark.parametrize("cores", [1, 2])
def test_linear_algebra_of_a_phase_takes_one_thread_however_many_there_are(cores):
    """With two, thresholds and partial z of phase 3.1 had other last digits than with one."""
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": str(cores), "OMP_NUM_THREADS": str(cores)}
    done = subprocess.run([sys.executable, "-c", COUNTED], cwd=ROOT, env=environment, capture_output=True, check=True)
    counts = json.loads(done.stdout)
    assert counts["before"] and {*counts["before"]} == {min(cores, os.cpu_count() or 1)} == {*counts["after"]}
    assert {*counts["within"]} == {1}
