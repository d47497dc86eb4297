"""Which commit of a hub repository a run reads, and in which form it puts the problems: settled once, when it begins.

1. A commit that was typed is taken; a branch or tag is looked up, on the hub or in its cache.
2. Where none was typed, the run goes on with the commit of the runs in the data folder that it belongs to: the newest
   of the same model, dataset and SAEs whose commit has every finished input; --fresh passes over runs of its own phase.
3. Where there are none, the head of main is taken.

So slices, resumes and later phases ask for one commit, whatever happens to the branch; a head that has moved is said.
"""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.config import ModelConfig, PhaseConfig, PromptConfig
from common.discovery import RunFolder, list_runs, plain_name, run_at
from common.errors import AssetError, ConfigError
from common.handoffs import HANDOFFS, Handoff
from common.hub_cache import COMMIT, MAIN, commit_of, hub_file
from common.registry import hub_repository, model_location, similar_model

if TYPE_CHECKING:
    from common.phase import RunContext

Run = tuple[Handoff, RunFolder]


def settled(ctx: "RunContext", network: bool) -> PhaseConfig:
    """The settings of a run, with a commit for each revision and a form for `--prompt auto`.

    What cannot be known without `network`, or with a hub that does not answer, stays as it is.
    Raises: ConfigError.
    """
    config = ctx.config
    for name, (key, repository) in config.repositories().items():
        typed = getattr(config, name)
        commit = commit_of(repository, typed, network=network) if typed else None
        if not typed:
            commit = _commit_in_use(ctx, config, name, key, network) or commit_of(repository, network=network)
        if commit:
            config = dataclasses.replace(config, **{name: commit})
            ctx.log.info("%s %s at commit %s", key, repository, commit)
    return _with_form(ctx, config, network) if isinstance(config, PromptConfig) else config


def check_settled(config: PhaseConfig) -> None:
    """Raises: AssetError where a commit of what is loaded is not known: it could never be told from another version."""
    for name, (key, repository) in config.repositories().items():
        is_loaded = key != "model" or isinstance(config, ModelConfig)
        if is_loaded and not COMMIT.fullmatch(getattr(config, name)):
            flag = _flag(name)
            raise AssetError(
                f"{key} '{repository}' is not on this disk, and the hub does not say which commit "
                f"{getattr(config, name) or MAIN} is\n"
                f"{similar_model(repository) if key == 'model' else ''}"
                f"Fetch it with: hf auth login && hf download {repository}  (Gemma needs its licence accepted on its "
                f"page), give a folder with --{key}, or run without the network: --preset demo; where it is not "
                f"loaded, {flag} COMMIT is enough"
            )


def with_commits(words: list[str], typed: PhaseConfig, config: PhaseConfig) -> list[str]:
    """`words` with commits for the branches and tags in them, which may stand for others tomorrow."""
    for name in config.repositories():
        flag, was, now = _flag(name), getattr(typed, name), getattr(config, name)
        words = [f"{flag}={now}" if word == f"{flag}={was}" else word for word in words]
        words = [
            now if (before, word) == (flag, was) else word for before, word in zip(["", *words], words, strict=False)
        ]
    return words


def words_as_settled(words: list[str], typed: PhaseConfig, config: PhaseConfig) -> list[str]:
    """What makes another process run as `config` was settled here, where `words` were typed for `typed`."""
    words = with_commits(words, typed, config)
    open_ones = [name for name in (*config.repositories(), "prompt") if hasattr(config, name)]
    settled_here = [name for name in open_ones if getattr(config, name) != getattr(typed, name)]
    return [*words, *(word for name in settled_here if (flag := _flag(name)) not in words or name == "prompt"
                      for word in (flag, getattr(config, name)))]  # fmt: skip


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def has_chat_template(model: str, revision: str, network: bool) -> bool | None:
    """Whether a model's tokenizer has a chat template; None where it cannot be known."""
    repository = hub_repository(model)

    def file(name: str) -> Path | None:
        if repository is None:
            path = Path(model_location(model)) / name
            return path if path.is_file() else None
        return hub_file(repository, revision, name, network=network) if COMMIT.fullmatch(revision) else None

    config = file("tokenizer_config.json")
    if config is not None and json.loads(config.read_bytes()).get("chat_template"):
        return True
    if file("chat_template.jinja") is not None:
        return True
    return None if config is None and repository is not None else False


