"""Covers the service's OpenAPI: schemathesis sends what it allows and what it forbids, and finds nothing."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from services import TOKEN, serving, token_file
from small_detectors import shared_detector


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return shared_detector(tmp_path_factory)


def schemathesis(url: str, folder: Path, n_examples: int, *words: str) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name("schemathesis")
    command = [program, "run", f"{url}openapi.json", "--max-examples", str(n_examples), "--seed", "1", "--no-color"]
    command += ["--request-timeout", "60", *words]
    environment = {**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(folder)}
    return subprocess.run(map(str, command), cwd=folder, env=environment, text=True, capture_output=True, timeout=1800)


def test_it_describes_what_it_answers(detector, tmp_path):
    with serving(detector, tmp_path) as service:
        described = httpx.get(f"{service.url}openapi.json", timeout=60).json()
        assert {*described["paths"]} == {"/detect", "/health", "/metrics"}
        done = schemathesis(service.url, tmp_path, 40)
        assert done.returncode == 0 and "No issues found" in done.stdout, done.stdout + done.stderr
        assert "error" not in {entry["level"] for entry in service.log()}


def test_it_does_so_where_a_token_is_needed(detector, tmp_path):
    with serving(detector, tmp_path, "--token-file", token_file(tmp_path)) as service:
        done = schemathesis(service.url, tmp_path, 10, "--header", f"Authorization: Bearer {TOKEN}")
        assert done.returncode == 0 and "No issues found" in done.stdout, done.stdout + done.stderr
        asked = [entry for entry in service.log() if entry.get("path") == "/detect"]
        assert {200, 401, 422} <= {entry["status"] for entry in asked}
        assert not [entry for entry in asked if entry["status"] >= 500]
