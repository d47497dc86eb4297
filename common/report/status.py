"""What lies in a data folder: built, stale, unfinished, damaged or missing, for each experiment."""

from dataclasses import dataclass
from pathlib import Path

from common.cli import Parser
from common.errors import PipelineError
from common.handoffs import DICTIONARIES, POSITIVE_CONTROL, SCHEMAS, ArtifactSchema
from common.model.registry import control_pairs
from common.problems.datasets import dataset_name
from common.report.experiments import Experiment, experiments_in
from common.report.what_to_type import phase_command
from common.runs.discovery import (
    RunFolder,
    command_in,
    describe,
    feeds_nothing,
    has_checkpoint,
    identities,
    list_runs,
    n_saved,
    plain_name,
    serves,
)
from common.runs.locks import worked_on_by
from common.saes.sources import has_default_transcoders


@dataclass(frozen=True)
class StatusLine:
    """The state of one phase in one experiment, and what to type next."""

    phase: str
    experiment: str
    state: str
    detail: str
    path: Path | None
    command: str | None


Newest = list[tuple[ArtifactSchema, dict[tuple, RunFolder]]]  # by experiment


def status_lines(schemas: tuple[ArtifactSchema, ...], data_dir: Path) -> list[StatusLine]:
    """Lines for each phase and experiment that has a run, and for each experiment that a phase lacks.

    An experiment whose newest run is unfinished has a second line for the finished one that is in use.
    """
    runs = {schema.name: list_runs(schema, data_dir) for schema in schemas}
    experiments = experiments_in(run for group in runs.values() for run in group)
    newest, lines = [(schema, _newest(schema, runs[schema.name])) for schema in schemas], []
    for schema in schemas:
        names = _experiments_by_name(schema, runs[schema.name])
        of_schema = [_damaged(schema, run) for run in runs[schema.name] if run.damage is not None]
        groups: dict[tuple, list[RunFolder]] = {}
        for run in (run for run in runs[schema.name] if run.damage is None):
            groups.setdefault((*_experiment(schema, run), feeds_nothing(schema, run)), []).append(run)
        for group in groups.values():
            of_schema += _states_of(schema, group, names, newest, data_dir)
        of_schema += _missing(schema, [run for group in groups.values() for run in group], experiments, data_dir)
        lines += of_schema
    return lines


def _states_of(
    schema: ArtifactSchema,
    group: list[RunFolder],
    names: dict[str, list[dict[str, str]]],
    newest: Newest,
    data_dir: Path,
) -> list[StatusLine]:
    """`group` holds the runs of one experiment, newest first."""
    lines, name, first = [], _name_among(schema, group[0], names), group[0]
    if not first.finished:
        total = first.document.get("n_records")
        saved = "a checkpoint" if has_checkpoint(first.path) else "nothing saved"
        detail = f"{n_saved(first.path)} of {total} records" if total is not None else saved
        detail += _settings(first) + _older([run for run in group[1:] if not run.finished])
        command, owner = command_in(first, data_dir), worked_on_by(first.path)
        state, again = ("running", None) if owner else ("unfinished", command)
        detail += f"; {owner}" if owner else ""
        lines.append(StatusLine(schema.phase, name, state, detail, first.path, again))
    finished = next((run for run in group if run.finished), None)
    if finished is None:
        return lines
    reason = _why_stale(schema, finished, newest)
    if reason:
        rebuild = f"{command_in(finished, data_dir)} --fresh"
        return [*lines, StatusLine(schema.phase, name, "stale", reason, finished.path, rebuild)]
    facts = finished.document["summary"].items()
    summary = ", ".join(f"{key.replace('_', ' ')} {_short(value)}" for key, value in facts)
    return [*lines, StatusLine(schema.phase, name, "built", summary + _settings(finished), finished.path, None)]


def _settings(run: RunFolder) -> str:
    """What differs from the preset: a run at another temperature must not look like any other."""
    changed = run.document.get("changed_settings", {})
    return "".join(f"; --{name.replace('_', '-')} {value}" for name, value in changed.items())


def _older(unfinished: list[RunFolder]) -> str:
    return f" ({len(unfinished)} older unfinished)" if unfinished else ""


def _experiment(schema: ArtifactSchema, run: RunFolder) -> tuple:
    """What keeps experiments apart for this artifact; None for what a run of another one does not have."""
    return tuple(run.experiment.get(key) for key in schema.keys)


