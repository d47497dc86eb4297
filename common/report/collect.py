"""What the report is made from: of every phase of one experiment the run that is in use, or why there is none.

Runs are chosen as a phase chooses its inputs: the newest finished one that was made from the artifacts already
picked. So a report never mixes numbers that belong to different programs, labels or latents.
"""

import json
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from common.artifacts import Artifact
from common.config import DatasetConfig, SaeConfig, build_config
from common.discovery import (
    RunFolder,
    command_in,
    feeds_nothing,
    find_input,
    list_runs,
    n_saved,
    plain_name,
    runs_of,
    with_data_dir,
)
from common.errors import ArtifactMismatchError, DamagedRunError, MissingArtifactError
from common.handoffs import HANDOFFS, SPLIT, TRANSFER, Handoff
from common.ledger import count_selections, readings_of
from common.registry import instruction_tuned

FINISHED, UNFINISHED, STALE, DAMAGED, MISSING = "finished", "unfinished", "out of date", "damaged", "not begun"
APART = "needs a second model"  # a state too: nothing is missing from an experiment with one model
KEYS = ("model", "dataset", "sae")
_TO = "--to OTHER_MODEL"


@dataclass(frozen=True)
class PhaseResult:
    """One phase of the experiment. When it is not finished, `why` says what is the matter, `command` what to type.

    `newer` says what lies beside a finished run and is newer, but not finished.
    """

    handoff: Handoff
    state: str
    artifact: Artifact | None = None
    why: str = ""
    command: str = ""
    newer: str = ""

    @property
    def place(self) -> str:
        """Where the run lies in the data folder."""
        return f"{self.handoff.folder}/{self.artifact.path.name}"

    @property
    def manifest(self) -> dict[str, Any]:
        return self.artifact.manifest

    def json(self, name: str) -> dict[str, Any]:
        """One of the run's JSON files."""
        return json.loads(self.artifact.file(name).read_bytes())


@dataclass
class Collected:
    """An experiment, and the state of each of its phases by the name of the phase's artifact."""

    experiment: dict[str, str | None]
    data_dir: Path
    phases: dict[str, PhaseResult] = field(default_factory=dict)

    def finished(self, handoff: Handoff) -> PhaseResult | None:
        """The phase, when it has a run that can be read."""
        phase = self.phases[handoff.name]
        return phase if phase.state == FINISHED else None

    @property
    def unfinished(self) -> list[PhaseResult]:
        """Phases that this experiment lacks."""
        return [phase for phase in self.phases.values() if phase.state not in (FINISHED, APART)]

    @property
    def name(self) -> str:
        """'google/gemma-2-2b on mbpp'."""
        return " on ".join(plain_name(self.experiment[key]) for key in ("model", "dataset"))

    @property
    def is_organism(self) -> bool:
        """Whether the model is the one that ships with the pipeline, whose knowledge was planted."""
        return plain_name(self.experiment["model"]) == "organism"

    @cached_property
    def readings(self) -> int:
        """How many different selections were evaluated on the validation split, by the ledger and the results."""
        from_results = [
            phase.json(f"{phase.handoff.name}.json").get("readings", 0)
            for phase in self.phases.values()
            if phase.state == FINISHED and f"{phase.handoff.name}.json" in phase.manifest["files"]
        ]
        return max([self._readings_in_ledger(), *from_results])

    def _readings_in_ledger(self) -> int:
        split = self.finished(SPLIT)
        if split is None:
            return 0
        model, dataset = self.experiment["model"], self.experiment["dataset"]
        return count_selections(readings_of(self.data_dir, model, dataset, split.artifact.content_sha256))


def collect(data_dir: Path, given: dict[str, str], preset: str | None = None) -> Collected:
    """The newest experiment that fits what is `given` of model, dataset and sae, with all its phases.

    `preset` is only for the advice. Raises: MissingArtifactError when no phase from 1 on has a finished run of it.
    """
    runs = {handoff.name: list_runs(handoff, data_dir) for handoff in HANDOFFS}
    experiment = _choose(runs, given, data_dir, preset)
    collected = Collected(experiment, data_dir)
    build = _Commands(runs, experiment, data_dir)
    lineage: dict[str, str] = {}
    for handoff in HANDOFFS:
        phase = _phase(handoff, data_dir, experiment, lineage, build.of(handoff))
        if phase.state == FINISHED:
            lineage |= {**phase.manifest["lineage"], handoff.name: phase.artifact.content_sha256}
        collected.phases[handoff.name] = phase
    return collected


def _choose(
    runs: dict[str, list[RunFolder]], given: dict[str, str], data_dir: Path, preset: str | None
) -> dict[str, str | None]:
    """Model, dataset and SAE of the newest finished run; the SAE is None where no phase has used one yet."""
    sound = [
        run
        for handoff in HANDOFFS
        if "model" in handoff.scope
        for run in runs[handoff.name]
        if run.damage is None and not feeds_nothing(handoff, run)
    ]
    sound.sort(key=lambda run: run.path.name, reverse=True)
    asked = {key: word for key, word in given.items() if word != "auto"}
    whole = [run for run in sound if run.finished and "dataset" in run.experiment]
    fitting = [run for run in whole if all(_is_meant(asked.get(key), run.experiment.get(key)) for key in KEYS)]
    found = fitting[0].experiment if fitting else {}
    same = [
        run for run in sound if all(run.experiment.get(key) in (None, found.get(key)) for key in ("model", "dataset"))
    ]
    saes = [run.experiment["sae"] for run in same if "sae" in run.experiment]
    sae = found.get("sae") or next((sae for sae in saes if _is_meant(asked.get("sae"), sae)), None)
    if not fitting or ("sae" in asked and sae is None):
        raise MissingArtifactError(_nothing_to_report(whole, asked, data_dir, preset))
    return {"model": found["model"], "dataset": found["dataset"], "sae": sae}


