"""The one interface of a phase, and what run.py hands to it."""

import dataclasses
import logging
import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

from common import discovery
from common.artifacts import Artifact, ArtifactWriter, sweep
from common.config import ModelConfig, PhaseConfig, build_config, result_settings
from common.errors import ArtifactMismatchError, ConfigError
from common.files import write_json
from common.handoffs import Handoff
from common.records import RecordWriter, check_slice


class AlreadyBuilt(Exception):
    """A finished run with the same settings and inputs exists; there is nothing to do."""

    def __init__(self, path: Path):
        super().__init__(str(path))
        self.path = path


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """What a phase folder exports as PHASE.

    `n_records` tells how many records a run has, for phases that can be cut into slices.
    """

    id: str
    title: str
    config: type[PhaseConfig]
    inputs: tuple[Handoff, ...]
    output: Handoff
    run: Callable[["RunContext", Any], None]
    n_records: Callable[["RunContext"], int] | None = None


@dataclasses.dataclass(kw_only=True)
class RunContext:
    """Where a run reads and writes, and which records are its own. Both ends are included."""

    phase: Phase
    config: PhaseConfig
    preset: str
    data_dir: Path
    device: str
    log: logging.Logger
    command: str
    start: int = 0
    end: int | None = None
    fresh: bool = False
    given_inputs: tuple[Path, ...] = ()
    should_stop: Callable[[], bool] = lambda: False
    artifacts: dict[str, Artifact] = dataclasses.field(default_factory=dict)

    def pick_inputs(self) -> None:
        """Find every input of the phase, and say which was picked and why."""
        given = [discovery.run_at(path, self.phase.inputs) for path in self.given_inputs]
        chosen = {handoff.name: run for handoff, run in given}
        lineage: dict[str, str] = {}
        for handoff in self.phase.inputs:
            build = build_command(handoff, self.config, self.preset, self.data_dir)
            run, reason = chosen.get(handoff.name), "given by --input"
            if run is None:
                reason = f"newest of {discovery.describe(handoff, self.config.experiment())}"
                run = discovery.find_input(handoff, self.data_dir, self.config.experiment(), lineage, build)
            self._check_given(handoff, run, lineage, build)
            self.artifacts[handoff.name] = artifact = Artifact(handoff, run, build)
            lineage |= {**run.document["lineage"], handoff.name: artifact.content_sha256}
            self.log.info("input %s: %s (%s)", handoff.name, run.path, reason)

    def read(self, handoff: Handoff) -> Artifact:
        """An input of this phase, as picked by `pick_inputs`."""
        return self.artifacts[handoff.name]

    def write(self) -> Any:
        """The writer of the phase's output: a RecordWriter when the phase has slices.

        Continues the unfinished run of the same settings and inputs, or begins a new one.
        Raises: AlreadyBuilt; ArtifactMismatchError when an unfinished run has other settings.
        """
        path = self.claim_folder()
        self._log_into(path)
        arguments = (self.phase.output, path, self.identity(), self._details(), self.log)
        if self.phase.n_records is None:
            return ArtifactWriter(*arguments)
        return RecordWriter(*arguments, start=self.start, end=self.end, should_stop=self.should_stop)

    def identity(self) -> dict[str, Any]:
        """All that the output depends on; a run is continued only if every entry is equal."""
        output = self.phase.output
        inputs = {name: artifact.content_sha256 for name, artifact in self.artifacts.items()}
        ancestors = [artifact.manifest["lineage"] for artifact in self.artifacts.values()]
        identity = {
            "artifact": output.name,
            "phase": self.phase.id,
            "schema_version": output.version,
            "experiment": {key: self.config.experiment()[key] for key in output.scope},
            "settings": result_settings(self.config),
            "inputs": inputs,
            "lineage": {name: digest for known in [*ancestors, inputs] for name, digest in known.items()},
        }
        if isinstance(self.config, ModelConfig):
            identity["device"] = self.device
        if self.phase.n_records is not None:
            identity["n_records"] = self.phase.n_records(self)
            check_slice(self.start, self.end, identity["n_records"])
        return identity

    def claim_folder(self) -> Path:
        """The run folder to work in, made and stamped if it is new; see `write`."""
        parent, identity = self.data_dir / self.phase.output.folder, self.identity()
        _make_folder(parent)
        with FileLock(parent / ".claims.lock"):  # workers that start together must agree on one folder
            try:
                path = self.target()
            except AlreadyBuilt as built:
                sweep(built.path)  # a crash right after the manifest leaves parts behind
                raise
            if not (path / discovery.STAMP).exists():
                write_json(path / discovery.STAMP, {**identity, **self._details()})
        return path

    def target(self) -> Path:
        """The folder that `claim_folder` would choose; nothing is written."""
        output, identity = self.phase.output, self.identity()
        fresh_path = (
            self.data_dir / output.folder / discovery.new_run_name(output, self.data_dir, identity["experiment"])
        )
        runs = discovery.list_runs(output, self.data_dir)
        runs = [run for run in runs if discovery.in_experiment(run, output, identity["experiment"])]
        if self.fresh or not runs:
            return fresh_path
        if runs[0].finished and not differences(runs[0].document, identity):
            raise AlreadyBuilt(runs[0].path)
        for run in runs:
            if not run.finished and not differences(run.document, identity):
                return run.path
        if not runs[0].finished:
            changed = differences(runs[0].document, identity)
            raise ArtifactMismatchError(
                f"cannot resume {runs[0].path}: {'; '.join(changed)}\n"
                f"Give the earlier value, or start over with: {self.command} --fresh"
            )
        return fresh_path

    def _check_given(self, handoff: Handoff, run: discovery.RunFolder, lineage: dict[str, str], build: str) -> None:
        """An input that was named must fit as well as one that was found."""
        discovery.check_version(run, handoff, build)
        experiment = self.config.experiment()
        for key in handoff.scope:
            if run.experiment.get(key) != experiment[key]:
                raise ArtifactMismatchError(
                    f"{run.path} is of {key} '{run.experiment.get(key)}', this run is of '{experiment[key]}'\n"
                    f"Give --{key} to match the input, or another --input"
                )
        for name in discovery.lineage_conflicts(run.document, lineage):
            raise ArtifactMismatchError(
                f"{run.path} was made from another {name} than the one picked\nRebuild it with: {build} --fresh"
            )

    def _details(self) -> dict[str, Any]:
        return {
            "preset": self.preset,
            "all_settings": {name: _plain(value) for name, value in dataclasses.asdict(self.config).items()},
            "command": self.command,
            "input_paths": {name: str(artifact.path) for name, artifact in self.artifacts.items()},
        }

    def _log_into(self, path: Path) -> None:
        handler = logging.FileHandler(path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        self.log.addHandler(handler)


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """'max_new_tokens was 2000, is 800' for each entry of two identities that differs."""
    found = []
    for group in sorted(now):
        old, new = then.get(group), now[group]
        if group == "lineage":  # follows from the inputs
            continue
        if not isinstance(new, dict):
            old, new = {group: old}, {group: new}
        for name in sorted(set(old or {}) | set(new)):
            if (old or {}).get(name) != new.get(name):
                shown = f"input {name}" if group == "inputs" else name
                found.append(f"{shown} was {(old or {}).get(name)}, is {new.get(name)}")
    return found


def build_command(handoff: Handoff, config: PhaseConfig, preset: str, data_dir: Path) -> str:
    """What to type to build `handoff` for the experiment of `config`."""
    words = ["python3", "run.py", "phase", handoff.phase]
    if preset != "full":
        words += ["--preset", preset]
    base = build_config(type(config), preset, {})
    for key in handoff.scope:
        if getattr(config, key) != getattr(base, key):
            words += [f"--{key}", getattr(config, key)]
    if data_dir != Path("data"):
        words += ["--data-dir", str(data_dir)]
    return shlex.join(words)


def check_phase_takes_slices(phase: Phase, start: int, end: int | None) -> None:
    if phase.n_records is None and (start, end) != (0, None):
        raise ConfigError(f"phase {phase.id} has no slices\nLeave out --start and --end")


def _make_folder(path: Path) -> None:
    """Raises: ConfigError when nothing can be written there: better now than after hours of work."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write to {path}: {error.strerror}\nGive another folder with --data-dir") from error


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
