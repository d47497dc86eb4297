"""What the report is made from: of every phase of one experiment the run that is in use, or why there is none.

Runs are chosen as a phase chooses its inputs: the newest finished one that was made from the artifacts already
picked. So a report never mixes numbers that belong to different programs, labels or latents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from common.errors import ArtifactMismatchError, DamagedRunError, MissingArtifactError
from common.handoffs import (
    DICTIONARIES,
    GENERATIONS,
    POSITIVE_CONTROL,
    SCHEMAS,
    SPLIT,
    STUDIED,
    USUAL,
    ArtifactSchema,
)
from common.model.registry import control_pairs
from common.phases.settings import build_config
from common.problems.datasets import PILOT, pilot_size
from common.problems.settings import DatasetConfig
from common.report.contrasts import lineage_of_part, parts_of
from common.report.experiments import typed_as
from common.report.what_to_type import OTHER_MODEL, phase_command
from common.runs.artifacts import Artifact
from common.runs.discovery import (
    RunFolder,
    command_in,
    describe,
    feeds_nothing,
    find_input,
    list_runs,
    n_saved,
    plain_name,
    runs_of,
)
from common.runs.held_out_log import count_selections, readings_of
from common.saes.own import finished_runs, own_identity
from common.saes.settings import SaeConfig
from common.saes.sources import has_default_transcoders
from common.words import listed

FINISHED, UNFINISHED, STALE, DAMAGED, MISSING = "finished", "unfinished", "out of date", "damaged", "not begun"
APART = "needs a second model or dataset"  # a state too: nothing is missing from an experiment with one of each
NOT_USED = "not used"  # dictionaries of one's own, where the experiment's are others; a control without pairs
KEYS = ("model", "dataset", "sae", "prompt")
Names = dict[str, Any]  # of an experiment: the SAE is None where no phase has used one yet


@dataclass(frozen=True)
class PhaseResult:
    """One phase of the experiment; `command` builds it. When it is not finished, `why` says what is the matter.

    `newer` says what lies beside a finished run and is newer, but not finished.
    """

    schema: ArtifactSchema
    state: str
    found: Artifact | None = None
    why: str = ""
    command: str = ""
    newer: str = ""

    @property
    def artifact(self) -> Artifact:
        """Of a phase that is finished."""
        assert self.found is not None
        return self.found

    @property
    def place(self) -> str:
        """Where the run lies in the data folder."""
        return f"{self.schema.folder}/{self.artifact.path.name}"

    @property
    def manifest(self) -> dict[str, Any]:
        return self.artifact.manifest

    def document(self, name: str | None = None) -> Any:
        """What one of the run's JSON files holds; its own unless named."""
        return self.artifact.document(name)


