"""Records of an unfinished run, saved in parts that are whole or absent.

A part is one safetensors file with up to 50 records and their tensors. Its name says its
first index, its number of records and the beginning of its SHA-256, so that a torn or
flipped part is found without trusting its content; it is moved aside and computed again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.discovery import PART
from common.files import write_atomic

if TYPE_CHECKING:
    import numpy as np

RECORDS_PER_PART = 50  # what a crash may cost, besides the batch in flight

Rows = dict[str, dict[str, Any]]  # table name -> row


@dataclass(frozen=True)
class Record:
    """What a phase computed for one item: a row for each table, and named arrays."""

    index: int
    rows: Rows
    tensors: dict[str, np.ndarray]


class PartStore:
    """The parts of one unfinished run folder. `rows` holds the saved rows by index."""

    def __init__(self, folder: Path, log: logging.Logger):
        self.folder = folder / "parts"
        self.log = log
        self.rows: dict[int, Rows] = {}
        self._part_of: dict[int, Path] = {}
        self._buffer: list[Record] = []
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
            self._note(path, part["index"].tolist(), json.loads(part["records"].tobytes()))

    def add(self, record: Record) -> None:
        """Take a record; every 50 of them become a part."""
        self._buffer.append(record)
        if len(self._buffer) >= RECORDS_PER_PART:
            self.flush()

    def flush(self) -> None:
        """Save the records taken since the last part."""
        if not self._buffer:
            return
        data = _pack(self._buffer)
        digest = hashlib.sha256(data).hexdigest()[:16]
        path = self.folder / f"part_{self._buffer[0].index:06d}_{len(self._buffer):02d}_{digest}.safetensors"
        write_atomic(path, data)
        self._note(path, [record.index for record in self._buffer], [record.rows for record in self._buffer])
        self._buffer = []

    def table(self, name: str) -> list[dict[str, Any]]:
        """The saved rows of one table, by index."""
        return [self.rows[index][name] for index in sorted(self.rows)]

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

    def _note(self, path: Path, indices: list[int], rows: list[Rows]) -> None:
        for index, row in zip(indices, rows, strict=True):
            self.rows[index] = row
            self._part_of[index] = path

    def _move_aside(self, path: Path) -> None:
        damaged = self.folder.parent / "damaged"
        damaged.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another worker was first
            path.replace(damaged / path.name)
        self.log.warning("%s was damaged: moved to %s, its records are computed again", path.name, damaged)


def _pack(records: list[Record]) -> bytes:
    import numpy as np
    from safetensors.numpy import save

    text = json.dumps([record.rows for record in records], sort_keys=True)
    tensors = {name: np.stack([record.tensors[name] for record in records]) for name in records[0].tensors}
    index = np.array([record.index for record in records], dtype=np.int64)
    return save({"index": index, "records": np.frombuffer(text.encode(), dtype=np.uint8), **tensors})
