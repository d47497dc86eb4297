"""Which commit of a hub repository a run reads, and in which form it puts the problems: settled once, when it begins.

1. A commit that was typed is taken; a branch or tag is looked up, on the hub or in its cache.
2. Where none was typed, the run goes on with the commit of the runs in the data folder that it belongs to: the newest
   of the same model, dataset and SAEs whose commit has every finished input; --fresh passes over runs of its own phase.
3. Where there are none, the head of main is taken.

So slices, resumes and later phases ask for one commit, whatever happens to the branch; a head that has moved is said.
"""

import dataclasses
import logging
from collections.abc import Iterator
from pathlib import Path

from common.errors import AssetError
from common.handoffs import SCHEMAS, STUDIED, ArtifactSchema
from common.phases.hub import COMMIT, MAIN, commit_of
from common.phases.phase import Phase
from common.phases.settings import Config, PhaseConfig
from common.runs.discovery import RunFolder, list_runs, plain_name, run_at

DICTIONARY_SETTINGS = ("sae", "transcoders")
Run = tuple[ArtifactSchema, RunFolder]


@dataclasses.dataclass(frozen=True)
class Belonging:
    """What tells which runs in a data folder a new one belongs to."""

    phase: Phase
    data_dir: Path
    given_inputs: tuple[Path, ...]
    fresh: bool


def settled(config: Config, belonging: Belonging, log: logging.Logger, network: bool) -> Config:
    """The settings of a run, with a commit for each revision and a form for `--prompt auto`.

    What cannot be known without `network`, or with a hub that does not answer, stays as it is.
    Raises: ConfigError.
    """
    for name, (key, repository) in config.repositories().items():
        typed = getattr(config, name)
        commit = commit_of(repository, typed, network=network) if typed else None
        if not typed:
            commit = _commit_in_use(belonging, config, name, log, network) or commit_of(repository, network=network)
        if commit:
            config = dataclasses.replace(config, **{name: commit})
            log.info("%s %s at commit %s", key, repository, commit)
    return config.settled(log, network)


def check_settled(config: PhaseConfig) -> None:
    """Raises: AssetError where a commit of what is loaded is not known: it could never be told from another version."""
    for name, (key, repository) in config.repositories().items():
        if (key != "model" or config.runs_a_model) and not COMMIT.fullmatch(getattr(config, name)):
            flag = _flag(name)
            raise AssetError(
                f"{key} '{repository}' is not on this disk, and the hub does not say which commit "
                f"{getattr(config, name) or MAIN} is\n"
                f"{config.near_miss(key)}"
                f"Fetch it with: hf auth login && hf download {repository}  (Gemma needs its licence accepted on its "
                f"page), give a folder with --{key}, or run without the network: --preset demo; where it is not "
                f"loaded, {flag} COMMIT is enough"
            )


def with_commits(words: list[str], typed: PhaseConfig, config: PhaseConfig) -> list[str]:
    """`words` with commits for the branches and tags in them, which may stand for others tomorrow."""
    for name in (*config.repositories(), *_named_by_a_word(typed, config)):
        flag, was, now = _flag(name), getattr(typed, name), getattr(config, name)
        words = [f"{flag}={now}" if word == f"{flag}={was}" else word for word in words]
        words = [
            now if (before, word) == (flag, was) else word for before, word in zip(["", *words], words, strict=False)
        ]
    return words


def words_as_settled(words: list[str], typed: PhaseConfig, config: PhaseConfig) -> list[str]:
    """What makes another process run as `config` was settled here, where `words` were typed for `typed`."""
    words = with_commits(words, typed, config)
    open_ones = [name for name in (*config.repositories(), "prompt", *DICTIONARY_SETTINGS) if hasattr(config, name)]
    settled_here = [name for name in open_ones if getattr(config, name) != getattr(typed, name)]
    again = [name for name in settled_here if _flag(name) not in words or name == "prompt"]
    return [*words, *(word for name in again for word in (_flag(name), getattr(config, name)))]


def _named_by_a_word(typed: PhaseConfig, config: PhaseConfig) -> list[str]:
    """`--sae own` may name another folder tomorrow."""
    return [name for name in DICTIONARY_SETTINGS if getattr(typed, name, None) != getattr(config, name, None)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _commit_in_use(
    belonging: Belonging, config: PhaseConfig, name: str, log: logging.Logger, network: bool
) -> str | None:
    """The commit of the runs in the data folder that this one belongs to; says so where the branch has moved on."""
    key, repository = config.repositories()[name]
    runs = list(_runs_alike(belonging, config, key))
    by_commit: dict[str, list[Run]] = {}
    for schema, run in runs:
        commit = run.document.get("all_settings", {}).get(name, "")
        if COMMIT.fullmatch(commit):
            by_commit.setdefault(commit, []).append((schema, run))
    if not by_commit:
        return None
    needed = {schema.name for schema in belonging.phase.needed(config) if key in schema.keys}
    complete = [
        commit
        for commit, of_commit in by_commit.items()
        if needed <= {schema.name for schema, run in of_commit if run.finished}
    ]
    commit = next(iter(complete or by_commit))
    head, flag = commit_of(repository, network=network), _flag(name)
    if head not in (None, commit):
        words = "%s %s has moved on to commit %s; going on with %s, which %s was made with. Begin anew with: %s %s"
        log.warning(words, key, repository, head, commit, by_commit[commit][0][1].path, flag, MAIN)
    return commit


def _runs_alike(belonging: Belonging, config: PhaseConfig, key: str) -> Iterator[Run]:
    """Runs that this one may belong to, newest first; a run that was given as input comes before all."""
    own = config.experiment()
    phase = belonging.phase
    schemas = phase.needed(config) + phase.optional_inputs(config)
    yield from (run for path in belonging.given_inputs if key in (run := run_at(path, schemas))[0].keys)
    every = {schema.name: schema for schema in (*SCHEMAS, *schemas, phase.output)}
    mine = [schema for schema in every.values() if not (belonging.fresh and schema.name == phase.output.name)]
    runs = [(one, run) for one in mine for run in list_runs(one, belonging.data_dir) if run.damage is None]
    runs.sort(key=lambda each: each[1].path.name, reverse=True)
    yield from ((schema, run) for schema, run in runs if _is_alike(run, own, key))


def _is_alike(run: RunFolder, own: dict[str, str], key: str) -> bool:
    """Whether a run has `key`, and is of the same model, dataset and so on, whatever version and form of prompts.

    Contrasts are not asked for: which one is studied is known only when the inputs are.
    """
    told = {**run.document.get("settings", {}), **run.experiment}
    shared = (own.keys() & told.keys()) - {"prompt", *STUDIED}
    return key in shared and all(plain_name(str(told[name])) == plain_name(own[name]) for name in shared)
