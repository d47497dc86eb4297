"""Which experiments a data folder holds, and how each was typed, as far as its runs tell."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from common.handoffs import SCHEMAS
from common.report.what_to_type import told_settings
from common.runs.discovery import RunFolder

KEYS = tuple(dict.fromkeys(key for schema in SCHEMAS for key in schema.keys))  # of what keeps experiments apart


@dataclass(frozen=True)
class Experiment:
    """`names` holds the identities that are known, by key; `settings` what was typed for them."""

    names: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    preset: str = "full"


def experiments_in(runs: Iterable[RunFolder]) -> list[Experiment]:
    """Every experiment that some run is of, and each dataset that no model has worked on yet; the newest first."""
    sound = sorted(_told(runs), key=lambda run: run.path.name, reverse=True)
    experiments: dict[tuple, dict[str, str]] = {}
    for run in sound:
        if {"model", "dataset"} <= {*run.experiment}:
            names = _with_sae(dict(run.experiment), sound)
            experiments.setdefault(tuple(sorted(names.items())), names)
    worked_on = {names["dataset"] for names in experiments.values()}
    models = {run.experiment["model"] for run in sound if "model" in run.experiment}
    # A model that has read general text alone is the one that the folder's datasets are meant for.
    alone = {"model": models.pop()} if len(models) == 1 and not experiments else {}
    for run in sound:
        if "model" not in run.experiment and run.experiment["dataset"] not in worked_on:
            names = {**alone, **run.experiment}
            experiments.setdefault(tuple(sorted(names.items())), names)
    if alone and not experiments:
        experiments[()] = alone
    return [typed_as(names, sound) for names in experiments.values()]


def typed_as(names: Mapping[str, Any], runs: Iterable[RunFolder]) -> Experiment:
    """An experiment, with the settings that its runs were given; those of newer runs count."""
    settings: dict[str, Any] = {}
    preset, with_model = "full", False
    for run in sorted(_told(runs), key=lambda run: run.path.name):
        if all(run.experiment.get(key) in (None, names.get(key)) for key in KEYS):
            settings |= told_settings(run.document["all_settings"])
            if "model" in run.experiment or not with_model:
                preset, with_model = run.document.get("preset", preset), "model" in run.experiment
    return Experiment(names, settings, preset)


def _told(runs: Iterable[RunFolder]) -> list[RunFolder]:
    """Those that can be read, and say how they were made: other versions may not."""
    return [run for run in runs if run.damage is None and "all_settings" in run.document]


def _with_sae(names: dict[str, str], newest_first: list[RunFolder]) -> dict[str, str]:
    """The identities, with the SAE that was used last where a phase of them has none."""
    if "sae" in names:
        return names
    alike = (run for run in newest_first if names.items() <= run.experiment.items())
    return {**names, **next(({"sae": run.experiment["sae"]} for run in alike if "sae" in run.experiment), {})}
