"""Covers `make demo` after the pipeline: a detector beside the runs, one text, and the report at the end."""

import re
import subprocess

import pytest
from detectors import small_detector
from support import ROOT

import clean_data
from common.handoffs import SCHEMAS
from common.problems.prompt import build_prompt
from common.report.status import status_lines


@pytest.fixture(scope="module")
def recipe() -> str:
    done = subprocess.run(["make", "--dry-run", "demo"], cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_demo_goes_from_discovery_to_detection_and_ends_with_the_report(recipe):
    assert re.findall(r"run\.py (.*?)(?: --stdin.*)?$", recipe, re.MULTILINE) == [
        "pipeline --preset demo --jobs 2",
        "discover --preset demo --out data/detector",
        "detect --artifacts data/detector",
        "report --preset demo",
    ]


@pytest.mark.parametrize(("status", "goes_on"), [(0, True), (3, True), (4, True), (2, False), (1, False), (130, False)])
def test_any_route_lets_the_demo_go_on_and_an_error_does_not(recipe, status, goes_on):
    guard = re.search(r"--stdin (\|\| .*)$", recipe, re.MULTILINE)[1]
    assert (subprocess.run(["sh", "-c", f"(exit {status}) {guard}"]).returncode == 0) == goes_on


def test_its_text_has_the_form_of_the_prompts(recipe):
    shown = re.search(r"(printf '.*') \|", recipe)[1]
    text = subprocess.run(["sh", "-c", shown], text=True, capture_output=True).stdout
    expected = build_prompt("Write a function to double the elements of a list.", ["assert double([1, 2]) == [2, 4]"])
    assert text == expected.text


def test_a_detector_in_the_data_folder_is_no_run(tmp_path):
    before = status_lines(SCHEMAS, tmp_path)
    small_detector().save(tmp_path / "detector")
    assert status_lines(SCHEMAS, tmp_path) == before and clean_data.run_folders(tmp_path, None) == []