@dataclass
class Collected:
    """An experiment, and the state of each of its phases by the name of the phase's artifact.

    `settings` are those that say which experiment it is, as they were typed. `beside` has what phases that were
    run on several contrasts have besides.
    """

    experiment: Names
    data_dir: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    phases: dict[str, PhaseResult] = field(default_factory=dict)
    beside: dict[str, list[PhaseResult]] = field(default_factory=dict)

    @property
    def results(self) -> list[PhaseResult]:
        """Every phase, with its runs of other contrasts."""
        return [one for phase in self.phases.values() for one in self.results_of(phase.schema)]

    @property
    def done(self) -> list[PhaseResult]:
        """Those that have a run that can be read."""
        return [one for one in self.results if one.state == FINISHED]

    def results_of(self, schema: ArtifactSchema) -> list[PhaseResult]:
        return [self.phases[schema.name], *self.beside.get(schema.name, [])]

    def finished(self, schema: ArtifactSchema) -> PhaseResult | None:
        """The phase, when it has a run that can be read."""
        phase = self.phases[schema.name]
        return phase if phase.state == FINISHED else None

    def needed(self, schema: ArtifactSchema) -> PhaseResult:
        """The same. Raises: MissingArtifactError, which says what to type, when there is none."""
        phase = self.phases[schema.name]
        if phase.state != FINISHED:
            why = f": {phase.why}" if phase.why else ""
            raise MissingArtifactError(
                f"phase {schema.phase} of {self.name} is {phase.state}{why}\nBuild it with: {phase.command}"
            )
        return phase

    @property
    def unfinished(self) -> list[PhaseResult]:
        """Phases that this experiment lacks."""
        return [phase for phase in self.phases.values() if phase.state not in (FINISHED, APART, NOT_USED)]

    @property
    def name(self) -> str:
        """'google/gemma-2-2b on mbpp'; of a pilot 'google/gemma-2-2b on mbpp-pilot240 (a pilot: 240 problems)'."""
        known = {key: self.experiment[key] for key in ("model", "dataset", "prompt")}
        pilot = "" if self.pilot is None else f" (a pilot: {self.pilot} problems)"
        return describe(GENERATIONS, known) + pilot

    @property
    def described(self) -> list[tuple[str, str]]:
        """What it is made of, in words: model, problems, SAEs, and the form of the prompts."""
        words = {"model": "Model", "dataset": "Problems", "sae": "SAEs", "prompt": "Prompts"}
        known = {key: word for key, word in self.experiment.items() if word is not None}
        return [(words[key], plain_name(word)) for key, word in known.items()]

    @property
    def model_name(self) -> str:
        """The model as it was typed."""
        return self.settings.get("model", plain_name(self.experiment["model"]))

    @property
    def pilot(self) -> int | None:
        """How many problems were drawn for a pilot; None where the dataset is whole."""
        return pilot_size(self.experiment["dataset"])

    @property
    def is_organism(self) -> bool:
        """Whether the model is the one that ships with the pipeline, whose knowledge was planted."""
        return plain_name(self.experiment["model"]) == "organism"

    @cached_property
    def readings(self) -> int:
        """How many different selections were evaluated on the validation split, by the log and the results."""
        from_results = [
            getattr(phase.document(), "readings", 0)
            for phase in self.phases.values()
            if phase.state == FINISHED and phase.schema.documents
        ]
        return max([self._readings_in_log(), *from_results])

    def _readings_in_log(self) -> int:
        split = self.finished(SPLIT)
        if split is None:
            return 0
        model, dataset, prompt = (self.experiment[key] for key in ("model", "dataset", "prompt"))
        digest = split.artifact.content_sha256
        return count_selections(readings_of(self.data_dir, model, dataset, digest, prompt=prompt))


OF_CIRCUITS = ("prompts", "transcoders")  # what tells experiments of phase 5 apart, beside the model
Runs = dict[str, list[RunFolder]]  # by the name of the artifact


def runs_in(data_dir: Path) -> Runs:
    """Every run of every phase, newest first."""
    return {schema.name: list_runs(schema, data_dir) for schema in SCHEMAS}


def collect_experiment(
    runs: Runs,
    experiment: Names,
    data_dir: Path,
    typed: Mapping[str, Any] | None = None,
    lineage: Mapping[str, str] | None = None,
) -> Collected:
    """All phases of one experiment; `typed` are settings that its runs do not tell.

    Of each it is the newest run, or the newest that agrees with the content hashes of `lineage`.
    """
    known = {**experiment, **{key: _in_use(key, runs, experiment["model"]) for key in OF_CIRCUITS}}
    told = typed_as(known, [run for group in runs.values() for run in group])
    collected = Collected(experiment, data_dir, {**told.settings, **(typed or {})})
    lineage = dict(lineage or {})
    of_parts: list[Artifact] = []
    for schema in SCHEMAS:
        build = phase_command(schema, collected.settings, told.preset, data_dir)
        results = [
            _phase(schema, data_dir, {**known, **part}, {**lineage, **lineage_of_part(of_parts, part)}, build)
            for part in parts_of(schema, runs[schema.name], known)
        ]
        phase, *others = sorted(results, key=lambda one: one.state != FINISHED)  # the newest that can be read is first
        if {*STUDIED} & {*schema.keys}:
            of_parts += [one.artifact for one in results if one.state == FINISHED]
        elif phase.state == FINISHED:
            rests_on = (
                {} if schema == DICTIONARIES else phase.manifest["lineage"]
            )  # those may be of another dataset's split
            lineage |= {**rests_on, schema.name: phase.artifact.content_sha256}
        collected.phases[schema.name], collected.beside[schema.name] = phase, others
    return collected


