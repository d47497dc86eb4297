"""The service in a process of its own, with a detector of the organism, and texts for it."""

import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from small_detectors import prompts
from support import ROOT, warm_commands
from warm_commands import Started

from phase4_anomaly_detection import SAEAnomalyPipeline

TOKEN = "a-token-for-tests-0123456789"
PATIENCE_S = 300  # of a loaded machine: nothing here waits that long otherwise


def programs() -> list[str]:
    """974 right programs of the organism's problems."""
    rows = (ROOT / "model_organism" / "problems_974.jsonl").read_text().splitlines()
    return [json.loads(row)["code"] for row in rows]


@functools.cache
def texts_by_route(pipeline: SAEAnomalyPipeline) -> dict[str, str]:
    """A prompt that the detector sends there, for each route."""
    routes = {found.route: text for text, found in zip(prompts(), pipeline.detect(list(prompts())), strict=True)}
    assert {*routes} == {"proceed", "verify", "abstain"}
    return routes


@dataclass
class Running:
    """A service that answers at `url`."""

    process: subprocess.Popen | Started
    url: str
    log_file: Path

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def log(self) -> list[dict]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines()]

    def wait_for(self, event: str) -> dict:
        """The first line of the log that tells of it."""
        return wait_for(self.log_file, self.process, event)

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def stop(self) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.signal()
        return self.process.wait(PATIENCE_S)


@contextlib.contextmanager
def serving(detector: Path, folder: Path, *flags: object, cold: bool = False) -> Iterator[Running]:
    """`run.py serve` on a free port; its log lies in `folder`. `cold`: an interpreter that imports all it needs."""
    log_file = folder / "service.log"
    log_file.touch()
    words = ["run.py", "serve", "--artifacts", detector, "--port", 0, "--threads", 1]
    words += ["--body-s", 600, *flags]  # a test that sends a body in pieces may be slow
    if cold:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        words = [sys.executable, *map(str, words)]
        with open(log_file, "wb") as log:
            process = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
    else:
        process = warm_commands().start(*words, log=log_file)
    try:
        url = wait_for(log_file, process, "listening")["url"]
        yield Running(process, url, log_file)
    finally:
        process.kill()
        process.wait()


def wait_for(log_file: Path, process: subprocess.Popen | Started, event: str) -> dict:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        text = log_file.read_text()
        for line in text.splitlines():
            if re.search(rf'"event": "{event}"', line) and line.endswith("}"):
                return json.loads(line)
        assert not ended, f"the service ended with {process.returncode}:\n{text}"
        time.sleep(0.05)
    raise AssertionError(f"no '{event}' in the log within {PATIENCE_S} s:\n{log_file.read_text()}")


def token_file(folder: Path) -> Path:
    path = folder / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path
