"""Which folder a run writes to: the unfinished one of this very identity, or a new one.

1. Runs of the same experiment are looked through, newest first. What describes and what feeds other phases lie side by
   side, and do not count for each other.
2. The first finished one ends the search: to finish one that is older would be in vain, since nobody would pick it.
3. An unfinished one with another identity is in the way, unless it is empty; what differs is told.
4. A damaged one that stands in the chosen place is mended where its parts say that they belong here, else moved aside.
"""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from common.errors import ArtifactMismatchError, ConfigError, DamagedRunError
from common.files import digest_of, write_sealed_json
from common.handoffs import ArtifactSchema
from common.runs.artifacts import AlreadyBuilt, find_damage, sweep
from common.runs.checkpoints import holds_parts_of
from common.runs.discovery import (
    MANIFEST,
    STAMP,
    RunFolder,
    has_checkpoint,
    n_saved,
    never_begun,
    new_run_name,
    runs_of,
    set_run_aside,
)
from common.runs.locks import in_use

CLAIMS = ".claims.lock"


@dataclass(frozen=True, kw_only=True)
class FolderChoice:
    """What decides where a run writes. `again` is what to type to go on with it.

    `identity` is all that the output depends on; `details` is what a stamp says besides.
    """

    output: ArtifactSchema
    data_dir: Path
    identity: dict[str, Any]
    details: dict[str, Any]
    fresh: bool
    again: str
    log: logging.Logger

    @property
    def parent(self) -> Path:
        return self.data_dir / self.output.folder

    def folder(self) -> Path:
        """The one that `claim` would choose; nothing is written.

        Raises: AlreadyBuilt; ArtifactMismatchError where an unfinished run with other settings is in the way;
        DamagedRunError.
        """
        if not self.fresh and (unfinished := self._to_continue()) is not None:
            return unfinished
        return self.parent / new_run_name(self.output, self.data_dir, self._experiment)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Workers that start together agree on one folder, and hold their slice before another looks.

        Raises: ConfigError when nothing can be written there: better now than after hours of work.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryFile(dir=self.parent):
                    pass
                stack.enter_context(FileLock(self.parent / CLAIMS))
            except OSError as error:
                self._refuse_what_is_built()
                raise ConfigError(
                    f"cannot write to {self.parent}: {error.strerror}\nGive another folder with --data-dir"
                ) from error
            yield

    def claim(self) -> Path:
        """The run folder to work in, made and stamped if it is new. Only while `held`. Raises: as `folder`."""
        path = self._sound_folder()
        self.forget_empty_runs(path)
        if not (path / STAMP).exists():
            self._stamp(path)
        return path

    def forget_empty_runs(self, kept: Path | None = None) -> None:
        """Remove attempts that ended before their first record: they would only be in the way. Only while `held`."""
        with contextlib.suppress(ArtifactMismatchError):  # a damaged run is reported where it matters
            for run in list(self._runs()):
                if not run.finished and run.path != kept and _is_empty(run.path):
                    shutil.rmtree(run.path)
        for path in never_begun(self.output, self.data_dir):
            shutil.rmtree(path)

    @property
    def _experiment(self) -> dict[str, str]:
        return self.identity["experiment"]

    def _runs(self) -> Iterator[RunFolder]:
        return runs_of(self.output, self.data_dir, self._experiment)

    def _to_continue(self) -> Path | None:
        in_the_way = None
        for run in self._runs():
            if self._lies_beside(run):
                continue
            changed = differences(run.document, self.identity)
            if run.finished:
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
        return None

    def _lies_beside(self, run: RunFolder) -> bool:
        """Whether one of the two feeds other phases and the other does not."""
        settings = run.document.get("settings", {})
        return any(settings.get(key) != self.identity["settings"][key] for key in self.output.feeds)

    def _refuse_what_is_built(self) -> None:
        """Raises: AlreadyBuilt where a folder that may only be read holds the run: there is nothing to be written."""
        with contextlib.suppress(ArtifactMismatchError):
            try:
                self.folder()
            except AlreadyBuilt as built:
                if find_damage(built.path) is None:
                    raise

    def _sound_folder(self) -> Path:
        """`folder`, once every damaged run that stands in its place is mended or moved aside."""
        while True:
            try:
                return self.folder()
            except AlreadyBuilt as built:
                damage = find_damage(built.path)
                if damage is None:
                    sweep(built.path)  # a crash right after the manifest leaves parts behind
                    raise
            except DamagedRunError as error:
                damage = error
            self._mend(damage)

    def _mend(self, damage: DamagedRunError) -> None:
        """Give an unfinished run of this very identity its stamp back; move any other damaged run aside."""
        run, what = damage.path, str(damage).partition("\n")[0]
        if in_use(run):
            raise damage
        if not (run / MANIFEST).exists() and holds_parts_of(run, digest_of(self.identity)):
            self._stamp(run)
            self.log.warning("%s; its records say that they belong here, so they are kept", what)
        else:
            aside = set_run_aside(run)
            self.log.warning("%s; the run was moved to %s, and is computed again", what, aside)

    def _stamp(self, run: Path) -> None:
        write_sealed_json(run / STAMP, {**self.identity, **self.details})


def differences(then: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """'max_new_tokens was 2000, is 800' for each entry of two identities that differs."""
    differing = []
    for group in sorted(now):
        old, new = then.get(group), now[group]
        if group == "lineage":  # follows from the inputs
            continue
        if not isinstance(new, dict):
            old, new = {group: old}, {group: new}
        for name in sorted(set(old or {}) | set(new)):
            if (old or {}).get(name) != new.get(name):
                shown = f"input {name}" if group == "inputs" else name
                differing.append(f"{shown} was {(old or {}).get(name)}, is {new.get(name)}")
    return differing


def _is_empty(run: Path) -> bool:
    """Whether an unfinished run holds nothing that it could go on from, and nobody works on it."""
    return n_saved(run) == 0 and not has_checkpoint(run) and not in_use(run)
