"""Covers verifications under way in the service: two signals, one signal and a deadline, and clients that leave."""

import json
import socket
import time

import httpx
import pytest
from services import PATIENCE_S, Running, serving, texts_by_route
from small_detectors import shared_detector

from phase4_anomaly_detection import SAEAnomalyPipeline

HANGING = "import time\ndef f(n):\n    time.sleep(100000)\n    return n"
LONG = ("--verify", "--verify-s", 3000)  # its tests would be given up after eight minutes


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return shared_detector(tmp_path_factory)


@pytest.fixture(scope="module")
def alarming(detector):
    return texts_by_route(SAEAnomalyPipeline.load(detector, device="cpu", threads=1))["verify"]


def wanted(text: str, code: str) -> dict:
    return {"text": text, "verify": True, "code": code, "tests": ["assert f(1) == 1"]}


def ask(service: Running, text: str) -> socket.socket:
    """A connection on which a verification that hangs was asked for, and is under way or waits."""
    known = n_detected(service)
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)
    body = json.dumps(wanted(text, HANGING)).encode()
    head = f"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + body)
    deadline = time.monotonic() + PATIENCE_S
    while n_detected(service) == known:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return connection


def n_detected(service: Running) -> float:
    lines = httpx.get(f"{service.url}metrics", timeout=60).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("pva_sae_detections_total{"))


def test_a_second_signal_ends_a_verification_at_once(detector, alarming, tmp_path):
    with serving(detector, tmp_path, *LONG, "--drain-s", 3000) as service, ask(service, alarming):
        service.signal()
        assert service.wait_for("draining")["in_flight"] == 1
        service.signal()
        assert service.process.wait(PATIENCE_S) == 0
        assert service.log()[-1] | {"event": "stopped", "unanswered": 1} == service.log()[-1]


def test_a_verification_that_outlasts_the_draining_is_given_up(detector, alarming, tmp_path):
    with serving(detector, tmp_path, *LONG, "--drain-s", 1) as service, ask(service, alarming):
        service.signal()
        assert service.process.wait(PATIENCE_S) == 0


def test_a_verification_that_nobody_waits_for_holds_up_no_other(detector, alarming, tmp_path):
    with serving(detector, tmp_path, *LONG) as service:
        gone = [ask(service, alarming) for _ in range(3)]
        for connection in gone:
            connection.close()
        quick = wanted(alarming, "def f(n):\n    return n")
        found = httpx.post(f"{service.url}detect", json=quick, timeout=PATIENCE_S).json()
        status = {check["name"]: check["status"] for check in found["verification"]["checks"]}
        assert status["tests"] == "passed"
        left = [entry for entry in service.log() if "the connection ended" in entry.get("reason", "")]
        assert len(left) == 3 and service.stop() == 0
