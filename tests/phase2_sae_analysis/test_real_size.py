"""Covers benchmarks/latents.py and phase 2 at real size, on a few layers: memory, and time beside the products."""

import json
import subprocess
import sys

import pytest
from support import ROOT, WHOLE_SWEEPS

pytestmark = [pytest.mark.sweep, pytest.mark.skipif(not WHOLE_SWEEPS, reason="of real size: in make test-sweeps")]
MEASURE = """
import json, pathlib, sys, tempfile, torch
from benchmarks.latents import PHASE, PRODUCTS, Sizes, measure_layers, peak_gib
with tempfile.TemporaryDirectory() as folder:
    found, _end, _n_latents = measure_layers(Sizes(layers=3, permutations=1000), pathlib.Path(folder))
print(json.dumps({"ratios": found.times_as_long(PHASE, PRODUCTS), "peak_gib": peak_gib()}))
"""


@pytest.fixture(scope="module")
def found() -> dict:
    """The benchmark on 3 of the 26 layers; everything else has its real size."""
    done = subprocess.run([sys.executable, "-c", MEASURE], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_layer_of_real_size_stays_under_four_gigabytes(found):
    assert found["peak_gib"] < 4e9 / 2**30


def test_a_layer_of_real_size_takes_little_beside_its_products(found):
    """A layer of real size takes less than two and a half times its matrix products.

    The best of three layers: other work on the machine slows small operations more than large products.
    """
    assert min(found["ratios"]) < 2.5
