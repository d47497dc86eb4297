"""Write an artifact record by record: parts, slices, locks, autosaves, and the final join."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from common.errors import ArtifactMismatchError, ConfigError
from common.files import digest_of, read_sealed_json, write_atomic, write_sealed_json
from common.handoffs import ArtifactSchema
from common.runs.artifacts import ArtifactWriter, sweep, utc
from common.runs.checkpoints import RECORDS_PER_PART, PartStore, RecordRows, SavedRecord, set_file_aside
from common.runs.discovery import MANIFEST, STAMP
from common.stopping import Stopped, StopRequest
from common.tables import to_parquet

if TYPE_CHECKING:
    import numpy as np

TOKENS_PER_ROW = 192  # what memory is counted with: most MBPP prompts are shorter, a few have thousands
RECORDS_PER_AUTOSAVE = 100
AUTOSAVES_KEPT = 3


class RecordWriter(ArtifactWriter):
    """An artifact of `n_records` records, of which this process computes indices start to end.

    Leaving the block saves what was appended. When every record is there, the parts are
    joined and the manifest is written; a slice that leaves some to others only saves parts. Joined rows stand by
    index, or by `row_key` where it is set.

    `summarize` gives the summary from all rows of the first table. `conclude` is called when the
    records are joined, before the manifest, and writes what follows from all of them: see
    `joined_rows` and `joined_tensor`. Both may run in a process that computed no record. Files of tensors that
    `conclude` alone needs are named in `only_for_conclusion`: they are not written.
    """

    def __init__(
        self,
        schema: ArtifactSchema,
        path: Path,
        identity: dict,
        details: dict,
        log: logging.Logger,
        *,
        start: int,
        end: int | None,
        stop: StopRequest,
        checkpoint_every: int = RECORDS_PER_PART,
    ):
        self.n_records: int = identity["n_records"]
        self.start, self.end = start, self.n_records - 1 if end is None else end
        super().__init__(schema, path, identity, details, log, first=self.start, last=self.end)
        self._stop = stop
        self._name = f"process_{utc(self._started).replace(':', '-')}_{os.getpid()}"
        self._parts = PartStore(path, log, digest_of(identity), self._name, checkpoint_every)
        self._n_appended = self._n_noted = 0
        self._helps = range(0)
        self.summarize: Callable[[list[dict[str, Any]]], dict[str, Any]] = lambda rows: {"records": len(rows)}
        self.conclude: Callable[[], None] = lambda: None
        self.row_key: Callable[[dict[str, Any]], Any] | None = None
        self.only_for_conclusion: tuple[str, ...] = ()
        self._autosaved = len(self._parts.rows) // RECORDS_PER_AUTOSAVE

    @property
    def n_wanted(self) -> int:
        """Records of this slice that are still to be computed."""
        return sum(self.wants(index) for index in range(self.start, self.end + 1))

    @property
    def saved_rows(self) -> list[dict[str, Any]]:
        """A row of every record that this slice has on disk already: the first table's, where it has one."""
        first, saved = next(iter(self.schema.tables)), self._parts.rows
        of_slice = (saved[index] for index in sorted(saved) if self.start <= index <= self.end)
        return [rows.get(first) or next(iter(rows.values())) for rows in of_slice]

    @property
    def saved_records(self) -> dict[int, RecordRows]:
        """The rows of every record on disk, other slices' too, by index and table."""
        return self._parts.rows

    def joined_rows(self, table: str | None = None) -> list[dict[str, Any]]:
        """All rows of a table (unless named, the first); for `conclude`."""
        rows = self._parts.table(table or next(iter(self.schema.tables)))
        return rows if self.row_key is None else sorted(rows, key=self.row_key)

    def joined_tensor(self, name: str) -> np.ndarray:
        """One array of every record, [n_records, ...], named as in `append`, in the order of `joined_rows`."""
        array = self._parts.tensor(name)
        if self.row_key is None:
            return array
        keys = [self.row_key(row) for row in self._parts.table(next(iter(self.schema.tables)))]
        assert len(keys) == len(array), "a record has one row of the first table"
        return array[sorted(range(len(keys)), key=keys.__getitem__)]

    def batches(self, size: int, lengths: Sequence[int] | None = None, first: int = 0) -> Iterator[list[int]]:
        """Index lists of the batches that hold an unfinished record of this slice, at most `size` records in each.

        `lengths` are the tokens of each record, where a batch is padded to its longest: see `cut_batches`; of the
        records from `first` on, where only some are computed now.
        Batches are cut from all records, not from the slice: the prompts of a batch are always read
        together, with the same neighbours, so that slices and resumed runs give the same bytes.
        What was appended is saved before each next one begins.
        Raises: Stopped, between two batches, when a stop was asked for.
        """
        with self._stop.finishing_batches():
            for places in cut_batches([1] * self.n_records if lengths is None else lengths, size):
                batch = [first + place for place in places]
                if any(self.wants(index) for index in batch):
                    if self._stop.asked:
                        raise Stopped
                    yield batch
                    self.save()

    def wants(self, index: int) -> bool:
        """Whether a record belongs to this slice, or is helped with, and is not saved yet."""
        return (self.start <= index <= self.end or index in self._helps) and index not in self._parts.rows

    @contextmanager
    def helping(self, records: range) -> Iterator[int]:
        """Take on what is missing of `records`, which this slice cannot do without; gives how many these are.

        One process at a time: another waits here until the first has saved them. What a slice that is still at work
        saves meanwhile is not computed again.
        Raises: Stopped, when a stop was asked for while waiting.
        """
        lock = FileLock(self.path / "locks" / "helping.lock")
        with self._stop.finishing_batches():
            while not lock.is_locked:
                if self._stop.asked:
                    raise Stopped
                with suppress(Timeout):
                    lock.acquire(timeout=1)
        try:
            self._parts.refresh()
            self._helps = records
            yield sum(self.wants(index) for index in records)
        finally:
            self._helps = range(0)
            lock.release()

    def append(self, index: int, rows: RecordRows, tensors: dict[str, np.ndarray]) -> None:
        """Keep one record, unless it is saved already or another slice's.

        `rows` has a row for each table; a list of rows for a table that has several of each record, but the first.
        `tensors` maps 'file/name' to an array: 'activations/layer_00/resid_post'.
        """
        if self.wants(index):
            self._parts.add(SavedRecord(index, rows, tensors))
            self._n_appended += 1

    def __exit__(self, error_type: type | None, *_details: object) -> None:
        try:
            self.save()
            if error_type is None:
                with FileLock(self.path / "locks" / "join.lock"):  # the last two slices may end together
                    if (self.path / MANIFEST).exists():
                        sweep(self.path)
                    else:
                        self._join_if_complete()
        finally:
            self.lock.release()

    def save(self) -> None:
        """Put what was appended on disk."""
        self._save_process()  # before the records: with the last of them another slice may join at once
        self._parts.flush()
        self._autosave()

    def _join_if_complete(self) -> None:
        import numpy as np

        self._parts.read_again()
        missing = self.n_records - len(self._parts.rows)
        if missing:
            n_saved = len(self._parts.rows)
            self.log.info("saved %d of %d records; %d are left to other slices", n_saved, self.n_records, missing)
            return
        self.log.info("joining %d records", self.n_records)
        for name in [name for pattern in self.schema.tables for name in self._parts.table_names(pattern)]:
            self.table(name, self.joined_rows(name))
        files: dict[str, list[str]] = {}
        for full_name in self._parts.tensor_names():
            file, _, name = full_name.rpartition("/")
            files.setdefault(file, []).append(name)
        rows = self.joined_rows()
        self._check_distinct(rows)
        self.summary = self.summarize(rows)
        key = next(iter(next(iter(self.schema.tables.values()))))  # the first column numbers the records
        numbers = np.array([row[key] for row in rows], dtype=np.int64)
        for file, names in files.items():
            if file in self.only_for_conclusion:
                continue
            arrays = {name: self.joined_tensor(f"{file}/{name}") for name in names}
            self.tensors(f"{file}.safetensors", {**arrays, key: numbers})
        self.conclude()
        self.finish()

    def _check_distinct(self, rows: list[dict[str, Any]]) -> None:
        """Raises: ArtifactMismatchError when two records are of one thing: slices numbered them differently."""
        if self.row_key is not None and len({self.row_key(row) for row in rows}) < len(rows):
            raise ArtifactMismatchError(
                f"some records in {self.path} are there twice, and others are missing: its processes numbered them "
                f"differently, with other versions of the tokenizer\nStart over, on one kind of machine, with --fresh"
            )

    def processes(self) -> list[dict[str, Any]]:
        """All processes that saved records, from their notes."""
        notes, n_records = [], self._parts.records_by_process()
        for path in sorted((self.path / "parts").glob("process_*.json")):
            note = read_sealed_json(path)
            if note is None:
                damaged = set_file_aside(path, self.path)
                self.log.warning("%s was damaged: moved to %s; the manifest lacks one process", path.name, damaged)
            elif n_records[path.stem]:  # a crash can leave a note without records
                notes.append({**note, "n_records": n_records[path.stem]})
        return notes

    def _save_process(self) -> None:
        """Note what is true of this process: the one that joins may have computed nothing."""
        if self._n_appended > self._n_noted:
            self._n_noted = self._n_appended
            facts = {**self.describe_process(), "start": self.start, "end": self.end}
            write_sealed_json(self.path / "parts" / f"{self._name}.json", facts)

    def _autosave(self) -> None:
        """Something to look at while it runs: the rows so far, every hundred records."""
        if not (self.path / STAMP).exists():  # another slice has joined the records
            return
        self._parts.refresh()
        reached = len(self._parts.rows) // RECORDS_PER_AUTOSAVE
        if reached <= self._autosaved:
            return
        self._autosaved = reached
        name, columns = next(iter(self.schema.tables.items()))
        target = self.path / f"autosave_{reached * RECORDS_PER_AUTOSAVE:06d}.parquet"
        write_atomic(target, to_parquet(self.joined_rows(name), columns))
        for old in sorted(self.path.glob("autosave_*.parquet"))[:-AUTOSAVES_KEPT]:
            old.unlink(missing_ok=True)


