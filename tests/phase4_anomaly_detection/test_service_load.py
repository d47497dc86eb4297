"""Covers the service under load and at its end: a thousand requests at a time (here 300), SIGTERM, and a deadline."""

import json
import resource
import socket
import time

import httpx
import pytest
from services import PATIENCE_S, programs, serving
from small_detectors import prompts, shared_detector
from support import WHOLE_SWEEPS

from benchmarks.http_load import ask_at_once
from phase4_anomaly_detection import SAEAnomalyPipeline

N = 1_000 if WHOLE_SWEEPS else 300
N_PROGRAMS = N // 10


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return shared_detector(tmp_path_factory)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    """So many texts, hardly two of them alike: prompts, and programs among them, on which it abstains."""
    return [*prompts(N - N_PROGRAMS), *programs()[:N_PROGRAMS]]


@pytest.fixture
def many_connections():
    """As many open files as so many connections need."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2 * N:
        pytest.skip(f"this machine allows {hard} open files, {2 * N} are needed; see ulimit -H -n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * N), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.sweep
def test_hundreds_of_requests_at_a_time_each_get_their_own_answer(detector, texts, tmp_path, many_connections):
    bodies = [{"text": text, "id": str(number)} for number, text in enumerate(texts)]
    with serving(detector, tmp_path) as service:
        answers = ask_at_once(service.port, [json.dumps(body).encode() for body in bodies])
        time.sleep(1.1)  # a report of drift may be a second old
        drift = httpx.get(f"{service.url}health", timeout=60).json()["drift"]
        assert service.stop() == 0
    assert [answer.status for answer in answers] == [200] * N
    found = [json.loads(answer.body) for answer in answers]
    assert [answer["id"] for answer in found] == [str(number) for number in range(N)]
    assert (drift["n"], drift["n_other"]) == (N - N_PROGRAMS, N_PROGRAMS)
    expected = SAEAnomalyPipeline.load(detector, device="cpu", threads=1).detect(texts)
    scores = {detection.anomaly_score for detection in expected}
    assert len(scores) > N / 4 and None in scores  # a mixed-up answer would show
    for answer, detection in zip(found, expected, strict=True):
        assert answer["anomaly_score"] == pytest.approx(detection.anomaly_score, abs=1e-6)
        assert answer["probability"] == pytest.approx(detection.probability, abs=1e-6)
        assert (answer["route"], answer["n_tokens"]) == (detection.route, detection.n_tokens)
        latents = [(entry["layer"], entry["latent"]) for entry in answer["top_features"]]
        assert latents == [(entry["layer"], entry["latent"]) for entry in detection.top_features]
        contributions = [entry["contribution"] for entry in answer["top_features"]]
        assert sum(contributions) == pytest.approx(answer["anomaly_score"] or 0, abs=1e-6)


class HalfSent:
    """A request whose body is sent in two halves."""

    def __init__(self, port: int):
        body = json.dumps({"text": "def f(n):\n    return n"}).encode()
        self.rest = body[10:]
        self.connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
        head = "POST /detect HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json"
        self.connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[:10])

    def finish(self) -> bytes:
        self.connection.sendall(self.rest)
        return self.connection.makefile("rb").read()


def in_flight(url: str) -> float:
    lines = httpx.get(f"{url}metrics", timeout=60).text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("pva_sae_requests_in_flight "))


def wait_until_in_flight(url: str, number: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while in_flight(url) != number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_at_sigterm_requests_under_way_are_answered_and_new_ones_are_refused(detector, tmp_path):
    with serving(detector, tmp_path, "--drain-s", 600) as service:
        under_way = [HalfSent(service.port) for _ in range(3)]
        wait_until_in_flight(service.url, 4)  # with that of the metrics themselves
        service.signal()
        assert service.wait_for("draining")["in_flight"] == 3
        refused = httpx.post(f"{service.url}detect", json={"text": "x"}, timeout=60)
        assert refused.status_code == 503 and "stopping" in refused.json()["detail"] and refused.headers["retry-after"]
        health = httpx.get(f"{service.url}health", timeout=60)
        assert health.status_code == 503 and health.json()["status"] == "draining"
        for request in under_way:
            answer = request.finish()
            assert answer.startswith(b"HTTP/1.1 200") and b'"anomaly_score"' in answer
        assert service.process.wait(PATIENCE_S) == 0
        assert service.log()[-1] | {"event": "stopped", "unanswered": 0} == service.log()[-1]


def test_a_request_that_never_ends_does_not_hold_the_service_up(detector, tmp_path):
    with serving(detector, tmp_path, "--drain-s", 1) as service:
        _request = HalfSent(service.port)
        wait_until_in_flight(service.url, 2)
        service.signal()
        assert service.process.wait(PATIENCE_S) == 0


def test_a_second_signal_ends_it_at_once(detector, tmp_path):
    with serving(detector, tmp_path, "--drain-s", 3000) as service:
        _request = HalfSent(service.port)
        wait_until_in_flight(service.url, 2)
        service.signal()
        service.wait_for("draining")
        service.signal()
        assert service.process.wait(PATIENCE_S) == 0


def test_more_requests_than_it_takes_are_told_to_come_again(detector, tmp_path):
    with serving(detector, tmp_path, "--max-waiting", 2) as service:
        under_way = [HalfSent(service.port), HalfSent(service.port)]
        deadline = time.monotonic() + PATIENCE_S
        while (answer := httpx.get(f"{service.url}health", timeout=60)).status_code != 503:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert answer.headers["retry-after"] and "under way" in answer.json()["detail"]
        assert all(request.finish().startswith(b"HTTP/1.1 200") for request in under_way)
        assert httpx.get(f"{service.url}health", timeout=60).status_code == 200
