"""Commits of repositories of the Hugging Face hub: what a branch is at, and what lies in the cache of this disk."""

import functools
import importlib
import re
from pathlib import Path

from common.errors import AssetError, ConfigError

COMMIT = re.compile("[0-9a-f]{40}")
MAIN = "main"
_PATIENCE_S = 10


def cached_revision(repository: str, revision: str = MAIN) -> str | None:
    """The commit that a branch or tag of a model repository has in the hub's cache; None for what is not cached.

    It is read from the cache's own reference: transformers 5 does not keep it in the config.
    """
    if Path(repository).is_dir():
        return None
    ref = _cache_of(repository) / "refs" / revision
    if ref.is_file():
        return ref.read_text().strip()
    whole = [path.name for path in (_cache_of(repository) / "snapshots").glob("*") if COMMIT.fullmatch(path.name)]
    begun = [commit for commit in whole if len(revision) >= 7 and commit.startswith(revision)]
    return begun[0] if len(begun) == 1 else None


def cached_snapshot(repository: str, commit: str = "") -> Path | None:
    """The folder of a model repository's files in the hub's cache, at a commit or where main was; None: not cached."""
    known = commit or cached_revision(repository)
    folder = _cache_of(repository) / "snapshots" / known if known else None
    return folder if folder is not None and folder.is_dir() else None


def commit_of(repository: str, revision: str = MAIN, *, network: bool = True) -> str | None:
    """The commit that a revision stands for now: by the hub where it answers, else by the cache; None: unknown.

    Raises: ConfigError when the hub knows the repository, but not the revision.
    """
    if COMMIT.fullmatch(revision):
        return revision
    return (_commit_on_the_hub(repository, revision) if network else None) or cached_revision(repository, revision)


def hub_file(repository: str, commit: str, name: str, *, network: bool = True) -> Path | None:
    """A small file of a repository at a commit; None where it has none, or it cannot be had."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    path = _cache_of(repository) / "snapshots" / commit / name
    if path.is_file() or not network:
        return path if path.is_file() else None
    try:
        return Path(hf_hub_download(repository, name, revision=commit))
    except (EntryNotFoundError, HfHubHTTPError, OSError):
        return None


def check_read_at(repository: str, commit: str, files: list[str]) -> None:
    """Hold that the files which a library has read are those of `commit`. Raises: AssetError."""
    snapshots = _cache_of(repository) / "snapshots"
    cached = [file for file in files if Path(file).is_relative_to(snapshots)]
    others = [file for file in cached if not Path(file).is_relative_to(snapshots / commit)]
    if others or not files:
        shown = others[0] if others else "no file of it"
        raise AssetError(
            f"{repository} was to be read at commit {commit}, but the library read {shown}\n"
            f"Fetch it with: hf download {repository} --revision {commit}"
        )


def what_is_cached(repository: str, commit: str) -> str:
    """'; this disk has its commit bbbb, not aaaa' where that is why a repository cannot be had; else nothing."""
    folder = _cache_of(repository) / "snapshots"
    held = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not commit or commit in held or not held:
        return ""
    return f"; this disk holds commit {', '.join(held)}, not {commit}"


def _cache_of(repository: str) -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    return Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model")


def client_error() -> type[Exception]:
    """What the hub library's HTTP client raises without a network: httpx's HTTPError, or httpx2's from 2.4 on."""
    from huggingface_hub import get_session

    return importlib.import_module(type(get_session()).__module__.partition(".")[0]).HTTPError


@functools.cache  # one answer for a process, whatever happens to the branch meanwhile
def _commit_on_the_hub(repository: str, revision: str) -> str | None:
    from huggingface_hub import HfApi
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, RevisionNotFoundError

    if HF_HUB_OFFLINE:
        return None
    try:
        return HfApi().model_info(repository, revision=revision, timeout=_PATIENCE_S).sha
    except RevisionNotFoundError as error:
        raise ConfigError(
            f"{repository} has no branch, tag or commit '{revision}'\nGive one of those on its page, or leave it out"
        ) from error
    except (HfHubHTTPError, client_error(), OSError):  # no network, or no leave to look: the loader says so
        return None
