"""The ledger of validation readings in a data folder: phase 3 writes it, the report reads it."""

from pathlib import Path
from typing import Any

from common.errors import ArtifactMismatchError
from common.files import read_sealed_json

LEDGER = "validation_readings.json"


def readings_of(data_dir: Path, model: str, dataset: str, split_sha256: str) -> list[dict[str, Any]]:
    """The readings of one model's programs for one split, in the order they were made.

    Raises: ArtifactMismatchError when the ledger was changed by other hands.
    """
    ours = (model, dataset, split_sha256)
    return [entry for entry in all_readings(data_dir) if (entry["model"], entry["dataset"], entry["split"]) == ours]


def count_selections(readings: list[dict[str, Any]]) -> int:
    """How many different selections they are of; one that was steered in several ways counts once for each."""
    steered = {}
    for entry in readings:
        steered.setdefault(entry["selection"], set()).update({entry["steering"]} - {None})
    return sum(max(1, len(ways)) for ways in steered.values())


def all_readings(data_dir: Path) -> list[dict[str, Any]]:
    """Every reading noted in a data folder. Raises: as `readings_of`."""
    path = data_dir / LEDGER
    if not path.exists():
        return []
    document = read_sealed_json(path)
    if document is None:
        raise ArtifactMismatchError(
            f"{path} was changed: how often the validation split was read is not known\n"
            f"Restore it from a backup, or begin a new count with: mv {path} {path}.damaged"
        )
    return document["readings"]
