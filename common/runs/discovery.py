"""Find run folders: newest wins, but only within one experiment.

A run folder is finished if and only if it holds manifest.json; unfinished if it holds
stamp.json alone. Its name starts with the time it was begun, which is always later than
that of every folder beside it, even if the clock was set back.
"""

import contextlib
import datetime
import itertools
import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ArtifactMismatchError, ConfigError, DamagedRunError, MissingArtifactError
from common.files import is_sealed
from common.handoffs import STUDIED, USUAL, ArtifactSchema

MANIFEST, STAMP = "manifest.json", "stamp.json"
_TIME = "%Y-%m-%dT%H-%M-%SZ"
PART = re.compile(r"part_(\d{6,})_(\d+)_([0-9a-f]{16})\.safetensors")
CHECKPOINT = re.compile(r"step_(\d{9})")
_NAME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)_(.+)(?<!\.damaged)")
_STAMP_KEYS = dict.fromkeys(("experiment", "settings", "inputs", "lineage", "all_settings"), dict)
_STAMP_KEYS |= dict.fromkeys(("command", "preset"), str)
_MANIFEST_KEYS = {**_STAMP_KEYS, "files": dict, "summary": dict, "content_sha256": str}


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. `document` is its manifest, or its stamp while it is unfinished.

    `damage` says why the document cannot be used; then only the folder's name is known.
    """

    path: Path
    finished: bool
    document: dict[str, Any]
    damage: DamagedRunError | None = None

    @property
    def readable(self) -> bool:
        """Whether it is finished, and its manifest can be used."""
        return self.finished and self.damage is None

    @property
    def experiment(self) -> dict[str, str]:
        """What keeps it apart from others; where a model was given problems, the form of the prompts too."""
        told = self.document["experiment"]
        form = {"prompt": USUAL["prompt"]} if {"model", "dataset"} <= told.keys() else {}
        return {**form, **told}

    def of(self, key: str) -> str | None:
        """One entry of its experiment; what is usual where none is named."""
        return self.experiment.get(key, USUAL.get(key))


def list_runs(schema: ArtifactSchema, data_dir: Path) -> list[RunFolder]:
    """Every run of this artifact, newest first. Folders that are no runs are passed over."""
    parent = data_dir / schema.folder
    if not parent.is_dir():
        return []
    names = sorted((p.name for p in parent.iterdir() if is_run_name(p.name) and p.is_dir()), reverse=True)
    runs = (read_run(parent / name, schema) for name in names)
    return [run for run in runs if run is not None]


def readable_runs(schema: ArtifactSchema, data_dir: Path) -> list[RunFolder]:
    """Every finished run of this artifact that can be read, of whatever experiment, newest first."""
    return [run for run in list_runs(schema, data_dir) if run.readable]


def read_run(path: Path, schema: ArtifactSchema) -> RunFolder | None:
    """The run in `path`; None when the folder is empty, because a run is just being begun there."""
    name = next((name for name in (MANIFEST, STAMP) if (path / name).is_file()), None)
    try:
        if name is not None:
            document = _read_document(path / name, schema)
            return RunFolder(path, name == MANIFEST, document)
        if any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise _damaged(path / MANIFEST, f"{path} has lost its {MANIFEST}")
    except DamagedRunError as damage:
        return RunFolder(path, name == MANIFEST, {}, damage)
    return None


def never_begun(schema: ArtifactSchema, data_dir: Path) -> list[Path]:
    """Folders that a crash left before a word was written in them. Only for who holds the lock of choosing folders."""
    parent = data_dir / schema.folder
    folders = [path for path in parent.iterdir() if is_run_name(path.name) and path.is_dir()]
    return [path for path in folders if all(entry.name.startswith(".") for entry in path.iterdir())]


def runs_of(schema: ArtifactSchema, data_dir: Path, experiment: dict[str, str]) -> Iterator[RunFolder]:
    """Runs of one experiment, newest first.

    Raises: DamagedRunError on reaching a damaged one whose name fits the experiment, as far as that is known.
    """
    suffix = "_".join(slug(name) for name in identities(schema.keys, experiment))
    is_open = any(key in STUDIED and key not in experiment for key in schema.keys)
    for run in list_runs(schema, data_dir):
        if run.damage is not None:
            name = run.path.name.partition("Z_")[2]
            if name == suffix or (is_open and name.startswith(f"{suffix}_")):
                raise run.damage
        elif is_of(schema, run, experiment):
            yield run


def runs_serving(schema: ArtifactSchema, data_dir: Path, experiment: dict[str, str]) -> Iterator[RunFolder]:
    """Runs that may be read for an experiment: its own, newest first, then those that hold it among others.

    Raises: as `runs_of`.
    """
    yield from runs_of(schema, data_dir, experiment)
    for run in list_runs(schema, data_dir) if schema.several else []:
        if run.damage is None and serves(schema, run, experiment) and not is_of(schema, run, experiment):
            yield run


def is_of(schema: ArtifactSchema, run: RunFolder, experiment: Mapping[str, str | None]) -> bool:
    """Whether a sound run is of an experiment, as far as the schema tells them apart."""
    return all(run.of(key) == experiment.get(key, USUAL.get(key)) for key in schema.keys)


def serves(schema: ArtifactSchema, run: RunFolder, experiment: Mapping[str, str | None]) -> bool:
    """Whether a sound run is of an experiment, or of that among others."""
    return all(schema.agrees(key, run.of(key), experiment.get(key, USUAL.get(key))) for key in schema.keys)


def find_input(
    schema: ArtifactSchema, data_dir: Path, experiment: dict[str, str], lineage: dict[str, str], build: str
) -> tuple[RunFolder, str]:
    """The newest finished run of this experiment that was made from the artifacts in `lineage`.

    `lineage` maps the names of artifacts already picked to their content hash; `build` is the
    command that makes the missing one. Returns the run, and why it was picked.
    Raises: MissingArtifactError, ArtifactMismatchError.
    """
    unfinished, passed_over = [], []
    for run in runs_serving(schema, data_dir, experiment):
        if feeds_nothing(schema, run):
            continue
        if not run.finished:
            unfinished.append(run)
            continue
        check_version(run, schema, build)  # first: what another version says of its lineage is not known
        if lineage_conflicts(schema, run, lineage):
            passed_over.append(run)
        else:
            alike = " that was made from the same artifacts" if passed_over else ""
            return run, f"newest of {describe(schema, run.experiment)}{alike}"
    if not passed_over:
        raise MissingArtifactError(_missing(schema, data_dir, experiment, unfinished, build))
    names = ", ".join(lineage_conflicts(schema, passed_over[0], lineage))
    raise ArtifactMismatchError(
        f"the newest {schema.name} of {describe(schema, experiment)} was made from another {names} "
        f"than the one picked: {passed_over[0].path}\nRebuild it with: {build} --fresh"
    )


def run_at(path: Path, schemas: tuple[ArtifactSchema, ...]) -> tuple[ArtifactSchema, RunFolder]:
    """The finished run that a --input names: a run folder, or a file in it.

    Raises: ConfigError when there is none, or it is no input of this phase.
    """
    wanted = " or ".join(schema.name for schema in schemas) or "nothing: this phase has no inputs"
    if not path.exists():
        raise ConfigError(f"--input {path} does not exist\nGive a run folder or a file in it, holding {wanted}")
    folders = [path] if path.is_dir() else []
    for folder in [*folders, *path.resolve().parents]:
        if not (folder / MANIFEST).is_file():
            continue
        name = _load_json(folder / MANIFEST).get("artifact")
        for schema in schemas:
            if schema.name == name:
                run = read_run(folder, schema)
                assert run is not None  # it has a manifest
                if run.damage is not None:
                    raise run.damage
                return schema, run
        raise ConfigError(f"--input {path} holds '{name}'; this phase reads {wanted}\nGive a run folder of that kind")
    raise ConfigError(f"--input {path} is in no finished run (no {MANIFEST})\nGive a run folder holding {wanted}")


def lineage_of(schema: ArtifactSchema, run: RunFolder) -> dict[str, str]:
    """Content hash of every artifact that a finished run rests on, its own included."""
    return {**run.document["lineage"], schema.name: run.document["content_sha256"]}


def lineage_conflicts(schema: ArtifactSchema, run: RunFolder, lineage: dict[str, str]) -> list[str]:
    """Names of artifacts that the run and `lineage` both rest on, but in different versions."""
    own = lineage_of(schema, run)
    return [name for name, digest in lineage.items() if own.get(name, digest) != digest]


def command_in(run: RunFolder, data_dir: Path) -> str:
    """The command that continues or repeats a run, for a data folder that may have been moved since."""
    return with_data_dir(run.document["command"], data_dir)


def with_data_dir(command: str, data_dir: Path) -> str:
    """`command` for a data folder: the usual one need not be named."""
    return command if data_dir == Path("data") else f"{command} {shlex.join(['--data-dir', str(data_dir)])}"


def feeds_nothing(schema: ArtifactSchema, run: RunFolder) -> str | None:
    """Why no phase may read a run: 'split is validation'; None where phases may."""
    settings = run.document.get("settings", {})
    wrong = [f"{key} is {settings[key]}" for key, value in schema.feeds.items() if settings.get(key, value) != value]
    return ", ".join(wrong) or None


def check_version(run: RunFolder, schema: ArtifactSchema, build: str) -> None:
    version = run.document.get("schema_version")
    if version != schema.version:
        raise ArtifactMismatchError(
            f"{schema.name} has schema version {version}, this code reads version {schema.version}: {run.path}\n"
            f"Rebuild it with: {build} --fresh"
        )


def new_run_name(schema: ArtifactSchema, data_dir: Path, experiment: dict[str, str]) -> str:
    """'<time>_<model>_<dataset>', later than every folder beside it."""
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    parent = data_dir / schema.folder
    names = [p.name for p in parent.iterdir()] if parent.is_dir() else []
    for match in filter(None, map(_NAME.fullmatch, names)):
        with contextlib.suppress(ValueError):  # a name that only looks like a time
            taken = datetime.datetime.strptime(match[1], _TIME).replace(tzinfo=datetime.UTC)
            now = max(now, taken + datetime.timedelta(seconds=1))
    return "_".join([now.strftime(_TIME), *(slug(name) for name in identities(schema.keys, experiment))])


def slug(name: str) -> str:
    """The part of a model's or dataset's name that is shown in a folder's name."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", plain_name(name).rstrip("/").split("/")[-1])[:60]


