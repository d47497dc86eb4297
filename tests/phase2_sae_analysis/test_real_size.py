"""Covers benchmarks/latents.py: memory and time of phase 2 at real size, on a few layers, and the file of results."""

import re
import subprocess
import sys

import pytest
from support import ROOT

from benchmarks.sections import write_section


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> str:
    """The benchmark on 3 of the 26 layers; everything else has its real size."""
    out = tmp_path_factory.mktemp("benchmark") / "RESULTS.md"
    out.write_text("# Benchmarks\n\n## Other\n\nkept\n")
    words = [sys.executable, "-m", "benchmarks.latents", "--layers", "3", "--out", str(out)]
    done = subprocess.run(words, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return out.read_text()


def test_a_layer_of_real_size_stays_under_four_gigabytes(report):
    assert float(re.search(r"Peak memory .*: ([\d.]+) GiB", report)[1]) < 4e9 / 2**30


def test_a_layer_of_real_size_takes_less_than_two_and_a_half_times_its_matrix_products(report):
    """The best of three layers: other work on the machine slows small operations more than large products."""
    assert float(re.search(r"layers: ([\d.]+) to", report)[1]) < 2.5


def test_a_section_replaces_its_own_and_keeps_the_others(report, tmp_path):
    assert report.startswith("# Benchmarks\n\n## Other\n\nkept\n\n## Latents (phase 2)\n\n")
    path = tmp_path / "RESULTS.md"
    for title, text in (("A", "one"), ("B", "two\n\n| x |"), ("A", "three")):
        write_section(path, title, text)
    assert path.read_text() == "# Benchmarks\n\n## A\n\nthree\n\n## B\n\ntwo\n\n| x |\n"
