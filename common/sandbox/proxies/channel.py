"""Messages between the program's process and the tests': four bytes of length, then that many bytes of JSON.

Nothing that the other end writes is trusted, and a program may reach its own end of the socket: it can
close it, write to it, or make it non-blocking, and hurts only itself.
"""

import json
import os
from typing import Any

from common.sandbox.framing import LENGTH_BYTES, pack_text

MAX_MESSAGE_BYTES = 64 << 20


class Stop(BaseException):
    """The tests end here. Not an Exception, and noted at once, because a test may catch everything."""

    noted: list["Stop"] = []  # in this process, which runs the tests of one program

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.noted.append(self)


class Unsupported(Stop):
    """The tests cannot be judged."""


class Gone(Stop):
    """The other process ended (no reason is given: its server knows more), or says what no sandbox would."""


class ReferenceGone(Unsupported):
    """The process of the reference solution ended: no fault of the program's."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the reference solution: {reason or 'its process ended'}")


class Channel:
    """One end of the socket, which raises `gone` when the other is. What it needs is bound before any program runs."""

    def __init__(self, descriptor: int, gone: type[Stop] = Gone) -> None:
        self.descriptor, self._gone = descriptor, gone
        self._pending = bytearray()
        self._read, self._write, self._set_blocking = os.read, os.write, os.set_blocking
        self._encode, self._decode = json.JSONEncoder(check_circular=False).encode, json.loads
        self._pack = pack_text

    def send(self, message: Any) -> None:
        """Raises: Unsupported for a message that is too large; Gone when nobody reads."""
        try:
            text = self._encode(message)
        except (RecursionError, MemoryError):
            raise Unsupported("a value is too deep or too large to pass on") from None
        if len(text) > MAX_MESSAGE_BYTES:
            raise Unsupported("a value is too large to pass on")
        data = memoryview(self._pack(text))
        while data:
            try:
                data = data[self._write(self.descriptor, data) :]
            except BlockingIOError:
                self._set_blocking(self.descriptor, True)
            except OSError as error:
                raise self._gone("") from error

    def receive(self) -> Any:
        """Raises: what `gone` is at the end, for a torn or absurd frame, and for what is no JSON."""
        length = int.from_bytes(self._take(LENGTH_BYTES), "little")
        if length > MAX_MESSAGE_BYTES:
            raise self._gone("an absurd frame")
        body = self._take(length)
        try:
            return self._decode(body)
        except (ValueError, RecursionError, MemoryError) as error:
            raise self._gone("a frame that is no JSON") from error

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
                raise self._gone("")
            pending += chunk
        taken = bytes(pending[:length])
        del pending[:length]
        return taken
