"""Slices of a run that are worked off elsewhere: how they are cut, where they log, and how they end."""

from dataclasses import dataclass
from pathlib import Path

TRIES = 3
LOG_LINES_SHOWN = 20
USER_ERROR = 2
STOPPED = 130

Slice = tuple[int, int]  # first and last record, both included


@dataclass(frozen=True)
class Ended:
    """A slice whose worker has ended. `code` is None when somebody cancelled it: it is left for another time."""

    piece: Slice
    code: int | None
    tries: int

    @property
    def deserves_another_try(self) -> bool:
        return self.code not in (0, USER_ERROR, None) and self.tries < TRIES


def contiguous_slices(start: int, end: int, n_slices: int, step: int) -> list[Slice]:
    """At most `n_slices` slices of start..end, both included, whose borders are multiples of `step`.

    A border inside a batch would make two workers compute that batch.
    """
    first_block, last_block = start // step, end // step
    n_blocks = last_block - first_block + 1
    n_slices = min(n_slices, n_blocks)
    borders = [first_block + n_blocks * i // n_slices for i in range(n_slices + 1)]
    pairs = zip(borders, borders[1:], strict=False)
    return [(max(start, a * step), min(end, b * step - 1)) for a, b in pairs]


def slice_command(command: list[str], piece: Slice) -> list[str]:
    return [*command, "--start", str(piece[0]), "--end", str(piece[1])]


def log_of(folder: Path, piece: Slice) -> Path:
    """Where the worker of a slice writes what it says; the folder is made."""
    path = folder / "locks" / f"worker_{piece[0]:06d}_{piece[1]:06d}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def retry_text(ended: Ended) -> str:
    first, last = ended.piece
    return (
        f"the worker of records {first} to {last} ended with status {ended.code}: what it saved is kept, the rest is "
        f"tried again (try {ended.tries + 1} of {TRIES})"
    )


def failure_text(ended: Ended, folder: Path) -> str:
    """What the user is told of a slice that has failed for good, with the last lines of its log."""
    log, (first, last) = log_of(folder, ended.piece), ended.piece
    text = log.read_text(errors="replace") if log.exists() else "(it has written nothing)"
    tail = "\n".join(text.splitlines()[-LOG_LINES_SHOWN:])
    return (
        f"error: the worker of records {first} to {last} ended with status {ended.code} "
        f"({ended.tries} of {TRIES} tries); its last lines, from {log}:\n{tail}\n"
        f"Mend the cause and give the same command: what is saved is kept"
    )