def plain_name(identity: str) -> str:
    """A model's or dataset's name without the hash of its content."""
    return re.sub(r"@[0-9a-f]{8}$", "", identity)


def file_name(template: str, experiment: dict[str, str]) -> str:
    """'sae_{dataset}.parquet' with the experiment's names filled in."""
    return template.format(**{key: slug(name) for key, name in experiment.items()})


def describe(schema: ArtifactSchema, experiment: dict[str, str]) -> str:
    """'google/gemma-2-2b on mbpp', with ', chat prompts' where they are not as usual, and ', IndexError/KeyError'."""
    apart = (*STUDIED, "prompt")
    name = " on ".join(map(plain_name, identities((key for key in schema.scope if key not in apart), experiment)))
    told = {**USUAL, **experiment}
    words = {"prompt": " prompts", "format": " format"}
    unusual = [key for key in apart if key in schema.keys and told[key] != USUAL[key]]
    return ", ".join([name, *(f"{told[key]}{words.get(key, '')}" for key in unusual)])


def identities(keys: Iterable[str], experiment: dict[str, str]) -> list[str]:
    """The identities that tell an experiment, but for what is as usual; of prompts in the other form 'chat-prompts'.

    Names of contrasts lose their stroke, which would stand for a folder.
    """
    told = {**USUAL, **experiment}
    unusual = [key for key in keys if key in told and told[key] != USUAL.get(key)]
    words = {key: told[key].replace("/", "-") if key in STUDIED else told[key] for key in unusual}
    return [f"{word}-prompts" if key == "prompt" else word for key, word in words.items()]