def _is_meant(word: str | None, identity: str | None) -> bool:
    """Whether a name as the user types it (a hub id, a folder or a file) is that of a model, dataset or SAE."""
    if word is None or identity is None:
        return True
    return word == identity or plain_name(identity) in (word, Path(word).name, Path(word).stem)


def _nothing_to_report(whole: list[RunFolder], asked: dict[str, str], data_dir: Path, preset: str | None) -> str:
    wanted = ", ".join(f"{key} {word}" for key, word in asked.items())
    what = f"nothing to report: no finished run of phase 1 or later{' with ' * bool(wanted)}{wanted}"
    known = dict.fromkeys(
        " on ".join(plain_name(run.experiment[key]) for key in ("model", "dataset", "sae") if key in run.experiment)
        for run in whole
    )
    if known:
        words = "" if preset == "demo" else ", or --preset demo for the model organism"
        return f"{what}; {data_dir} holds {', '.join(known)}\nGive --model, --dataset and --sae of one of these{words}"
    build = "python3 run.py phase 1" + (f" --preset {preset}" if preset not in (None, "full") else "")
    return f"{what}; {data_dir} holds none\nBuild one with: {with_data_dir(build, data_dir)}"


def _phase(
    handoff: Handoff, data_dir: Path, experiment: dict[str, str | None], lineage: dict[str, str], build: str
) -> PhaseResult:
    """The state of one phase, given the content hashes of the artifacts picked before it."""
    if any(experiment[key] is None for key in handoff.scope):
        return _not_begun(handoff, build)
    try:
        run, _ = find_input(handoff, data_dir, experiment, lineage, build)
    except MissingArtifactError:
        return _not_finished(handoff, data_dir, experiment, build)
    except ArtifactMismatchError as error:
        return _unusable(handoff, DAMAGED if isinstance(error, DamagedRunError) else STALE, error)
    artifact = Artifact(handoff, run, build)
    try:
        for name in run.document["files"]:
            if not name.endswith(".safetensors"):  # activations are gigabytes, and the report reads none
                artifact.file(name)
    except ArtifactMismatchError as error:
        return _unusable(handoff, DAMAGED, error)
    return PhaseResult(handoff, FINISHED, artifact, newer=_newer(handoff, data_dir, experiment, run))


def _unusable(handoff: Handoff, state: str, error: ArtifactMismatchError) -> PhaseResult:
    why, _, advice = str(error).partition("\n")
    return PhaseResult(handoff, state, why=why, command=advice.partition(": ")[2])


def _not_finished(handoff: Handoff, data_dir: Path, experiment: dict[str, str], build: str) -> PhaseResult:
    runs = runs_of(handoff, data_dir, experiment)
    begun = [run for run in runs if not run.finished and not feeds_nothing(handoff, run)]
    if not begun:
        return _not_begun(handoff, build)
    return PhaseResult(handoff, UNFINISHED, why=_progress(begun[0]), command=command_in(begun[0], data_dir))


def _not_begun(handoff: Handoff, build: str) -> PhaseResult:
    return PhaseResult(handoff, APART if _TO in build else MISSING, command=build)


def _newer(handoff: Handoff, data_dir: Path, experiment: dict[str, str], used: RunFolder) -> str:
    runs = runs_of(handoff, data_dir, experiment)
    newer = [run for run in runs if not run.finished and run.path.name > used.path.name]
    return f"a newer run, {newer[0].path.name}, is not finished: {_progress(newer[0])}" if newer else ""


def _progress(run: RunFolder) -> str:
    total = run.document.get("n_records")
    return f"{n_saved(run.path):,} of {total:,} records" if total is not None else "stopped before its end"


class _Commands:
    """What to type to build a phase of this experiment, as far as its other runs tell."""

    def __init__(self, runs: dict[str, list[RunFolder]], experiment: dict[str, str | None], data_dir: Path):
        self._data_dir = data_dir
        self._typed: dict[str, str] = {}
        self.preset = "full"
        known = [
            run for group in runs.values() for run in group if run.damage is None and "all_settings" in run.document
        ]
        for run in sorted(known, key=lambda run: run.path.name):
            if all(run.experiment.get(key) in (None, experiment[key]) for key in KEYS):
                settings = run.document["all_settings"]
                self.preset = run.document.get("preset", self.preset)
                self._typed |= {key: settings[key] for key in KEYS if key in settings}

    def of(self, handoff: Handoff) -> str:
        words = ["python3", "run.py", "phase", handoff.phase]
        words += ["--preset", self.preset] if self.preset != "full" else []
        sae, dataset = (build_config(kind, self.preset, {}) for kind in (SaeConfig, DatasetConfig))
        usual = {"model": sae.model, "sae": sae.sae, "dataset": dataset.dataset}
        for key in handoff.scope:
            if self._typed.get(key, usual[key]) != usual[key]:
                words += [f"--{key}", self._typed[key]]
        model = self._typed.get("model", sae.model)
        to = f" {_TO}" if handoff == TRANSFER and instruction_tuned(model) is None else ""
        return with_data_dir(shlex.join(words) + to, self._data_dir)
