"""Covers connections that do not behave: half-sent heads and bodies, too many of them, and half closes."""

import contextlib
import json
import socket
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from services import PATIENCE_S, serving
from small_detectors import shared_detector

HEAD_S = 2.0
MOST = 40
HEAD = b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("connections")
    flags = ("--head-s", HEAD_S, "--max-waiting", MOST, "--verify")
    with serving(shared_detector(tmp_path_factory), folder, *flags) as running:
        yield running


def connect(service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_S)


def request(text: str = "def add(a, b):", **more: object) -> bytes:
    body = json.dumps({"text": text, **more}).encode()
    return HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


def rest_of(connection: socket.socket) -> bytes:
    """What comes until the service ends the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
    return received


def figure(service, name: str, **labels: str) -> float:
    text = httpx.get(f"{service.url}metrics", timeout=PATIENCE_S).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return sum(s.value for s in samples if s.name == f"pva_sae_{name}" and labels.items() <= s.labels.items())


@pytest.mark.parametrize("sent", [b"", b"POST", HEAD, HEAD + b"X-Long: "])
def test_half_a_head_is_dropped_in_time_and_counted(service, sent):
    before = figure(service, "connections_dropped_total", reason="slow")
    with connect(service) as connection:
        connection.sendall(sent)
        began = time.monotonic()
        assert rest_of(connection) == b""
        assert time.monotonic() - began > HEAD_S - 0.5
    assert figure(service, "connections_dropped_total", reason="slow") == before + 1


def test_a_head_that_drips_is_dropped_as_well(service):
    began = time.monotonic()
    with connect(service) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(HEAD)
        for _ in range(int(PATIENCE_S / 0.1)):
            connection.sendall(b"X: y\r\n")
            time.sleep(0.1)
    assert time.monotonic() - began < PATIENCE_S / 2


def test_a_second_head_on_a_kept_connection_has_the_same_time(service):
    with connect(service) as connection:
        connection.sendall(request())
        assert b" 200 " in connection.recv(65_536)
        time.sleep(HEAD_S + 0.5)  # silence alone is no fault
        connection.sendall(request() + b"POST /det")
        assert b" 200 " in rest_of(connection)


def test_a_body_that_nobody_reads_does_not_hold_the_connection(service):
    with connect(service) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        assert b" 404 " in rest_of(connection)


def test_half_sent_requests_are_bounded_and_others_are_still_answered(service):
    before = figure(service, "connections_dropped_total", reason="crowded")
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(connect(service)) for _ in range(3 * MOST)]
        for connection in slow:
            with contextlib.suppress(ConnectionError):
                connection.sendall(HEAD)
        assert figure(service, "connections_waiting") <= MOST
        assert figure(service, "connections_dropped_total", reason="crowded") >= before + 2 * MOST - 1
        assert httpx.post(f"{service.url}detect", json={"text": "def f():"}, timeout=PATIENCE_S).status_code == 200
        for connection in slow:
            assert rest_of(connection) == b""
    assert figure(service, "connections_waiting") == 0


@pytest.mark.parametrize("n_requests", [1, 3])
def test_a_client_that_ends_its_writing_side_is_answered(service, n_requests):
    with connect(service) as connection:
        connection.sendall(request() * n_requests)
        connection.shutdown(socket.SHUT_WR)
        answer = rest_of(connection)
    assert answer.count(b"HTTP/1.1 200 ") == n_requests
    assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["route"] in ("proceed", "verify", "abstain")


@pytest.mark.parametrize("sent", [b"", HEAD, HEAD + b"Content-Length: 100\r\n\r\n{"])
def test_a_client_that_ends_its_writing_side_too_early_is_let_go(service, sent):
    with connect(service) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        began = time.monotonic()
        assert b" 200 " not in rest_of(connection)
        assert time.monotonic() - began < HEAD_S