def set_run_aside(run: Path) -> Path:
    """Rename a damaged run so that nobody takes it for one; returns its new place."""
    numbers = itertools.count(2)
    aside = Path(f"{run}.damaged")
    while aside.exists():
        aside = Path(f"{run}.{next(numbers)}.damaged")
    return run.rename(aside)


def is_run_name(name: str) -> bool:
    """Whether a folder's name is that of a run: nothing else may be read or deleted."""
    return _NAME.fullmatch(name) is not None


def has_checkpoint(path: Path) -> bool:
    """Whether an unfinished run without records holds a state that it goes on from."""
    return any(CHECKPOINT.fullmatch(folder.name) for folder in (path / "parts").glob("step_*"))


def n_saved(path: Path) -> int:
    """Records saved so far in an unfinished run, counted from the names of its parts."""
    names = (PART.fullmatch(part.name) for part in (path / "parts").glob("part_*"))
    return sum(int(match[2]) for match in names if match)


def _missing(
    schema: ArtifactSchema, data_dir: Path, experiment: dict[str, str], unfinished: list[RunFolder], build: str
) -> str:
    what = f"no finished {schema.name} of {describe(schema, experiment)}"
    parent = data_dir / schema.folder
    if not unfinished:
        runs = [run for run in list_runs(schema, data_dir) if run.damage is None and not feeds_nothing(schema, run)]
        others = sorted({describe(schema, run.experiment) for run in runs})
        held = f"{parent} holds {', '.join(others)}" if others else f"{parent} holds no run"
        if describe(schema, experiment) in others:
            held = f"{parent} holds it only for another version of the file or model"
        return f"{what}: {held}\nBuild it with: {build}"
    run = unfinished[0]
    total = run.document.get("n_records")
    done = f" ({n_saved(run.path)} of {total} records)" if total is not None else ""
    runs = "1 unfinished run" if len(unfinished) == 1 else f"{len(unfinished)} unfinished runs"
    return f"{what}: {parent} holds {runs}{done}\nFinish it with: {command_in(run, data_dir)}"


