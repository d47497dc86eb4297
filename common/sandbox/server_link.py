"""The judge's end of one server, and of the pipeline that may disappear at any moment."""

import contextlib
import os
import select
import socket
from typing import Any

from common.sandbox import framing, interpreter
from common.sandbox.confinement import Setup

_POLL_MS = 1000
_SERVER_GRACE_S = 60


class ServerFailure(Exception):
    """The server is gone, silent, or could not set up a child."""


class Pipeline:
    """Who asks the judge. Raises from every wait: ChannelClosed once it closed or died."""

    def __init__(self, requests: int, pid: int) -> None:
        self.requests, self.pid = requests, pid

    def next_request(self) -> dict[str, Any]:
        """The next program. Raises: ChannelClosed."""
        while not select.select([self.requests], [], [], _POLL_MS / 1000)[0]:
            self.check()
        return framing.receive(self.requests)

    def check(self) -> None:
        """A pipeline that died while a process forked from it keeps our pipe open shows no end of file."""
        if os.getppid() != self.pid:
            raise framing.ChannelClosed("the pipeline is gone")


class ServerLink:
    """One server: `role` says whether it forks programs or their tests. Started when it is first used."""

    def __init__(self, role: str, setup: Setup, pipeline: Pipeline, turn: int) -> None:
        self.role, self.setup, self.pipeline, self.turn = role, setup, pipeline, turn
        self.process: interpreter.Piped | None = None
        self._descriptors: socket.socket | None = None

    def start(self) -> None:
        """Raises: ServerFailure, with what the server said."""
        self._descriptors, theirs = socket.socketpair()
        with theirs:
            module = "tests_server" if self.role == "tests" else "server"
            kept = (theirs.fileno(), self.turn)
            self.process = interpreter.start(module, self.setup.scratch, stderr=2, new_session=False, inherited=kept)
            config = {"role": self.role, "setup": self.setup.to_json(), "descriptors": kept[0], "turn": kept[1]}
            with contextlib.suppress(framing.ChannelClosed):  # it has ended, which the next message tells
                framing.send(self.process.stdin.fileno(), config)
            self._wait(self.process.stdout.fileno())  # ChannelClosed here is of the pipeline, and ends the judge
            try:
                ready = framing.receive(self.process.stdout.fileno())
            except framing.ChannelClosed:
                raise ServerFailure(f"the server ended at its start, status {self.process.wait()}") from None
        if "failed" in ready:
            raise ServerFailure(ready["failed"])

    def ask(self, request: dict[str, Any], sockets: list[socket.socket] | None = None) -> None:
        """Send a request and the sockets that go with it; starts the server if there is none. Raises: ServerFailure."""
        if self.process is None:
            self.start()
        assert self.process is not None and self._descriptors is not None  # started
        try:
            framing.send(self.process.stdin.fileno(), {**request, "n_sockets": len(sockets or [])})
            if sockets:
                socket.send_fds(self._descriptors, [b"s"], [each.fileno() for each in sockets])
        except (framing.ChannelClosed, OSError):
            raise ServerFailure("the server is gone") from None

    def answer(self) -> tuple[dict[str, Any], bytes]:
        """(measurements, what the child wrote). Raises: ServerFailure; ChannelClosed only when the pipeline is gone."""
        assert self.process is not None  # it was asked
        from_server = self.process.stdout.fileno()
        self._wait(from_server)
        try:
            reply = framing.receive(from_server)
            answers = framing.receive_bytes(from_server, reply["n_bytes"])
        except framing.ChannelClosed:
            raise ServerFailure(
                f"the {self.role} server died while it ran the program, status {self.process.wait()}"
            ) from None
        if "failed" in reply:
            raise ServerFailure(reply["failed"])
        return reply, answers

    def _wait(self, fd: int) -> None:
        """Until the server has something to say. Raises: ServerFailure when it is silent for too long."""
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(self.pipeline.requests, 0)  # POLLHUP alone: the pipeline is gone
        silent_s = 0.0
        while True:
            ready = dict(poll.poll(_POLL_MS))
            if self.pipeline.requests in ready:
                raise framing.ChannelClosed("the pipeline is gone")
            if fd in ready:
                return
            self.pipeline.check()
            silent_s += _POLL_MS / 1000
            if silent_s > 2 * self.setup.limits.wall_s + _SERVER_GRACE_S:
                raise ServerFailure(f"the server was silent for {silent_s:.0f} s")

    def stop(self) -> None:
        """End the server, and with it what it forked."""
        process, self.process = self.process, None
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
        if self._descriptors is not None:
            self._descriptors.close()
