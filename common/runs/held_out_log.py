"""Which choices were evaluated on a validation split: a held-out set is held out once.

The log, validation_readings.json in the data folder, is kept apart from the runs: deleting a run does not undo
that its numbers were seen. Selections of latents (phase 3) and detectors (phase 4.1) are counted each among their
own kind. Those phases write it, the report reads it.
"""

import contextlib
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from common.errors import ArtifactMismatchError, ConfigError
from common.files import read_sealed_json, write_sealed_json
from common.handoffs import USUAL
from common.runs.locks import WRITING_REFUSED

LOG = "validation_readings.json"
SELECTION, DETECTOR = "selection", "detector"  # kinds of entries; one without a kind is a selection


def note(
    data_dir: Path, entry: dict, reuse: bool, compatible: Callable[[dict, dict], bool], refusal: Callable[[dict], str]
) -> int:
    """Note that `entry` is evaluated on its validation split; returns how many choices of its kind have by now.

    An entry has phase, model, dataset, split, selection, steering, kind where it is no selection, and prompt where the
    programs answer prompts in another form than the usual. `compatible` says whether two entries evaluate the same
    choice; `refusal` words the error for the latest that does not.
    Raises: ConfigError when another choice was evaluated before, unless `reuse`.
    """
    path = data_dir / LOG
    with _held(path):
        readings = all_readings(data_dir)
        same = readings_of(data_dir, entry["model"], entry["dataset"], entry["split"], _kind(entry), _prompt(entry))
        others = [reading for reading in same if not compatible(reading, entry)]
        known = any(_choice(reading) == _choice(entry) for reading in same)
        if others and not known and not reuse:
            raise ConfigError(refusal(others[-1]))
        if not any((reading["phase"], _choice(reading)) == (entry["phase"], _choice(entry)) for reading in same):
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            write_sealed_json(path, {"readings": [*readings, {"utc": now, **entry}]})
        return count_selections([*same, entry])


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Nobody else writes the log. Where it may only be read, nobody here does, unless it has to be written."""
    lock = FileLock(path.with_suffix(".lock"))
    with contextlib.ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(lock)
        except OSError as error:
            if error.errno not in WRITING_REFUSED:
                raise
        yield


def readings_of(
    data_dir: Path, model: str, dataset: str, split_sha256: str, kind: str = SELECTION, prompt: str = USUAL["prompt"]
) -> list[dict[str, Any]]:
    """The readings of one kind, of one model's programs for one split and form of prompts, in the order they were made.

    Raises: ArtifactMismatchError when the log was changed by other hands.
    """
    ours = (model, dataset, split_sha256, kind, prompt)
    return [
        entry
        for entry in all_readings(data_dir)
        if (entry["model"], entry["dataset"], entry["split"], _kind(entry), _prompt(entry)) == ours
    ]


def count_selections(readings: list[dict[str, Any]]) -> int:
    """How many different selections they are of; one that was steered in several ways counts once for each."""
    steered = {}
    for entry in readings:
        steered.setdefault(entry["selection"], set()).update({entry["steering"]} - {None})
    return sum(max(1, len(ways)) for ways in steered.values())


def all_readings(data_dir: Path) -> list[dict[str, Any]]:
    """Every reading noted in a data folder. Raises: as `readings_of`."""
    path = data_dir / LOG
    if not path.exists():
        return []
    document = read_sealed_json(path)
    if document is None:
        raise ArtifactMismatchError(
            f"{path} was changed: how often the validation split was read is not known\n"
            f"Restore it from a backup, or begin a new count with: mv {path} {path}.damaged"
        )
    return document["readings"]


def _kind(entry: dict[str, Any]) -> str:
    return entry.get("kind", SELECTION)


def _prompt(entry: dict[str, Any]) -> str:
    return entry.get("prompt", USUAL["prompt"])


def _choice(entry: dict[str, Any]) -> tuple[str, str | None]:
    return entry["selection"], entry["steering"]
