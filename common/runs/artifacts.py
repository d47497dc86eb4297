"""The contract between phases: run folders whose manifest is written last.

A run folder is an artifact if and only if it holds manifest.json, so a crashed run never
looks finished. `ArtifactWriter` fills one folder; `Artifact` reads one, and checks each
file against the manifest before it hands it out.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from logging import Logger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, overload

from common import provenance, tables
from common.errors import ArtifactMismatchError, DamagedRunError
from common.files import file_sha256, json_bytes, text_sha256, write_atomic, write_sealed_json
from common.handoffs.document import as_json, from_json
from common.handoffs.schema import ArtifactSchema, Document
from common.runs.discovery import MANIFEST, STAMP, RunFolder, file_name
from common.runs.locks import lock_slice

if TYPE_CHECKING:
    import numpy as np


class AlreadyBuilt(Exception):
    """A finished run with the same settings and inputs exists; there is nothing to do."""

    def __init__(self, path: Path):
        super().__init__(str(path))
        self.path = path


class Artifact(Generic[Document]):
    """A finished run folder. Every read checks the file's SHA-256 first."""

    def __init__(self, schema: ArtifactSchema[Document], run: RunFolder, rebuild: str):
        self.schema, self.path, self.manifest = schema, run.path, run.document
        self._rebuild = rebuild
        self._checked: set[str] = set()
        self._documents: dict[str, Any] = {}

    @property
    def content_sha256(self) -> str:
        return self.manifest["content_sha256"]

    def table(self, name: str) -> list[dict[str, Any]]:
        """All rows of one table, in order. `{dataset}` in the name is filled in."""
        return tables.from_parquet(self.file(file_name(name, self.manifest["experiment"])).read_bytes())

    def columns(self, name: str) -> dict[str, np.ndarray]:
        """The columns of one table as arrays: for tables of millions of numbers."""
        return tables.columns_from_parquet(self.file(file_name(name, self.manifest["experiment"])).read_bytes())

    def columns_where(self, name: str, column: str, value: int) -> dict[str, np.ndarray]:
        """The same, of the rows that have `value` in one column: the others are not kept."""
        return tables.rows_where(self.file(file_name(name, self.manifest["experiment"])), column, value)

    def n_rows(self, name: str) -> int:
        """Rows of one table, from the manifest; the file is not read."""
        return self.manifest["files"][file_name(name, self.manifest["experiment"])]["rows"]

    def tensor(self, file: str, name: str) -> np.ndarray:
        """One array of a safetensors file, memory-mapped; the file's other arrays are not read."""
        from safetensors import safe_open

        with safe_open(self.file(file), framework="numpy") as opened:
            return opened.get_tensor(name)

    @overload
    def document(self) -> Document: ...
    @overload
    def document(self, name: str | None) -> Any: ...
    def document(self, name: str | None = None) -> Any:
        """What a JSON file holds, as declared; the artifact's own unless named.

        Raises: as `file`; ArtifactMismatchError when it has another form.
        """
        name = name or next(iter(self.schema.documents))
        path = self.file(name)
        if name not in self._documents:
            try:
                self._documents[name] = from_json(self.schema.kind_of(name), json.loads(path.read_bytes()))
            except ValueError as error:
                told = f"{path} is no {name} of this version: {error}"
                raise ArtifactMismatchError(f"{told}\n{self._advice()}") from error
        return self._documents[name]

    def file(self, name: str) -> Path:
        """Path of one file, after checking it.

        Raises: ArtifactMismatchError when it is missing, or not what was written.
        """
        path, entry = self.path / name, self.manifest["files"].get(name)
        if entry is None:
            held = ", ".join(self.manifest["files"])
            raise ArtifactMismatchError(f"{self.path} has no file '{name}'; it holds {held}\n{self._advice()}")
        if name not in self._checked:
            if not path.is_file():
                raise ArtifactMismatchError(f"{path} is gone, but the manifest lists it\n{self._advice()}")
            change = _change_in(path, entry)
            if change:
                raise ArtifactMismatchError(f"{change}\n{self._advice()}")
            self._checked.add(name)
        return path

    def _advice(self) -> str:
        return f"Rebuild it with: {self._rebuild} --fresh"