def _in_use(key: str, runs: Runs, model: str | None) -> str | None:
    """What phase 5 was last given of a model, whatever else is of the experiment: prompts, or transcoders."""
    runs_of_model = [
        run
        for schema in SCHEMAS
        if key in schema.keys
        for run in runs[schema.name]
        if run.readable and run.of("model") == model
    ]
    newest = max(runs_of_model, key=lambda run: run.path.name, default=None)
    return USUAL.get(key) if newest is None else newest.of(key)


def choose(runs: Runs, given: dict[str, str], data_dir: Path, preset: str | None = None) -> list[Names]:
    """The experiments that fit what is given and have a finished run from phase 1 on, the newest first.

    `given` holds model, dataset and sae as they are typed; the others are the preset's, where there is one.
    Raises: ConfigError for an unknown preset; MissingArtifactError when there is none.
    """
    sound = [
        run
        for schema in SCHEMAS
        if "model" in schema.keys
        for run in runs[schema.name]
        if run.damage is None and not feeds_nothing(schema, run)
    ]
    sound.sort(key=lambda run: run.path.name, reverse=True)
    asked = {key: word for key, word in {**_of_preset(preset), **given}.items() if word != "auto"}
    whole = [run for run in sound if run.finished and "dataset" in run.experiment]
    chosen: dict[tuple, Names] = {}
    for run in whole:
        names = {key: run.experiment[key] for key in ("model", "dataset", "prompt")}
        sae = run.experiment.get("sae") or _sae_of(names, sound, asked)
        names = {key: sae if key == "sae" else names[key] for key in KEYS}
        if all(_is_meant(asked.get(key), name) for key, name in _as_typed(names, asked).items()) and not (
            "sae" in asked and names["sae"] is None
        ):
            chosen.setdefault(tuple(names.values()), names)
    if not chosen:
        raise MissingArtifactError(_nothing_to_report(whole, asked, data_dir, preset))
    return [*chosen.values()]


def _of_preset(preset: str | None) -> dict[str, str]:
    """Model, dataset and sae of a preset."""
    if preset is None:
        return {}
    sae, dataset = build_config(SaeConfig, preset, {}), build_config(DatasetConfig, preset, {})
    return {"model": sae.model, "dataset": dataset.dataset, "sae": sae.sae}


def _sae_of(names: Names, sound: list[RunFolder], asked: dict[str, str]) -> str | None:
    """The SAE that a model was last read with, of those that are meant, where the phase itself used none."""
    same = [run for run in sound if names.items() <= run.experiment.items()]
    saes = [run.experiment["sae"] for run in same if "sae" in run.experiment]
    return next((sae for sae in saes if _is_meant(asked.get("sae"), sae)), None)


def _as_typed(names: Names, asked: dict[str, str]) -> Names:
    """The names as one types them with a --limit: the dataset without the number of its pilot, which stands apart."""
    if "limit" not in asked:
        return names
    size, whole = pilot_size(names["dataset"]), plain_name(names["dataset"])
    return {**names, "dataset": whole.removesuffix(f"{PILOT}{size}"), "limit": str(size or 0)}


def _is_meant(word: str | None, identity: str | None) -> bool:
    """Whether a name as the user types it (a hub id, a folder or a file) is that of a model, dataset or SAE."""
    if word is None or identity is None:
        return True
    return word == identity or plain_name(identity) in (word, Path(word).name, Path(word).stem)


