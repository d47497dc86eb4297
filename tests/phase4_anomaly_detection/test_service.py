"""Covers the service: answers, hostile bodies, token, logs, metrics, drift, and what it refuses to start with."""

import asyncio
import contextlib
import json
import socket
import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from services import PATIENCE_S, TOKEN, programs, serving, texts_by_route, token_file
from small_detectors import LAYER, prompts, shared_detector
from support import cold_command

from phase4_anomaly_detection import SAEAnomalyPipeline, SidecarConfig, SidecarModel
from phase4_anomaly_detection.service.settings import ServiceSettings

TEXT = prompts()[0]
CODE = "def add(a: int, b: int) -> int:\n    return a - b"
END = "\n# Solution:\n"


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return shared_detector(tmp_path_factory)


@pytest.fixture(scope="module")
def pipeline(detector):
    return SAEAnomalyPipeline.load(detector, device="cpu", threads=1)


@pytest.fixture(scope="module")
def service(detector, tmp_path_factory):
    with serving(detector, tmp_path_factory.mktemp("service"), "--max-bytes", 20_000, cold=True) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(detector, tmp_path_factory):
    """A service with a token, that verifies, and that logs what it is sent."""
    folder = tmp_path_factory.mktemp("guarded")
    with serving(detector, folder, "--token-file", token_file(folder), "--verify", "--log-code") as running:
        yield running


@pytest.fixture
def client(service):
    with httpx.Client(base_url=service.url, timeout=60) as opened:
        yield opened


@pytest.fixture
def holder(guarded):
    with httpx.Client(base_url=guarded.url, timeout=PATIENCE_S, headers={"Authorization": f"Bearer {TOKEN}"}) as opened:
        yield opened


def test_an_answer_is_what_the_api_says(client, pipeline):
    texts = [*programs()[:10], *prompts()[:10]]
    for text, expected in zip(texts, pipeline.detect(texts), strict=True):
        answer = client.post("/detect", json={"text": text, "id": "mine"})
        found = answer.json()
        assert answer.status_code == 200 and found["id"] == "mine" and found["verification"] is None
        assert {*found} == {*expected.as_json(), "id", "verification"}
        assert found["anomaly_score"] == pytest.approx(expected.anomaly_score, abs=1e-6)
        assert found["probability"] == pytest.approx(expected.probability, abs=1e-6)
        assert (found["route"], found["level"], found["n_tokens"]) == (
            expected.route,
            expected.level,
            expected.n_tokens,
        )
        contributions = [entry["contribution"] for entry in found["top_features"]]
        assert sum(contributions) == pytest.approx(found["anomaly_score"] or 0, abs=1e-6)
        assert (found["probability"] is None) == (text in programs())
        assert found["reason"] == expected.reason


