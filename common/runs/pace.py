"""What the processes of one run tell about batches that are not complete, for the launcher that shows them all."""

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

SECONDS_BETWEEN = 2.0
SECONDS_BELIEVED = 60.0  # a process that told nothing for so long has ended, or is loading its model


@dataclass(frozen=True)
class Pace:
    """How fast one process works. A record's tokens are those of its prompt and its program."""

    tokens_per_second: float
    tokens_of_a_record: float
    n_in_flight: int  # programs that are written, and saved with their batch


def pace_file(folder: Path) -> Path:
    """Of this process, in an unfinished run's folder; it goes when the run is joined."""
    return folder / "parts" / f"pace_{os.getpid()}.json"


def telling(path: Path, pace: Callable[[], Pace]) -> Callable[[], None]:
    """What writes the pace, at most once in SECONDS_BETWEEN; a disk that is full only silences it."""
    told = 0.0

    def tell() -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < SECONDS_BETWEEN:
            return
        told = now
        temporary = path.with_suffix(".tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(asdict(pace())))
            temporary.replace(path)

    return tell


class PaceOfAll:
    """The processes of a run together; see `common.progress.Work`."""

    def __init__(self, folder: Path):
        self._folder = folder / "parts"

    @property
    def paces(self) -> list[Pace]:
        """Of the processes that work now."""
        paces = []
        for path in sorted(self._folder.glob("pace_*.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):  # just replaced, or of another version
                if time.time() - path.stat().st_mtime < SECONDS_BELIEVED:
                    paces.append(Pace(**json.loads(path.read_bytes())))
        return paces

    @property
    def text(self) -> str:
        """'12 more written, 196 tokens per second'; empty before a process tells anything."""
        paces = self.paces
        if not paces:
            return ""
        in_flight = sum(pace.n_in_flight for pace in paces)
        more = f"{in_flight} more written, " if in_flight else ""
        return f"{more}{sum(pace.tokens_per_second for pace in paces):.0f} tokens per second"

    def seconds_left(self, n_left: int) -> float | None:
        """For `n_left` records that are like those of now; None before a process tells anything."""
        paces = self.paces
        rate = sum(pace.tokens_per_second for pace in paces)
        if not rate:
            return None
        n_left = max(0, n_left - sum(pace.n_in_flight for pace in paces))
        return n_left * sum(pace.tokens_of_a_record for pace in paces) / len(paces) / rate