def cut_batches(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Neighbours together: at most `size`, and at most `size` times TOKENS_PER_ROW tokens when all are padded to the
    longest. Where the shortest come first, one that is longer than TOKENS_PER_ROW is not put with others of less than
    half its length: padding would cost more than it saves, in time and in memory.
    """
    ascending = all(one <= following for one, following in itertools.pairwise(lengths))
    batches: list[list[int]] = []
    shortest = longest = 0
    for index, length in enumerate(lengths):
        low, high = min(shortest, length), max(longest, length)
        together = batches and len(batches[-1]) < size and (len(batches[-1]) + 1) * high <= size * TOKENS_PER_ROW
        if together and (not ascending or high <= max(2 * low, TOKENS_PER_ROW)):
            batches[-1].append(index)
            shortest, longest = low, high
        else:
            batches.append([index])
            shortest = longest = length
    return batches


def check_slice(start: int, end: int | None, n_records: int) -> None:
    """Raises: ConfigError when start..end, both included, is no slice of `n_records` records."""
    last = n_records - 1 if end is None else end
    if not 0 <= start <= last < n_records:
        raise ConfigError(
            f"--start {start} --end {last} is no slice of {n_records} records\n"
            f"Give 0 <= start <= end <= {n_records - 1}; both ends are included"
        )