class ArtifactWriter:
    """Fill one run folder; leaving the `with` block without an error writes the manifest.

    `identity` holds what the result depends on (see `common.phases.context.RunContext.write`);
    `details` goes into the manifest besides. `summary` is shown by `run.py status`; `process`
    holds what is true of this process alone (device, isolation level).
    """

    def __init__(
        self,
        schema: ArtifactSchema,
        path: Path,
        identity: dict,
        details: dict,
        log: Logger,
        *,
        first: int = 0,
        last: int = 0,
    ):
        self.schema, self.path = schema, path
        self.identity, self.details, self.log = identity, details, log
        self.summary: dict[str, Any] = {}
        self.process: dict[str, Any] = {}
        self._files: dict[str, dict[str, Any]] = {}
        self._started = time.time()
        # Once, and not with every note of progress: git and the package metadata take their time.
        self._environment = {
            "code": provenance.code_state(),
            "libraries": provenance.library_versions(),
            "machine": provenance.machine(),
        }
        self.lock = lock_slice(path, first, last)
        if (path / MANIFEST).exists():  # another process finished it since the folder was chosen
            self.lock.release()
            sweep(path)
            raise AlreadyBuilt(path)

    def table(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Write one of the handoff's tables."""
        shown, fields = file_name(name, self.identity["experiment"]), self.schema.columns(name)
        facts: dict[str, Any] = {"rows": len(rows)}
        exact = {column: field for column, field in fields.items() if field.exact}
        if len(exact) < len(fields):
            kept = tables.to_parquet([{column: row[column] for column in exact} for row in rows], exact)
            facts["exact_sha256"] = hashlib.sha256(kept).hexdigest()
        self.file(shown, tables.to_parquet(rows, fields), **facts)

    def columns(self, name: str, columns: Mapping[str, np.ndarray | list]) -> None:
        """Write one of the handoff's tables from arrays, all of one length."""
        assert all(field.exact for field in self.schema.columns(name).values()), "of such tables it is not known yet"
        shown = file_name(name, self.identity["experiment"])
        data = tables.columns_to_parquet(columns, self.schema.columns(name))
        self.file(shown, data, rows=len(next(iter(columns.values()))))

    def document(self, name: str, value: Any) -> None:
        """Write one of the handoff's documents."""
        plain = as_json(value)
        from_json(self.schema.kind_of(name), plain, name)  # what could not be read is a bug here, not there
        self.file(name, json_bytes(plain))

    def tensors(self, name: str, arrays: dict[str, np.ndarray]) -> None:
        """Write named arrays as one safetensors file."""
        import numpy as np
        from safetensors.numpy import save

        self.file(name, save({key: np.ascontiguousarray(array) for key, array in arrays.items()}))

    def file(self, name: str, data: bytes, **facts: Any) -> None:
        write_atomic(self.path / name, data)
        self._files[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), **facts}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error_type: type | None, *_details: object) -> None:
        try:
            if error_type is None:
                self.finish()
        finally:
            self.lock.release()

    def processes(self) -> list[dict[str, Any]]:
        """What each process that worked on the artifact says of itself; here there is one."""
        return [self.describe_process()]

    def describe_process(self) -> dict[str, Any]:
        return {
            "started_utc": utc(self._started),
            "seconds": round(time.time() - self._started, 1),
            **self.process,
            **self._environment,
        }

    def finish(self) -> None:
        """Write the manifest, last, and remove what only an unfinished run needs."""
        stable = {
            name: entry.get("exact_sha256", entry["sha256"])
            for name, entry in self._files.items()
            if not self.schema.is_unstable(name)
        }
        manifest = {
            **self.identity,
            **self.details,
            "summary": self.summary,
            "fields": {
                name: {column: {"type": f.type, "meaning": f.meaning} for column, f in columns.items()}
                for name, columns in self.schema.tables.items()
            },
            "tensors": self.schema.tensors,
            "files": dict(sorted(self._files.items())),
            "content_sha256": text_sha256(json.dumps(stable, sort_keys=True)),
            "processes": self.processes(),
            "finished_utc": utc(time.time()),
        }
        write_sealed_json(self.path / MANIFEST, manifest)
        sweep(self.path)
        self.log.info("wrote %s", self.path)


def utc(seconds: float) -> str:
    """'2026-11-20T09:00:00+00:00'."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")


def find_damage(path: Path) -> DamagedRunError | None:
    """Whether a file of a finished run is not what was written; reads all of them."""
    for name, entry in json.loads((path / MANIFEST).read_bytes())["files"].items():
        change = _change_in(path / name, entry)
        if change:
            return DamagedRunError(change, path)
    return None


def _change_in(path: Path, entry: dict[str, Any]) -> str | None:
    """How a file differs from its entry in the manifest, in words; None when it does not."""
    digest, written = file_sha256(path), entry["sha256"]
    if digest == written:
        return None
    return f"{path} was changed after it was built: its SHA-256 is {digest[:12]}, the manifest says {written[:12]}"


def sweep(path: Path) -> None:
    """Remove from a finished run what only an unfinished one needs."""
    assert (path / MANIFEST).is_file(), f"{path} is not finished"
    for name in ("parts", "locks"):
        shutil.rmtree(path / name, ignore_errors=True)
    for leftover in [path / STAMP, *path.glob("autosave_*.parquet"), *path.rglob(".*.tmp")]:
        leftover.unlink(missing_ok=True)
