"""Files that are old or new, never half: every byte the pipeline keeps is written here."""

import codecs
import contextlib
import glob
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from common.errors import ConfigError, PipelineError

SEAL = "sha256_of_all_other_entries"


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
        sync(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):  # a full disk must not keep half a file besides
            temporary.unlink(missing_ok=True)
        raise PipelineError(
            f"cannot write {path}: {error.strerror}\n"
            f"Make room, or allow writing there, and give the same command again: what is saved is kept"
        ) from error


def sweep_temporaries(path: Path) -> None:
    """Remove what writers of `path` left that were killed; only for who holds its lock."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        leftover.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as indented JSON."""
    write_atomic(path, json_bytes(value))


def write_sealed_json(path: Path, document: dict[str, Any]) -> None:
    """Replace `path` by `document` and, as its last entry, a hash of all others: see `is_sealed`."""
    write_json(path, {**document, SEAL: _seal(document)})


def digest_of(document: dict[str, Any]) -> str:
    """Hexadecimal SHA-256 of a JSON document's values, whatever the order of its entries."""
    return text_sha256(json.dumps(document, sort_keys=True))


def is_sealed(document: Any) -> bool:
    """Whether a JSON document holds what `write_sealed_json` wrote: a flipped bit can leave it valid JSON."""
    return isinstance(document, dict) and document.get(SEAL) == _seal(document)


def read_sealed_json(path: Path) -> dict[str, Any] | None:
    """The document of `write_sealed_json`, without its seal; None when it is damaged. Raises: OSError."""
    try:
        document = json.loads(path.read_bytes())
    except ValueError:
        return None
    return {key: value for key, value in document.items() if key != SEAL} if is_sealed(document) else None


def json_bytes(value: Any) -> bytes:
    """`value` as indented JSON; NaN is refused, since JSON has none."""
    return (json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def decoded(content: bytes, where: str) -> str:
    """UTF-8 without its byte order mark. Raises: ConfigError, naming the line."""
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}"
        raise ConfigError(f"{where}, line {line}: byte {byte} is not UTF-8\nSave the text as UTF-8") from None


def text_sha256(text: str) -> str:
    """Hexadecimal SHA-256 of `text` in UTF-8."""
    return hashlib.sha256(text.encode()).hexdigest()


def _seal(document: dict[str, Any]) -> str:
    rest = {key: value for key, value in document.items() if key != SEAL}
    return digest_of(rest)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
