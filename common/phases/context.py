"""What run.py hands to a phase: where it reads and writes, and which records are its own."""

import contextlib
import dataclasses
import logging
import logging.handlers
import re
import shlex
from pathlib import Path
from typing import Any, Generic

from filelock import FileLock
from typing_extensions import TypeVar

from common.errors import ArtifactMismatchError, DamagedRunError, MissingArtifactError, PipelineError
from common.handoffs import DICTIONARIES, SCHEMAS, SPLIT, USUAL, ArtifactSchema
from common.phases.command_line import build_command, with_choices
from common.phases.phase import Phase
from common.phases.revisions import Belonging, check_settled, settled, with_commits
from common.phases.settings import (
    PhaseConfig,
    RecordsConfig,
    as_json,
    differences_from_preset,
    kind_of,
    result_settings,
    typed,
)
from common.runs import discovery
from common.runs.artifacts import Artifact, ArtifactWriter
from common.runs.checkpoints import RECORDS_PER_PART
from common.runs.records import RecordWriter, check_slice
from common.runs.target_folder import CLAIMS, FolderChoice
from common.stopping import StopRequest

_PILOT = re.compile(r"-pilot\d+$")
Config = TypeVar("Config", bound=PhaseConfig, default=PhaseConfig, covariant=True)


