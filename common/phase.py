"""The one interface of a phase, and what run.py hands to it."""

import contextlib
import dataclasses
import logging
import logging.handlers
import shlex
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock

from common import discovery
from common.artifacts import AlreadyBuilt, Artifact, ArtifactWriter, find_damage, sweep
from common.checkpoints import RECORDS_PER_PART, holds_parts_of
from common.command_line import build_command
from common.config import (
    ModelConfig,
    PhaseConfig,
    RecordsConfig,
    as_json,
    differences_from_preset,
    result_settings,
    typed,
)
from common.devices import kind_of
from common.errors import ArtifactMismatchError, ConfigError, DamagedRunError, MissingArtifactError, PipelineError
from common.files import digest_of, write_sealed_json
from common.handoffs import USUAL, Handoff
from common.locks import in_use
from common.records import RecordWriter, check_slice
from common.revisions import check_settled, settled, with_commits
from common.stopping import StopRequest


@dataclasses.dataclass(frozen=True, kw_only=True)
class Phase:
    """What a phase folder exports as PHASE.

    `n_records` tells how many records a run has, for phases that can be cut into slices.
    `n_kept_vectors` tells how many vectors of the model's width a record keeps, given the settings and the layers.
    `optional_inputs` are read where there is a finished run of them. `without` names those of `inputs` that a run
    with these settings does not read.
    """

    id: str
    title: str
    config: type[PhaseConfig]
    inputs: tuple[Handoff, ...]
    output: Handoff
    run: Callable[["RunContext", Any], None]
    n_records: Callable[["RunContext"], int] | None = None
    n_kept_vectors: Callable[[Any, int], int] = lambda config, n_layers: 0
    optional_inputs: Callable[[Any], tuple[Handoff, ...]] = lambda config: ()
    without: Callable[[Any], tuple[Handoff, ...]] = lambda config: ()

    def needed(self, config: Any) -> tuple[Handoff, ...]:
        """The inputs that a run with these settings cannot do without."""
        spared = self.without(config)
        return tuple(handoff for handoff in self.inputs if handoff not in spared)