def _read_document(path: Path, schema: ArtifactSchema) -> dict[str, Any]:
    document = _load_json(path)
    if document.get("artifact") != schema.name:
        name = document.get("artifact")
        raise _damaged(path, f"{path} describes '{name}', but lies where '{schema.name}' belongs")
    keys = _MANIFEST_KEYS if path.name == MANIFEST else _STAMP_KEYS
    is_ours = document.get("schema_version") == schema.version
    if not is_ours:  # other versions may have other entries
        keys = {"schema_version": int, "experiment": dict, "command": str}
    wrong = [key for key, kind in keys.items() if not isinstance(document.get(key), kind)]
    wrong += [
        f"experiment.{key}" for key in schema.keys if not wrong and key not in {**USUAL, **document["experiment"]}
    ]
    if wrong:
        raise _damaged(path, f"{path} is damaged: its entry '{wrong[0]}' is missing or wrong")
    if is_ours and not is_sealed(document):
        raise _damaged(path, f"{path} is damaged: an entry is not what was written")
    if keys is _MANIFEST_KEYS:
        _check_sizes(path, document["files"])
    return document


def _check_sizes(manifest: Path, files: dict[str, Any]) -> None:
    """A look that costs nothing; whoever reads a file compares its hash."""
    for name, entry in files.items():
        path = manifest.parent / name
        if not path.is_file():
            raise _damaged(manifest, f"{path} is gone, but the manifest lists it")
        if path.stat().st_size != entry["bytes"]:
            size = path.stat().st_size
            raise _damaged(
                manifest,
                f"{path} was changed after it was built: it has {size} bytes, the manifest says {entry['bytes']}",
            )


def _load_json(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except ValueError as error:
        raise _damaged(path, f"{path} is damaged: it is no JSON ({error})") from error
    if not isinstance(document, dict):
        raise _damaged(path, f"{path} is damaged: it holds no JSON object")
    return document


def _damaged(document: Path, what: str) -> DamagedRunError:
    run = document.parent
    return DamagedRunError(f"{what}\nSet the run aside with: {shlex.join(['mv', str(run), f'{run}.damaged'])}", run)
