"""Phases that were run on several contrasts: each is an experiment of its own, and one report shows them all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from common.handoffs import STUDIED, ArtifactSchema
from common.runs.artifacts import Artifact
from common.runs.discovery import RunFolder, is_of, lineage_of, serves

Part = dict[str, str]  # what tells runs of one phase apart, beside model and SAEs


def parts_of(schema: ArtifactSchema, runs: Sequence[RunFolder], known: Mapping[str, str | None]) -> list[Part]:
    """The contrasts and formats that a phase was run on, those of the newest runs first; `known` is the experiment.

    Those with a finished run, or if there is none of whatever was begun; one part without names where nothing was.
    """
    keys = [key for key in schema.keys if key in STUDIED]
    runs_of_parts = [
        run for run in runs if keys and run.damage is None and is_of(schema, run, {**known, **_part(keys, run)})
    ]
    runs_of_parts = [run for run in runs_of_parts if run.finished] or runs_of_parts
    parts = {tuple(part.values()): part for part in (_part(keys, run) for run in runs_of_parts)}
    return [*parts.values()] or [{}]


def _part(keys: Iterable[str], run: RunFolder) -> Part:
    return {key: value for key in keys if (value := run.of(key)) is not None}


def lineage_of_part(picked: Iterable[Artifact], part: Part) -> dict[str, str]:
    """Content hashes of the picked runs that a part rests on: its own, else those that hold it among others."""
    runs = [(one.schema, RunFolder(one.path, True, one.manifest)) for one in picked]
    hashes: dict[str, str] = {}
    for fits in (serves, is_of):  # the last word is its own run's
        for schema, run in reversed(runs):
            experiment = {**run.experiment, **part}
            if part and fits(schema, run, experiment):
                hashes |= lineage_of(schema, run)
    return hashes