@dataclasses.dataclass(kw_only=True)
class RunContext:
    """Where a run reads and writes, and which records are its own. Both ends are included.

    `command` is what continues the run: without --fresh, a slice, and --data-dir (see `again`).
    """

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
    stop: StopRequest = dataclasses.field(default_factory=StopRequest)
    artifacts: dict[str, Artifact] = dataclasses.field(default_factory=dict)
    reasons: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def again(self) -> str:
        """What to type to continue the run."""
        return discovery.with_data_dir(self.command, self.data_dir)

    def pick_inputs(self, network: bool = True) -> None:
        """Settle what the settings left open, find every input of the phase, and say which was picked and why.

        Without `network` no hub is asked, and what only a hub can tell stays open.
        Raises: MissingArtifactError, ArtifactMismatchError, ConfigError, AssetError.
        """
        typed = self.config
        self.settle(network)
        self._pick(typed)
        if network:
            check_settled(self.config)

    def settle(self, network: bool = True) -> None:
        """Put commits and the form of prompts into the settings, where they were left open (common/revisions.py)."""
        typed = self.config
        self.config = settled(self, network)
        self.command = shlex.join(with_commits(shlex.split(self.command), typed, self.config))

    def _pick(self, typed: PhaseConfig) -> None:
        needed, optional = self.phase.needed(self.config), self.phase.optional_inputs(self.config)
        given = [discovery.run_at(path, needed + optional) for path in self.given_inputs]
        chosen = {handoff.name: run for handoff, run in given}
        lineage: dict[str, str] = {}
        for handoff in needed + optional:
            build = build_command(handoff, typed, self.preset, self.data_dir)
            if handoff.name in chosen:
                run, reason = chosen[handoff.name], "given by --input"
                self._check_given(handoff, run, lineage, build)
            else:
                experiment = self.config.experiment()
                try:
                    run, reason = discovery.find_input(handoff, self.data_dir, experiment, lineage, build)
                except (MissingArtifactError, ArtifactMismatchError) as error:
                    if handoff not in optional or isinstance(error, DamagedRunError):
                        raise
                    self.log.info("going on without %s: %s", handoff.name, str(error).partition("\n")[0])
                    continue
            self.artifacts[handoff.name] = Artifact(handoff, run, build)
            self.reasons[handoff.name] = reason
            lineage |= discovery.lineage_of(handoff, run)
            self.log.info("input %s: %s (%s)", handoff.name, run.path, reason)

    def unusable_inputs(self) -> list[tuple[Handoff, PipelineError]]:
        """Needed inputs that there are not, or not as they must be, each with what `pick_inputs` would say.

        No hub is asked. Raises: ConfigError for an --input.
        """
        self.settle(network=False)
        found = []
        given = [discovery.run_at(path, self.phase.inputs)[0] for path in self.given_inputs]
        for handoff in (handoff for handoff in self.phase.needed(self.config) if handoff not in given):
            build = build_command(handoff, self.config, self.preset, self.data_dir)
            try:
                discovery.find_input(handoff, self.data_dir, self.config.experiment(), {}, build)
            except (MissingArtifactError, ArtifactMismatchError) as error:
                found.append((handoff, error))
        return found

    def read(self, handoff: Handoff) -> Artifact:
        """An input of this phase, as picked by `pick_inputs`."""
        return self.artifacts[handoff.name]

    def write(self) -> Any:
        """The writer of the phase's output: a RecordWriter when the phase has slices.

        Continues the unfinished run of the same settings and inputs, or begins a new one.
        Raises: AlreadyBuilt; ArtifactMismatchError when an unfinished run has other settings.
        """
        with self._choosing_a_folder():
            path = self._claimed()
            arguments = (self.phase.output, path, self.identity(), self._details(), self.log)
            if self.phase.n_records is None:
                writer = ArtifactWriter(*arguments)
            else:
                every = self.config.checkpoint_every if isinstance(self.config, RecordsConfig) else RECORDS_PER_PART
                writer = RecordWriter(
                    *arguments, start=self.start, end=self.end, stop=self.stop, checkpoint_every=every
                )
        self._log_into(path)
        saved = discovery.n_saved(path)
        self.log.info("%s %s", f"continuing, with {saved} records saved:" if saved else "writing", path)
        return writer

    def claim_folder(self) -> Path:
        """The run folder to work in, made and stamped if it is new; see `write`."""
        with self._choosing_a_folder():
            return self._claimed()

    def identity(self) -> dict[str, Any]:
        """All that the output depends on; a run is continued only if every entry is equal."""
        output = self.phase.output
        inputs = {name: artifact.content_sha256 for name, artifact in self.artifacts.items()}
        ancestors = [artifact.manifest["lineage"] for artifact in self.artifacts.values()]
        known = self.config.experiment()
        unusual = [key for key in output.keys if known.get(key, USUAL.get(key)) != USUAL.get(key) or key not in USUAL]
        experiment = {key: known[key] for key in unusual}
        contents = {key: known[key] for key in known if key not in experiment}
        identity = {
            "artifact": output.name,
            "phase": self.phase.id,
            "schema_version": output.version,
            "experiment": experiment,
            "settings": {**result_settings(self.config), **contents},
            "inputs": inputs,
            "lineage": {name: digest for known in [*ancestors, inputs] for name, digest in known.items()},
        }
        if isinstance(self.config, ModelConfig):
            identity["device"] = kind_of(self.device)
        if self.phase.n_records is not None:
            identity["n_records"] = self.phase.n_records(self)
            check_slice(self.start, self.end, identity["n_records"])
        return identity

    def target(self) -> Path:
        """The folder that `write` would choose; nothing is written. Raises: see `write`."""
        output, identity = self.phase.output, self.identity()
        experiment, in_the_way = identity["experiment"], None
        for run in () if self.fresh else discovery.runs_of(output, self.data_dir, experiment):
            changed = differences(run.document, identity)
            settings = run.document.get("settings", {})
            if any(settings.get(key) != identity["settings"][key] for key in output.feeds):
                continue  # what describes and what feeds other phases lie side by side
            if run.finished:  # to finish one that is older would be in vain: nobody would pick it
                if in_the_way is None and not changed:
                    raise AlreadyBuilt(run.path)
                break
            if not changed:
                return run.path
            if in_the_way is None and not _is_empty(run.path):
                in_the_way = f"{run.path}: {'; '.join(changed)}"
        if in_the_way is not None:
            raise ArtifactMismatchError(
                f"cannot resume {in_the_way}\nGive the earlier value, or start over with: {self.again} --fresh"
            )
        return self.data_dir / output.folder / discovery.new_run_name(output, self.data_dir, experiment)

    @contextlib.contextmanager
    def _choosing_a_folder(self) -> Iterator[None]:
        """Workers that start together agree on one folder, and hold their slice before another looks.

        Raises: ConfigError when nothing can be written there: better now than after hours of work.
        """
        self.identity()  # its errors come before anything is written
        parent = self.data_dir / self.phase.output.folder
        with contextlib.ExitStack() as held:
            try:
                parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=parent):
                    pass
                held.enter_context(FileLock(parent / ".claims.lock"))
            except OSError as error:
                self._refuse_what_is_built()
                raise ConfigError(
                    f"cannot write to {parent}: {error.strerror}\nGive another folder with --data-dir"
                ) from error
            yield

    def _refuse_what_is_built(self) -> None:
        """Raises: AlreadyBuilt where a folder that may only be read holds the run: there is nothing to be written."""
        with contextlib.suppress(ArtifactMismatchError):
            try:
                self.target()
            except AlreadyBuilt as built:
                if find_damage(built.path) is None:
                    raise

    def _claimed(self) -> Path:
        path = self._sound_target()
        self._remove_empty_runs(path)
        if not (path / discovery.STAMP).exists():
            write_sealed_json(path / discovery.STAMP, {**self.identity(), **self._details()})
        return path

    def _sound_target(self) -> Path:
        """`target`, once every damaged run that stands in its place is mended or moved aside."""
        while True:
            try:
                return self.target()
            except AlreadyBuilt as built:
                damage = find_damage(built.path)
                if damage is None:
                    sweep(built.path)  # a crash right after the manifest leaves parts behind
                    raise
            except DamagedRunError as found:
                damage = found
            self._mend(damage)

    def _mend(self, damage: DamagedRunError) -> None:
        """Give an unfinished run of this very identity its stamp back; move any other damaged run aside."""
        run, what = damage.path, str(damage).partition("\n")[0]
        if in_use(run):
            raise damage
        identity = self.identity()
        if not (run / discovery.MANIFEST).exists() and holds_parts_of(run, digest_of(identity)):
            write_sealed_json(run / discovery.STAMP, {**identity, **self._details()})
            self.log.warning("%s; its records say that they belong here, so they are kept", what)
        else:
            aside = discovery.move_aside(run)
            self.log.warning("%s; the run was moved to %s, and is computed again", what, aside)

    def forget_empty_runs(self) -> None:
        """Remove attempts that ended before their first record, after one has just failed."""
        parent = self.data_dir / self.phase.output.folder
        if len(self.artifacts) >= len(self.phase.needed(self.config)) and parent.is_dir():
            # Housekeeping after a failure must not hide the failure, say of a folder that cannot be written.
            with contextlib.suppress(OSError), FileLock(parent / ".claims.lock"):
                self._remove_empty_runs(None)

    def _remove_empty_runs(self, kept: Path | None) -> None:
        """Forget attempts that ended before their first record: they would only be in the way."""
        experiment = self.identity()["experiment"]
        with contextlib.suppress(ArtifactMismatchError):  # a damaged run is reported where it matters
            for run in list(discovery.runs_of(self.phase.output, self.data_dir, experiment)):
                if not run.finished and run.path != kept and _is_empty(run.path):
                    shutil.rmtree(run.path)
        for path in discovery.never_begun(self.phase.output, self.data_dir):
            shutil.rmtree(path)

    def _check_given(self, handoff: Handoff, run: discovery.RunFolder, lineage: dict[str, str], build: str) -> None:
        """An input that was named must fit as well as one that was found."""
        discovery.check_version(run, handoff, build)
        reason = discovery.feeds_nothing(handoff, run)
        if reason:
            raise ArtifactMismatchError(
                f"{run.path} is for description only ({reason}): no phase reads it\nLeave out this --input"
            )
        experiment = self.config.experiment()
        for key in handoff.keys:
            wanted = experiment.get(key, USUAL.get(key))
            if run.experiment.get(key) != wanted:
                raise ArtifactMismatchError(
                    f"{run.path} is of {key} '{run.experiment.get(key)}', this run is of '{wanted}'\n"
                    f"Give --{key} to match the input, or another --input"
                )
        for name in discovery.lineage_conflicts(handoff, run, lineage):
            raise ArtifactMismatchError(
                f"{run.path} was made from another {name} than the one picked\nRebuild it with: {build} --fresh"
            )

    def _details(self) -> dict[str, Any]:
        return {
            "preset": self.preset,
            "changed_settings": {
                name: typed(value)
                for name, value in differences_from_preset(self.config, self.preset).items()
                if name not in (*self.phase.output.keys, *self.config.repositories())
            },
            "all_settings": {name: as_json(value) for name, value in dataclasses.asdict(self.config).items()},
            "command": self.command,
            "input_paths": {name: str(artifact.path) for name, artifact in self.artifacts.items()},
            "input_reasons": self.reasons,
        }

    def _log_into(self, path: Path) -> None:
        """Log to the run's folder too, beginning with what was said before it was chosen."""
        file = _LogFile(path / "log.txt", encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        for early in [h for h in self.log.handlers if isinstance(h, logging.handlers.MemoryHandler)]:
            early.setTarget(file)
            early.flush()
            self.log.removeHandler(early)
        self.log.addHandler(file)

    def close(self) -> None:
        """Stop logging into the run's folder; what the process does next is no part of this run."""
        for file in [handler for handler in self.log.handlers if isinstance(handler, _LogFile)]:
            self.log.removeHandler(file)
            file.close()


class _LogFile(logging.FileHandler):
    """A log that a full disk silences: the run itself must say what is wrong, and the terminal has the words too."""

    def handleError(self, record: logging.LogRecord) -> None:
        pass


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


def check_phase_takes_slices(phase: Phase, start: int, end: int | None) -> None:
    if phase.n_records is None and (start, end) != (0, None):
        raise ConfigError(f"phase {phase.id} has no slices\nLeave out --start and --end")


def _is_empty(run: Path) -> bool:
    """Whether an unfinished run holds no record, and nobody works on it."""
    return discovery.n_saved(run) == 0 and not in_use(run)
