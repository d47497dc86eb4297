"""Files that are old or new, never half: every byte the pipeline keeps is written here."""

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from common.errors import PipelineError


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` so that a reader, or a crash at any moment, sees old or new.

    The temporary file lies in the same folder (a rename across file systems is a copy) and
    is named after the process, because workers of several slices write side by side.
    Raises: PipelineError when the disk is full or the folder may not be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # a full disk must not keep half a file besides
            temporary.unlink(missing_ok=True)
        raise PipelineError(
            f"cannot write {path}: {error.strerror}\n"
            f"Make room, or allow writing there, and give the same command again: what is saved is kept"
        ) from error


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON."""
    write_atomic(path, json_bytes(value))


def json_bytes(value: Any) -> bytes:
    """`value` as indented JSON; NaN is refused, since JSON has none."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def text_sha256(text: str) -> str:
    """Hexadecimal SHA-256 of `text` in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