@dataclasses.dataclass(kw_only=True)
class RunContext(Generic[Config]):
    """Where a run reads and writes, and which records are its own. Both ends are included.

    `command` is what continues the run: without --fresh, a slice, and --data-dir (see `again`).
    """

    phase: Phase
    config: Config
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
        """Put commits and the form of prompts into the settings, where they were left open (see revisions.py)."""
        typed = self.config
        self.config = self.config.found_in(self.data_dir)
        self.config = settled(self.config, self._belonging(), self.log, network)
        self.command = shlex.join(with_commits(shlex.split(self.command), typed, self.config))

    def _belonging(self) -> Belonging:
        return Belonging(self.phase, self.data_dir, self.given_inputs, self.fresh)

    def _pick(self, typed: PhaseConfig) -> None:
        needed, optional = self.phase.needed(self.config), self.phase.optional_inputs(self.config)
        chosen = {schema.name: run for schema, run in map(self._input_at, self.given_inputs)}
        lineage: dict[str, str] = {}
        for path in self.config.runs_named():
            schema, run = discovery.run_at(path, SCHEMAS)
            self.artifacts[schema.name] = Artifact(schema, run, discovery.command_in(run, self.data_dir))
            self.reasons[schema.name] = "named by the settings"
            self.log.info("%s: %s", schema.name, run.path)
        for schema in needed + optional:
            build = build_command(schema, typed, self.preset, self.data_dir)
            if schema.name in chosen:
                run, reason = chosen[schema.name], "given by --input"
                self._check_given(schema, run, lineage, build)
            else:
                try:
                    run, reason = self._found(schema, lineage, build)
                except (MissingArtifactError, ArtifactMismatchError) as error:
                    if schema not in optional or isinstance(error, DamagedRunError):
                        raise
                    self.log.info("going on without %s: %s", schema.name, str(error).partition("\n")[0])
                    continue
            self._read_choice(artifact := Artifact(schema, run, build))
            self.artifacts[schema.name] = artifact
            self.reasons[schema.name] = reason
            lineage |= discovery.lineage_of(schema, run)
            self.log.info("input %s: %s (%s)", schema.name, run.path, reason)
        self._check_trained_on()

    def _read_choice(self, artifact: Artifact) -> None:
        """Put into the settings, and into the command that continues the run, what an input decides."""
        before = self.config
        self.config = before.chosen_by(artifact.schema.name, artifact.document)
        self.command = shlex.join(with_choices(shlex.split(self.command), before, self.config))

    def unusable_inputs(self) -> list[tuple[ArtifactSchema, PipelineError]]:
        """Needed inputs that there are not, or not as they must be, each with what `pick_inputs` would say.

        No hub is asked. Raises: ConfigError for an --input.
        """
        try:
            self.settle(network=False)
        except MissingArtifactError as error:  # of dictionaries of one's own
            return [(DICTIONARIES, error)]
        unusable = []
        given = {schema.name: run for schema, run in map(self._input_at, self.given_inputs)}
        as_typed = self.config
        for schema in self.phase.needed(self.config):
            build = build_command(schema, as_typed, self.preset, self.data_dir)
            try:
                run = given.get(schema.name) or self._found(schema, {}, build)[0]
                self._read_choice(Artifact(schema, run, build))
            except (MissingArtifactError, ArtifactMismatchError) as error:
                unusable.append((schema, error))
        return unusable

    def _input_at(self, path: Path) -> tuple[ArtifactSchema, discovery.RunFolder]:
        return discovery.run_at(path, self.phase.needed(self.config) + self.phase.optional_inputs(self.config))

    def _found(self, schema: ArtifactSchema, lineage: dict[str, str], build: str) -> tuple[discovery.RunFolder, str]:
        return discovery.find_input(schema, self.data_dir, self.config.experiment(), lineage, build)

    def read(self, schema: ArtifactSchema) -> Artifact:
        """An input of this phase, as picked by `pick_inputs`."""
        return self.artifacts[schema.name]

    def write(self) -> Any:
        """The writer of the phase's output: a RecordWriter when the phase has slices.

        Continues the unfinished run of the same settings and inputs, or begins a new one.
        Raises: AlreadyBuilt; ArtifactMismatchError when an unfinished run has other settings; ConfigError.
        """
        choice = self.choice()
        with choice.held():
            path = choice.claim()
            arguments = (self.phase.output, path, choice.identity, choice.details, self.log)
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
        choice = self.choice()
        with choice.held():
            return choice.claim()

    def target(self) -> Path:
        """The folder that `write` would choose; nothing is written. Raises: see `write`."""
        return self.choice().folder()

    def forget_empty_runs(self) -> None:
        """Remove attempts that ended before their first record, after one has just failed."""
        parent = self.data_dir / self.phase.output.folder
        if len(self.artifacts) >= len(self.phase.needed(self.config)) and parent.is_dir():
            # Housekeeping after a failure must not hide the failure, say of a folder that cannot be written.
            with contextlib.suppress(OSError), FileLock(parent / CLAIMS):
                self.choice().forget_empty_runs()

    def choice(self) -> FolderChoice:
        """What decides where the run writes; its errors come before anything is written."""
        return FolderChoice(
            output=self.phase.output,
            data_dir=self.data_dir,
            identity=self.identity(),
            details=self._details(),
            fresh=self.fresh,
            again=self.again,
            log=self.log,
        )

    def identity(self) -> dict[str, Any]:
        """All that the output depends on; a run is continued only if every entry is equal."""
        output = self.phase.output
        inputs = {name: artifact.content_sha256 for name, artifact in self.artifacts.items()}
        # Dictionaries may have been trained on prompts of other problems, whose split is not this run's.
        ancestors = [one.manifest["lineage"] for name, one in self.artifacts.items() if name != DICTIONARIES.name]
        known = self.config.experiment()
        named = [key for key in output.keys if known.get(key, USUAL.get(key)) != USUAL.get(key) or key not in USUAL]
        experiment = {key: known[key] for key in named}
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
        if self.config.runs_a_model:
            identity["device"] = kind_of(self.device)
        if self.phase.n_records is not None:
            identity["n_records"] = self.phase.count_records(self)
            check_slice(self.start, self.end, identity["n_records"])
        return identity

    def _check_given(
        self, schema: ArtifactSchema, run: discovery.RunFolder, lineage: dict[str, str], build: str
    ) -> None:
        """An input that was named must fit as well as one that was found."""
        discovery.check_version(run, schema, build)
        reason = discovery.feeds_nothing(schema, run)
        if reason:
            raise ArtifactMismatchError(
                f"{run.path} is for description only ({reason}): no phase reads it\nLeave out this --input"
            )
        experiment = self.config.experiment()
        for key in schema.keys:
            wanted = experiment.get(key, USUAL.get(key))
            if not schema.agrees(key, run.of(key), wanted):
                raise ArtifactMismatchError(
                    f"{run.path} is of {key} '{run.of(key)}', this run is of '{wanted}'\n"
                    f"Give --{key} to match the input, or another --input"
                )
        for name in discovery.lineage_conflicts(schema, run, lineage):
            raise ArtifactMismatchError(
                f"{run.path} was made from another {name} than the one picked\nRebuild it with: {build} --fresh"
            )

    def _check_trained_on(self) -> None:
        """Dictionaries trained on prompts of problems that are evaluated here would have seen them."""
        trained, split = self.artifacts.get(DICTIONARIES.name), self.artifacts.get(SPLIT.name)
        if trained is None or split is None:
            return
        datasets = (trained.manifest["settings"].get("dataset", ""), self.config.experiment().get("dataset", ""))
        # A pilot is drawn from the whole: what selects in one may be evaluated in the other.
        same_problems = len({_PILOT.sub("", discovery.plain_name(name)) for name in datasets}) == 1
        if same_problems and trained.manifest["lineage"].get(SPLIT.name) != split.content_sha256:
            raise ArtifactMismatchError(
                f"the dictionaries in {trained.path} were trained on prompts of another split than {split.path}\n"
                f"Train them again with: {discovery.with_data_dir(trained.manifest['command'], self.data_dir)} --fresh"
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