HOSTILE = {
    "empty": (b"", 400, "empty"),
    "null": (b"null", 422, "object"),
    "a number": (b"12", 422, "object"),
    "no JSON": (b"def f(): pass", 400, "JSON"),
    "cut off": (b'{"text": "def f', 400, "JSON"),
    "not UTF-8": (b'{"text": "\xff\xfe"}', 400, "JSON"),
    "UTF-16": ('{"text": "x"}'.encode("utf-16"), 400, "JSON"),
    "binary": (bytes(range(256)) * 8, 400, "JSON"),
    "zeros": (b"\0" * 100, 400, "JSON"),
    "half a surrogate pair": (b'{"text": "\\ud800"}', 400, "hex escape"),
    "a tower of brackets": (b"[" * 15_000, 400, "JSON"),
    "a tower of objects": (b'{"text":' * 2_000, 400, "JSON"),
    "a closed tower in a field": (b'{"text": ' + b"[" * 5_000 + b"]" * 5_000 + b"}", 400, "JSON"),
    "a huge number": (b'{"text": 1' + b"0" * 10_000 + b"}", 400, "JSON"),
    "no number": (b'{"text": NaN}', 422, "string"),
    "null text": (b'{"text": null}', 422, "string"),
    "no text": (b"{}", 422, "text"),
    "empty text": (b'{"text": ""}', 422, "text"),
    "blank text": (b'{"text": " \\n\\t "}', 422, "text"),
    "blank but for a control character": (b'{"text": "\\u001c"}', 422, "empty"),
    "a list of texts": (b'{"text": ["a"]}', 422, "string"),
    "an unknown field": (b'{"text": "x", "prompt": "y"}', 422, "prompt"),
    "a word for a truth value": (b'{"text": "x", "verify": "yes"}', 422, "verify"),
    "too long for the model": (json.dumps({"text": "x = 1\n" * 2_000}).encode(), 422, "too long"),
    "too large": (json.dumps({"text": "x" * 30_000}).encode(), 413, "20000 bytes"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_body_is_refused_with_a_reason(client, kind):
    body, status, reason = HOSTILE[kind]
    answer = client.post("/detect", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status and reason in answer.json()["detail"]
    assert client.get("/health").status_code == 200


def test_a_text_that_is_too_long_joins_no_batch(client):
    before = samples(client)
    assert client.post("/detect", json={"text": "x = 1\n" * 2_000}).status_code == 422
    assert client.post("/detect", json={"text": TEXT}).status_code == 200
    assert samples(client)["pva_sae_batch_texts_sum"] - before["pva_sae_batch_texts_sum"] == 1


def test_a_long_text_is_read_in_as_many_windows_as_the_service_allows(detector, tmp_path):
    sidecar = SidecarModel(SidecarConfig(layer=LAYER, device="cpu", long_input="windows", threads=1))
    needing = {sidecar.check_fits(text, 1_000): text for text in ("x = 1\n" * n + END for n in range(100, 2_000, 50))}
    assert len(sidecar.read([needing[2]]).resid) == 2 and len(sidecar.read([needing[3]]).resid) == 3
    with serving(detector, tmp_path, "--long-input", "windows", "--max-windows", 2) as service:
        for n in (1, 2):
            answer = httpx.post(f"{service.url}detect", json={"text": needing[n]}, timeout=60)
            assert answer.status_code == 200 and (answer.json()["window"] or {"count": 1})["count"] == n
        answer = httpx.post(f"{service.url}detect", json={"text": needing[3]}, timeout=60)
    assert answer.status_code == 422 and "need 3 windows" in answer.json()["detail"]
    assert "--max-windows" in answer.json()["detail"]


def test_a_body_without_a_length_is_refused_while_it_is_read(client):
    sent = 0

    def endless():
        nonlocal sent
        for _ in range(2_000):
            sent += 10_000
            yield b'"' + b"x" * 9_999

    answer = client.post("/detect", content=endless(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413 and "20000 bytes" in answer.json()["detail"] and sent >= 20_000


def test_a_body_announced_as_too_large_is_refused_before_it_is_sent(service):
    with socket.create_connection(("127.0.0.1", service.port), timeout=30) as connection:
        head = "POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n".encode())
        assert b" 413 " in connection.recv(100)


def test_other_kinds_of_bodies_are_refused(client):
    body = json.dumps({"text": TEXT}).encode()
    for headers in ({"Content-Type": "text/plain"}, {"Content-Type": "application/octet-stream"}, {}):
        assert client.post("/detect", content=body, headers=headers).status_code == 415
    packed = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert client.post("/detect", content=body, headers=packed).status_code == 415
    wide = {"Content-Type": "application/json; charset=utf-8"}
    assert client.post("/detect", content=body, headers=wide).status_code == 200


def test_without_a_token_it_answers_to_names_of_this_machine_alone(client):
    for name in ("evil.example", "evil.example:80", "192.0.2.1", "localhost.evil.example", ""):
        answer = client.get("/health", headers={"Host": name})
        assert answer.status_code == 400
    for name in ("localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.2:9", "[::1]:8000"):
        assert client.get("/health", headers={"Host": name}).status_code == 200


def test_unknown_paths_and_methods_are_refused(client):
    assert client.get("/nothing").status_code == 404 and client.get("/detect").status_code == 405
    assert client.post("/health").status_code == 405 and client.get("/docs").status_code == 404


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        f"Bearer {TOKEN} {TOKEN}",
        b"Bearer \xff\xfe",
    ],
)
def test_a_wrong_token_is_refused(guarded, header):
    with httpx.Client(base_url=guarded.url, timeout=60) as stranger:
        for method, path in (("POST", "/detect"), ("GET", "/metrics"), ("GET", "/nothing")):
            answer = stranger.request(method, path, headers={"Authorization": header}, content=b"{}")
            assert answer.status_code == 401 and "token" in answer.json()["detail"]
            assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_without_the_token_health_says_only_that_it_is_alive(guarded, holder):
    answer = httpx.get(f"{guarded.url}health", timeout=60)
    assert answer.status_code == 200 and answer.json() == {"status": "ok", "token_needed": True}
    assert httpx.post(f"{guarded.url}detect", timeout=60).status_code == 401
    assert holder.get("/health").json()["drift"]["n"] >= 0
    assert holder.post("/detect", json={"text": TEXT}).status_code == 200
    lower = {"Authorization": f"bearer {TOKEN}"}
    answer = httpx.post(f"{guarded.url}detect", json={"text": TEXT}, headers=lower, timeout=60)
    assert answer.status_code == 200


def test_verification_joins_the_answer_when_asked_for(holder, pipeline):
    """Verification joins the answer when it is asked for and the route is verify."""
    text = texts_by_route(pipeline)["verify"]
    wanted = {"text": text, "verify": True, "code": CODE, "tests": ["assert add(1, 2) == 3"]}
    found = holder.post("/detect", json=wanted).json()
    status = {check["name"]: check["status"] for check in found["verification"]["checks"]}
    assert found["verification"]["verdict"] == "failed" and status["syntax"] == "passed"
    assert status["tests"] == "failed"
    assert holder.post("/detect", json={"text": text}).json()["verification"] is None
    for route in ("proceed", "abstain"):
        wanted["text"] = texts_by_route(pipeline)[route]
        found = holder.post("/detect", json=wanted).json()
        assert found["route"] == route and found["verification"] is None


def test_a_service_that_does_not_verify_says_so(client):
    answer = client.post("/detect", json={"text": TEXT, "verify": True})
    assert answer.status_code == 403 and "--verify" in answer.json()["detail"]


def test_logs_are_json_and_hold_what_was_sent_only_when_asked_to(service, guarded, client, holder):
    secret = f"Write a_name_like_no_other.\n{END}"
    broken = '{"text": "def a_name_like_no_other(x)'
    for opened in (client, holder):
        answer = opened.post("/detect", json={"text": secret, "id": "seen"})
        assert answer.status_code == 200
        assert opened.post("/detect", content=broken, headers={"Content-Type": "application/json"}).status_code == 400
        assert opened.post("/detect", json={"text": secret, "a_name_like_no_other": 1}).status_code == 422
    lines = [entry for entry in service.log() if entry.get("id") == "seen"]
    assert lines and lines[0]["status"] == 200 and lines[0]["route"] and lines[0]["n_tokens"] > 3
    assert {"time", "level", "event", "request", "seconds", "score", "n_bytes"} <= {*lines[0]}
    assert "a_name_like_no_other" not in service.log_file.read_text()
    assert [entry for entry in guarded.log() if entry.get("text") == secret]
    assert TOKEN not in guarded.log_file.read_text()


def samples(client: httpx.Client) -> dict[str, float]:
    """The metrics, by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200 and answer.headers["content-type"].startswith("text/plain")
    return {
        sample.name + "".join(f" {value}" for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_metrics_count_what_happened(client):
    before = samples(client)
    for _ in range(3):
        assert client.post("/detect", json={"text": TEXT}).status_code == 200
    client.post("/detect", content=b"x"), client.get("/nothing/at/all")
    after = samples(client)

    def more(name: str) -> float:
        return after.get(name, 0) - before.get(name, 0)

    assert more("pva_sae_requests_total /detect 200") == 3 and more("pva_sae_requests_total /detect 415") == 1
    assert more("pva_sae_requests_total other 404") == 1 and more("pva_sae_batch_texts_sum") == 3
    assert more("pva_sae_request_seconds_count") == 4
    detected = [name for name in after if name.startswith("pva_sae_detections_total")]
    assert sum(map(more, detected)) == 3 and more("pva_sae_tokens_total") > 3 * 5
    assert after["pva_sae_requests_in_flight"] == 1 and after["pva_sae_queue_texts"] == 0


def test_drift_shows_in_health_and_metrics(client):
    n_others = client.get("/health").json()["drift"]["n_other"]
    for n in range(120):
        answer = client.post("/detect", json={"text": "yes " * (n + 1) + f"\n{END}"})
        assert answer.status_code == 200
    assert answer.json()["probability"] is None and "drift" in answer.json()["reason"]
    client.post("/detect", json={"text": CODE})
    deadline = time.monotonic() + PATIENCE_S
    while (drift := client.get("/health").json()["drift"])["n_other"] == n_others:  # a report may be a second old
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert drift["n"] >= 120 and drift["moved"]
    latent = drift["latents"][0]["latent"]
    found = samples(client)
    assert found["pva_sae_drift_moved"] == 1 and found["pva_sae_drift_texts"] == drift["n"]
    assert found[f"pva_sae_latent_firing_rate {latent}"] == pytest.approx(drift["latents"][0]["rate"])


def test_what_drift_needs_is_imported_before_the_first_request(detector):
    code = f"""
import sys
from phase4_anomaly_detection import SAEAnomalyPipeline
from phase4_anomaly_detection.service.app import create_app
from phase4_anomaly_detection.service.settings import ServiceSettings
pipeline = SAEAnomalyPipeline.load({str(detector)!r}, device="cpu", threads=1)
create_app(pipeline, ServiceSettings())
print("scipy.stats" in sys.modules)
"""
    done = cold_command("-c", code, timeout=PATIENCE_S)
    assert done.returncode == 0 and done.stdout.strip() == "True", done.stderr


def test_a_body_that_does_not_arrive_is_given_up(pipeline):
    import uvicorn

    from phase4_anomaly_detection.service.app import create_app

    async def ask() -> bytes:
        app = create_app(pipeline, ServiceSettings(body_s=0.3))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
        server.capture_signals = contextlib.nullcontext
        task = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n")
        writer.write(b'Content-Length: 100\r\n\r\n{"text": ')
        answer = await reader.readline()
        writer.close()
        server.should_exit = True
        await task
        return answer

    assert b" 408 " in asyncio.run(ask())


def test_the_command_refuses_to_start_without_a_token_and_with_bad_settings(cli, detector, tmp_path):
    done = cli("run.py", "serve", "--artifacts", detector, "--host", "0.0.0.0")
    assert done.returncode == 2 and "--token-file" in done.stderr and "Traceback" not in done.stderr
    short = tmp_path / "token"
    short.write_text("short\n")
    done = cli("run.py", "serve", "--artifacts", detector, "--token-file", short)
    assert done.returncode == 2 and "16" in done.stderr
    done = cli("run.py", "serve", "--artifacts", detector, "--sandbox", "bogus")
    assert done.returncode == 2 and "auto, strict, none" in done.stderr and "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_named(cli, detector, service):
    done = cli("run.py", "serve", "--artifacts", detector, "--port", service.port)
    assert done.returncode == 2 and str(service.port) in done.stderr and "--port" in done.stderr
