"""Messages between the sandbox's processes: four bytes of length, then that many bytes of JSON."""

import json
import os
import struct
from typing import Any

_LENGTH = struct.Struct("<I")
LENGTH_BYTES = _LENGTH.size


class ChannelClosed(Exception):
    """The process at the other end is gone."""


def pack(message: Any) -> bytes:
    """The bytes of one message. Lone surrogates survive, because JSON escapes them."""
    return pack_text(json.dumps(message))


def pack_text(text: str) -> bytes:
    """The bytes of one message that is JSON already."""
    body = text.encode("ascii")
    return _LENGTH.pack(len(body)) + body


def send_bytes(fd: int, data: bytes) -> None:
    """Write all of `data`. Raises: ChannelClosed when nobody reads."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(fd, view) :]
    except BrokenPipeError as error:
        raise ChannelClosed(str(error)) from error


def receive_bytes(fd: int, length: int) -> bytes:
    """Exactly `length` bytes. Raises: ChannelClosed when the writer left before the end."""
    chunks = bytearray()
    while len(chunks) < length:
        chunk = os.read(fd, min(length - len(chunks), 1 << 20))
        if not chunk:
            raise ChannelClosed(f"{len(chunks)} of {length} bytes, then the end")
        chunks += chunk
    return bytes(chunks)


def send(fd: int, message: Any) -> None:
    """Write one message. Raises: ChannelClosed."""
    send_bytes(fd, pack(message))


def receive(fd: int) -> Any:
    """The next message. Raises: ChannelClosed. Only for trusted writers: it has no caps."""
    (length,) = _LENGTH.unpack(receive_bytes(fd, LENGTH_BYTES))
    return json.loads(receive_bytes(fd, length))


def split_frames(data: bytes) -> list[bytes]:
    """The complete frames at the start of `data`, undecoded; a torn or absurd tail is left out."""
    frames, start = [], 0
    while start + LENGTH_BYTES <= len(data):
        (length,) = _LENGTH.unpack_from(data, start)
        end = start + LENGTH_BYTES + length
        if end > len(data):
            break
        frames.append(data[start + LENGTH_BYTES : end])
        start = end
    return frames