def _newest(schema: ArtifactSchema, runs: list[RunFolder]) -> dict[tuple, RunFolder]:
    """The run of each experiment that other phases would read."""
    newest: dict[tuple, RunFolder] = {}
    for run in runs:
        if run.readable and not feeds_nothing(schema, run):
            newest.setdefault(_experiment(schema, run), run)
    return newest


def _experiments_by_name(schema: ArtifactSchema, runs: list[RunFolder]) -> dict[str, list[dict[str, str]]]:
    names: dict[str, list[dict[str, str]]] = {}
    for run in runs:
        if run.damage is None:
            names.setdefault(describe(schema, run.experiment), []).append(run.experiment)
    return names


def _name_among(schema: ArtifactSchema, run: RunFolder, names: dict[str, list[dict[str, str]]]) -> str:
    """The experiment's name; with the hash of its content where another one has the same name."""
    name = describe(schema, run.experiment)
    same = any(experiment != run.experiment for experiment in names[name])
    return " on ".join(identities(schema.keys, run.experiment)) if same else name


def _why_stale(schema: ArtifactSchema, run: RunFolder, newest: Newest) -> str | None:
    if run.document["schema_version"] != schema.version:
        return f"schema version {run.document['schema_version']}, the code has {schema.version}"
    for source, runs in newest:
        if source == DICTIONARIES:  # there may be several in use: the SAEs' identity says which
            continue
        held = [one for one in runs.values() if source.several and serves(source, one, run.experiment)]
        digest, known = run.document["lineage"].get(source.name), runs.get(_experiment(source, run), *held[:1])
        if digest and known is not None and known.document["content_sha256"] != digest:
            return f"made from an older {source.name} than {known.path.name}"
    return None


def _damaged(schema: ArtifactSchema, run: RunFolder) -> StatusLine:
    what, advice = str(run.damage).split("\n")
    return StatusLine(schema.phase, run.path.name, "damaged", what, run.path, advice.partition(": ")[2])


def _missing(
    schema: ArtifactSchema, present: list[RunFolder], experiments: list[Experiment], data_dir: Path
) -> list[StatusLine]:
    """A line for each experiment, as far as the phase tells them apart, that it has no run of."""
    if schema == DICTIONARIES:  # who has others needs none
        return []
    lines: dict[tuple, StatusLine] = {}
    for experiment in experiments or [Experiment()]:
        names = {key: experiment.names[key] for key in schema.keys if key in experiment.names}
        if schema == POSITIVE_CONTROL and control_pairs(plain_name(names.get("model", ""))) is None:
            continue  # nothing is missing where there are no pairs
        if (
            "transcoders" in schema.keys
            and "model" in names
            and not has_default_transcoders(plain_name(names["model"]))
        ):
            continue  # nor where there are no transcoders
        built = any(all(run.experiment.get(key) == name for key, name in names.items()) for run in present)
        if not built and ("dataset" not in names or _is_current(experiment)):
            told = describe(schema, names) if names else "-"
            command = phase_command(schema, experiment.settings, experiment.preset, data_dir)
            lines.setdefault(tuple(names.items()), StatusLine(schema.phase, told, "missing", "", None, command))
    return [*lines.values()]


def _is_current(experiment: Experiment) -> bool:
    """Whether the dataset can still be had as it was: an edited or lost file is another, or none."""
    try:
        settings = experiment.settings
        return dataset_name(settings["dataset"], settings.get("limit", 0)) == experiment.names["dataset"]
    except (PipelineError, KeyError):
        return False


def _short(value: object) -> str:
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def main(argv: list[str], _program: object) -> int:
    parser = Parser(prog="run.py status", description="What is built, stale, unfinished or missing, per experiment.")
    parser.add_argument("--data-dir", type=Path, default=Path("data"), help="folder of all artifacts (default: data)")
    args = parser.parse_args(argv)
    for line in status_lines(SCHEMAS, args.data_dir):
        print(f"phase {line.phase:<4} {line.state:<11} {line.experiment}{'  ' * bool(line.detail)}{line.detail}")
        if line.path is not None:
            print(f"           {line.path}")
        if line.command is not None:
            print(f"           next: {line.command}")
    return 0