def _commit_in_use(ctx: "RunContext", config: PhaseConfig, name: str, key: str, network: bool) -> str | None:
    """The commit of the runs in the data folder that this one belongs to; says so where the branch has moved on."""
    runs = list(_runs_alike(ctx, config, key))
    by_commit: dict[str, list[Run]] = {}
    for handoff, run in runs:
        commit = run.document.get("all_settings", {}).get(name, "")
        if COMMIT.fullmatch(commit):
            by_commit.setdefault(commit, []).append((handoff, run))
    if not by_commit:
        return None
    needed = {handoff.name for handoff in ctx.phase.needed(config) if key in handoff.keys}
    complete = [
        commit for commit, own in by_commit.items()
        if needed <= {handoff.name for handoff, run in own if run.finished}
    ]  # fmt: skip
    commit = next(iter(complete or by_commit))
    head, flag = commit_of(config.repositories()[name][1], network=network), _flag(name)
    if head not in (None, commit):
        ctx.log.warning(
            "%s %s has moved on to commit %s; going on with %s, which %s was made with. Begin anew with: %s %s",
            key, config.repositories()[name][1], head, commit, by_commit[commit][0][1].path, flag, MAIN,
        )  # fmt: skip
    return commit


def _runs_alike(ctx: "RunContext", config: PhaseConfig, key: str) -> Iterator[Run]:
    """Runs that this one may belong to, newest first; a run that was given as input comes before all."""
    own = config.experiment()
    handoffs = ctx.phase.needed(config) + ctx.phase.optional_inputs(config)
    yield from (run for path in ctx.given_inputs if key in (run := run_at(path, handoffs))[0].keys)
    output = ctx.phase.output
    every = {handoff.name: handoff for handoff in (*HANDOFFS, *handoffs, output)}
    found = [
        (handoff, run) for handoff in every.values() if not (ctx.fresh and handoff.name == output.name)
        for run in list_runs(handoff, ctx.data_dir) if run.damage is None
    ]  # fmt: skip
    found.sort(key=lambda each: each[1].path.name, reverse=True)
    yield from ((handoff, run) for handoff, run in found if _is_alike(run, own, key))


def _is_alike(run: RunFolder, own: dict[str, str], key: str) -> bool:
    """Whether a run has `key`, and is of the same model, dataset and so on, whatever version and form of prompts."""
    told = {**run.document.get("settings", {}), **run.experiment}
    shared = (own.keys() & told.keys()) - {"prompt"}
    return key in shared and all(plain_name(str(told[name])) == plain_name(own[name]) for name in shared)


def _with_form(ctx: "RunContext", config: Any, network: bool) -> PhaseConfig:
    """`config` with the form of its prompts settled. Raises: ConfigError where the model has no such form."""
    runs_it = isinstance(config, ModelConfig)
    if config.prompt == "plain" and not runs_it:
        return config
    known = has_chat_template(config.model, config.revision, network)
    if config.prompt == "chat" and known is False:
        raise ConfigError(f"--prompt is chat, but the tokenizer of {config.model} has no chat template\n"
                          f"Give --prompt plain, or auto")  # fmt: skip
    if config.prompt == "plain" and known:
        ctx.log.warning(
            "%s has a chat template, but is given the plain prompt, as base models "
            "are; --prompt chat uses the template", config.model,
        )  # fmt: skip
    if config.prompt == "auto" and known is not None:
        config = dataclasses.replace(config, prompt="chat" if known else "plain")
        ctx.log.info("prompt: %s", config.prompt)
    if config.prompt == "auto" and network:
        raise ConfigError(f"--prompt is auto, but nothing tells whether {config.model} has a chat template: it is not "
                          f"on this disk, and the hub does not answer\nGive --prompt plain or chat")  # fmt: skip
    return config
