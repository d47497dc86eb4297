"""Messages between the program's process and the tests': four bytes of length, then that many bytes of JSON.

Nothing that the other end writes is trusted, and a program may reach its own end of the socket: it can
close it, write to it, or make it non-blocking, and hurts only itself.
"""

import json
import os
from typing import Any, ClassVar

from common.sandbox.framing import LENGTH_BYTES, pack_text

MAX_MESSAGE_BYTES = 64 << 20


class Ending(BaseException):
    """Ends the tests. Not an Exception, and remembered: no test and no runner of tests gets past it."""

    first: "ClassVar[Ending | None]" = None

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        Ending.first = Ending.first or self


class Unsupported(Ending):
    """The tests cannot be judged."""


class Gone(Ending):
    """The other process ended (no reason is given: its server knows more), or says what no sandbox would."""


class Channel:
    """One end of the socket. What it needs is bound before any program runs."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._pending = bytearray()
        self._read, self._write, self._set_blocking = os.read, os.write, os.set_blocking
        self._encode, self._decode = json.JSONEncoder(check_circular=False).encode, json.loads
        self._pack = pack_text

    def send(self, message: Any) -> None:
        """Raises: Unsupported for a message that is too large; Gone when nobody reads."""
        text = self._encode(message)
        if len(text) > MAX_MESSAGE_BYTES:
            raise Unsupported("a value is too large to pass on")
        data = memoryview(self._pack(text))
        while data:
            try:
                data = data[self._write(self.descriptor, data) :]
            except BlockingIOError:
                self._set_blocking(self.descriptor, True)
            except OSError as error:
                raise Gone("") from error

    def receive(self) -> Any:
        """Raises: Gone at the end, for a torn or absurd frame, and for what is no JSON."""
        length = int.from_bytes(self._take(LENGTH_BYTES), "little")
        if length > MAX_MESSAGE_BYTES:
            raise Gone("an absurd frame")
        body = self._take(length)
        try:
            return self._decode(body)
        except (ValueError, RecursionError) as error:
            raise Gone("a frame that is no JSON") from error

    def _take(self, length: int) -> bytes:
        pending = self._pending
        while len(pending) < length:
            try:
                chunk = self._read(self.descriptor, 1 << 16 if length < 1 << 16 else 1 << 20)
            except BlockingIOError:
                self._set_blocking(self.descriptor, True)
                continue
            except OSError:
                chunk = b""
            if not chunk:
                raise Gone("")
            pending += chunk
        taken = bytes(pending[:length])
        del pending[:length]
        return taken