def _nothing_to_report(whole: list[RunFolder], asked: dict[str, str], data_dir: Path, preset: str | None) -> str:
    wanted = ", ".join(f"{key} {word}" for key, word in asked.items())
    what = f"there is no finished run of phase 1 or later{' with ' * bool(wanted)}{wanted}"
    known = dict.fromkeys(
        " on ".join(plain_name(run.experiment[key]) for key in ("model", "dataset", "sae") if key in run.experiment)
        for run in whole
    )
    if known:
        words = "" if preset == "demo" else ", or --preset demo for the model organism"
        flags = listed([f"--{key}" for key in asked if key != "limit"] or ["--model"])
        return f"{what}; {data_dir} holds {', '.join(known)}\nGive {flags} of one of these{words}"
    build = phase_command(GENERATIONS, asked, preset or "full", data_dir)
    return f"{what}; {data_dir} holds none\nBuild one with: {build}"


def _phase(
    schema: ArtifactSchema, data_dir: Path, experiment: Names, lineage: dict[str, str], build: str
) -> PhaseResult:
    """The state of one phase, given the content hashes of the artifacts picked before it."""
    if schema == DICTIONARIES:
        return _dictionaries(data_dir, experiment, build)
    if any(experiment.get(key, USUAL.get(key)) is None for key in schema.keys):
        return _not_begun(schema, experiment, build)
    try:
        run, _ = find_input(schema, data_dir, experiment, lineage, build)
    except MissingArtifactError:
        return _not_finished(schema, data_dir, experiment, build)
    except ArtifactMismatchError as error:
        return _unusable(schema, DAMAGED if isinstance(error, DamagedRunError) else STALE, error)
    artifact = Artifact(schema, run, build)
    try:
        for name in run.document["files"]:
            if not name.endswith(".safetensors"):  # activations are gigabytes: whoever reads some of them looks
                artifact.file(name)
    except ArtifactMismatchError as error:
        return _unusable(schema, DAMAGED, error)
    return PhaseResult(schema, FINISHED, artifact, command=build, newer=_newer(schema, data_dir, experiment, run))


def _dictionaries(data_dir: Path, experiment: Names, build: str) -> PhaseResult:
    """Those of one's own that the experiment was made with."""
    for run in finished_runs(data_dir):
        if own_identity(run) == experiment["sae"]:
            return PhaseResult(DICTIONARIES, FINISHED, Artifact(DICTIONARIES, run, build))
    return PhaseResult(DICTIONARIES, NOT_USED, command=build)


def _unusable(schema: ArtifactSchema, state: str, error: ArtifactMismatchError) -> PhaseResult:
    why, _, advice = str(error).partition("\n")
    return PhaseResult(schema, state, why=why, command=advice.partition(": ")[2])


def _not_finished(schema: ArtifactSchema, data_dir: Path, experiment: dict[str, str], build: str) -> PhaseResult:
    runs = runs_of(schema, data_dir, experiment)
    begun = [run for run in runs if not run.finished and not feeds_nothing(schema, run)]
    if not begun:
        return _not_begun(schema, experiment, build)
    return PhaseResult(schema, UNFINISHED, why=_progress(begun[0]), command=command_in(begun[0], data_dir))


def _not_begun(schema: ArtifactSchema, experiment: Names, build: str) -> PhaseResult:
    model = plain_name(experiment["model"])
    without = {
        POSITIVE_CONTROL.name: control_pairs(model) is None,
        **{each.name: not has_default_transcoders(model) for each in SCHEMAS if "transcoders" in each.keys},
    }
    if without.get(schema.name):
        return PhaseResult(schema, NOT_USED, command=build)
    return PhaseResult(schema, APART if OTHER_MODEL in build else MISSING, command=build)


def _newer(schema: ArtifactSchema, data_dir: Path, experiment: dict[str, str], used: RunFolder) -> str:
    runs = runs_of(schema, data_dir, experiment)
    newer = [run for run in runs if not run.finished and run.path.name > used.path.name]
    return f"a newer run, {newer[0].path.name}, is not finished: {_progress(newer[0])}" if newer else ""


def _progress(run: RunFolder) -> str:
    total = run.document.get("n_records")
    return f"{n_saved(run.path):,} of {total:,} records" if total is not None else "stopped before its end"
