"""Records of an unfinished run, saved in parts that are whole or absent.

A part is one safetensors file with some records (50, unless told otherwise) and their tensors. Its name says its
first index, its number of records and the beginning of its SHA-256, so that a torn or
flipped part is found without trusting its content; it is moved aside and computed again.
Inside it says what run it belongs to (`stamp`), so that parts outlive a damaged stamp.json, and
which process computed it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.files import write_atomic
from common.runs.discovery import PART

if TYPE_CHECKING:
    import numpy as np

RECORDS_PER_PART = 50  # what a crash may cost, besides what is being written and judged

RecordRows = dict[str, Any]  # table name -> row; or a list of rows, of a table with several for each record


@dataclass(frozen=True)
class SavedRecord:
    """What a phase computed for one item: a row for each table that has one, or several, and named arrays."""

    index: int
    rows: RecordRows
    tensors: dict[str, np.ndarray]


class PartStore:
    """The parts of one unfinished run folder. `rows` holds the saved rows by index.

    `stamp` is the digest of all that the records depend on, `process` the name of who computes
    them: both are written into each part.
    """

    def __init__(
        self, folder: Path, log: logging.Logger, stamp: str = "", process: str = "", size: int = RECORDS_PER_PART
    ):
        self.folder = folder / "parts"
        self.size = size
        self.log = log
        self._origin = {"stamp": stamp, "process": process}
        self._process_of: dict[int, str] = {}
        self.rows: dict[int, RecordRows] = {}
        self._part_of: dict[int, Path] = {}
        self._buffer: list[SavedRecord] = []
        self.folder.mkdir(parents=True, exist_ok=True)
        self.refresh()

    def refresh(self) -> None:
        """Read which records are on disk: other workers may have saved some since."""
        from safetensors.numpy import load

        known = set(self._part_of.values())
        for path in sorted(self.folder.glob("part_*")):
            match = PART.fullmatch(path.name)
            if match is None or path in known:
                continue
            try:
                data = path.read_bytes()
            except FileNotFoundError:  # another worker moved it aside, or has joined the parts
                continue
            if hashlib.sha256(data).hexdigest()[:16] != match[3]:
                self._move_aside(path)
                continue
            part = load(data)
            self._note(path, _origin(data), part["index"].tolist(), json.loads(part["records"].tobytes()))

    def read_again(self) -> None:
        """Check every part once more: hours may lie between the first look and the joining."""
        self.rows, self._part_of, self._process_of = {}, {}, {}
        self.refresh()

    def records_by_process(self) -> Counter[str]:
        """How many of the saved records each process computed."""
        return Counter(self._process_of.values())

    def add(self, record: SavedRecord) -> None:
        """Take a record; every `size` of them become a part."""
        self._buffer.append(record)
        if len(self._buffer) >= self.size:
            self.flush()

    def flush(self) -> None:
        """Save the records taken since the last part."""
        if not self._buffer:
            return
        data = _pack(self._buffer, self._origin)
        digest = hashlib.sha256(data).hexdigest()[:16]
        path = self.folder / f"part_{self._buffer[0].index:06d}_{len(self._buffer):02d}_{digest}.safetensors"
        write_atomic(path, data)
        indices, rows = zip(*((record.index, record.rows) for record in self._buffer), strict=True)
        self._note(path, self._origin, indices, rows)
        self._buffer = []

    def table_names(self, pattern: str) -> list[str]:
        """Names of the tables that records have a row for and that fit `pattern`, in which * is any text."""
        return sorted({name for tables in self.rows.values() for name in tables if fnmatchcase(name, pattern)})

    def table(self, pattern: str, first: int = 0, last: int | None = None) -> list[dict[str, Any]]:
        """The saved rows of the tables that fit `pattern`, by index; of indices first to last, both included."""
        names = self.table_names(pattern)
        indices = (index for index in sorted(self.rows) if first <= index and (last is None or index <= last))
        of_records = (self.rows[index][name] for index in indices for name in names if name in self.rows[index])
        return [row for rows in of_records for row in (rows if isinstance(rows, list) else [rows])]

    def tensor_names(self) -> list[str]:
        """Names of the arrays that the records carry."""
        from safetensors import safe_open

        names: set[str] = set()
        for path in sorted(set(self._part_of.values())):
            with safe_open(path, framework="numpy") as part:
                names |= set(part.keys()) - {"index", "records"}
        return sorted(names)

    def tensor(self, name: str) -> np.ndarray:
        """One array of every record, [n, ...], by index; the others stay on disk."""
        import numpy as np
        from safetensors import safe_open

        values: dict[int, np.ndarray] = {}
        for path in sorted(set(self._part_of.values())):
            with safe_open(path, framework="numpy") as part:
                rows = zip(part.get_tensor("index").tolist(), part.get_tensor(name), strict=True)
                values.update((index, row) for index, row in rows if self._part_of[index] == path)
        return np.stack([values[index] for index in sorted(values)])

    def _note(self, path: Path, origin: dict[str, str], indices: Sequence[int], rows: Sequence[RecordRows]) -> None:
        for index, row in zip(indices, rows, strict=True):
            self.rows[index] = row
            self._part_of[index] = path
            self._process_of[index] = origin["process"]

    def _move_aside(self, path: Path) -> None:
        damaged = set_file_aside(path, self.folder.parent)
        self.log.warning("%s was damaged: moved to %s, its records are computed again", path.name, damaged)


def set_file_aside(path: Path, run: Path) -> Path:
    """Put a damaged file of an unfinished run where nobody reads it; returns that folder."""
    damaged = run / "damaged"
    damaged.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another worker was first
        path.replace(damaged / path.name)
    return damaged


def holds_parts_of(folder: Path, stamp: str) -> bool:
    """Whether an unfinished run holds an unharmed part with this stamp."""
    for path in sorted((folder / "parts").glob("part_*")):
        match, data = PART.fullmatch(path.name), path.read_bytes()
        if match and hashlib.sha256(data).hexdigest()[:16] == match[3]:
            return _origin(data)["stamp"] == stamp
    return False


def _origin(part: bytes) -> dict[str, str]:
    """The metadata in a safetensors file's header: its length in 8 bytes, then JSON."""
    return json.loads(part[8 : 8 + int.from_bytes(part[:8], "little")])["__metadata__"]


def _pack(records: list[SavedRecord], origin: dict[str, str]) -> bytes:
    import numpy as np
    from safetensors.numpy import save

    text = json.dumps([record.rows for record in records], sort_keys=True)
    tensors = {name: np.stack([record.tensors[name] for record in records]) for name in records[0].tensors}
    index = np.array([record.index for record in records], dtype=np.int64)
    words = np.frombuffer(text.encode(), dtype=np.uint8)
    return save({"index": index, "records": words, **tensors}, metadata=origin)
