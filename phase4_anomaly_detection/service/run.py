"""Start the service, and stop it without losing a request.

    python3 run.py serve --artifacts my_detector --port 8000

On SIGTERM or SIGINT: requests under way are answered, new ones get 503 while these are; then the port is closed and the
process ends with status 0. A second signal ends it at once, in the middle of whatever it does.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import logging
import os
import resource
import signal
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from common.cli import Parser
from common.errors import AssetError, ConfigError
from phase4_anomaly_detection.service.settings import ServiceSettings, others_can_read, read_token

if TYPE_CHECKING:
    import uvicorn

    from phase4_anomaly_detection.pipeline import SAEAnomalyPipeline

NEEDED = ("fastapi", "uvicorn", "prometheus_client")
LEAST_DRAIN_S = 0.5  # for requests that are on their way when the signal comes
TEXTS_FOR_A_BATCH = 4  # of the model: micro-batches of so many times its size
_BACKLOG = 2048


def add_flags(parser: Parser) -> None:
    """The service's own flags, beside those of the detector."""
    add = parser.add_argument_group("the service").add_argument
    add("--host", default="127.0.0.1", help="address to listen on; others than this machine's own need --token-file")
    add("--port", type=int, default=8000, help="0 for any that is free (default: 8000)")
    text = "file with a bearer token that every request must bring (default: none; only this machine is answered)"
    add("--token-file", metavar="FILE", type=Path, default=None, help=text)
    add("--max-bytes", type=int, default=1_000_000, help="largest body of a request (default: 1000000)")
    add("--max-waiting", type=int, default=4096, help="requests under way at a time; more get 503 (default: 4096)")
    text = "seconds that the head of a request may take to arrive (default: 10)"
    add("--head-s", metavar="SECONDS", type=float, default=10.0, help=text)
    text = "seconds that the body of a request may take to arrive (default: 30)"
    add("--body-s", metavar="SECONDS", type=float, default=30.0, help=text)
    text = "windows that a text may need with --long-input windows (default: 64)"
    add("--max-windows", type=int, default=64, help=text)
    text = "seconds that requests under way get after SIGTERM (default: 30)"
    add("--drain-s", metavar="SECONDS", type=float, default=30.0, help=text)
    text = "check programs for those who ask: syntax, types, their tests in the sandbox, CrossHair (default: off)"
    add("--verify", action="store_true", help=text)
    text = "seconds that a verification may take, all its checks together (default: 60)"
    add("--verify-s", metavar="SECONDS", type=float, default=60.0, help=text)
    text = "isolation of what verification runs: auto | strict | none (default: auto)"
    add("--sandbox", default="auto", help=text)
    add("--log-code", action="store_true", help="write the texts into the log too (default: off)")


def settings_of(args: argparse.Namespace) -> ServiceSettings:
    """What was typed. Raises: ConfigError."""
    names = "host port max_bytes max_waiting head_s body_s drain_s max_windows verify verify_s sandbox log_code".split()
    token, batch_size = read_token(args.token_file), TEXTS_FOR_A_BATCH * args.batch_size
    return ServiceSettings(token=token, batch_size=batch_size, **{name: getattr(args, name) for name in names})


def serve(pipeline: "SAEAnomalyPipeline", args: argparse.Namespace) -> int:
    """Load the model, answer until a signal comes, and return the exit status.

    Raises: AssetError without the packages; ConfigError for a setting, or a port that is taken; what loading raises.
    """
    check_packages()
    settings = settings_of(args)
    from phase4_anomaly_detection.service.app import create_app
    from phase4_anomaly_detection.service.logs import new_service_log

    log = new_service_log(settings.log_code)
    with contextlib.closing(bind(settings.host, settings.port)) as listener:  # before what takes time
        if args.token_file is not None and others_can_read(args.token_file):
            log.warning("others can read the token", extra={"fields": {"file": str(args.token_file)}})
        _allow_many_connections()
        app = create_app(pipeline.load_model(), settings)
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        detector = pipeline.detector
        fields = {"url": url, "model": detector.model_name, "layer": detector.layer, "verdict": detector.verdict}
        log.info("listening", extra={"fields": {**fields, "token_needed": settings.token is not None}})
        draining_server(app, settings).run(sockets=[listener])
        if not app.state.service.ended:
            end_at_once(app)
        _say_stopped(app)
    return 0


def end_at_once(app: Any) -> NoReturn:
    """End the process with status 0, without the wait for its threads that is Python's own end."""
    app.state.service.stop_verifying()
    _say_stopped(app)
    logging.shutdown()
    os._exit(0)


def _say_stopped(app: Any) -> None:
    gate = app.state.service.gate
    gate.log.info("stopped", extra={"fields": {"unanswered": gate.in_flight}})


def check_packages() -> None:
    """Raises: AssetError, saying how to get what is missing."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise AssetError(
            f"the service needs packages that are not installed: {', '.join(missing)}\n"
            f"Type: .venv/bin/python -m pip install -r requirements-serve.txt"
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises: ConfigError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}\nGive another --port, or --port 0 for any"
        ) from error
    listener.setblocking(False)
    return listener


def draining_server(app: Any, settings: ServiceSettings) -> "uvicorn.Server":
    """uvicorn's server, with the stop described above."""
    import uvicorn

    from phase4_anomaly_detection.service.connections import connection_class

    gate = app.state.service.gate

    class DrainingServer(uvicorn.Server):
        stop_at = stop_from = 0.0
        signal: str | None = None

        def handle_exit(self, sig: int, frame: Any) -> None:
            """The signal is not given on, as uvicorn does: the process ends with status 0."""
            if gate.draining:
                asyncio.get_running_loop().call_soon_threadsafe(end_at_once, app)  # not here: locks may be held
                return
            now = time.monotonic()
            self.stop_from, self.stop_at = now + LEAST_DRAIN_S, now + max(LEAST_DRAIN_S, settings.drain_s)
            self.signal, gate.draining = signal.Signals(sig).name, True

        async def on_tick(self, counter: int) -> bool:
            if self.signal is not None:  # said here: a signal's handler may come in the middle of writing a line
                gate.log.info("draining", extra={"fields": {"signal": self.signal, "in_flight": gate.in_flight}})
                self.signal = None
            now = time.monotonic()
            if gate.draining and now >= self.stop_from and (gate.in_flight == 0 or now >= self.stop_at):
                self.should_exit = True
            return await super().on_tick(counter)

    config = uvicorn.Config(
        app,
        http=connection_class(settings, gate.metrics),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,  # after drain_s, which was the time of the requests
    )
    return DrainingServer(config)


def _allow_many_connections() -> None:
    """As many open files as this user may have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
