"""Which version of a repository of the Hugging Face hub lies in the cache of this disk."""

from pathlib import Path


def cached_revision(repository: str) -> str | None:
    """The commit of a model repository in the hub's cache; None for a folder, or what is not cached.

    It is read from the cache's own reference: transformers 5 does not keep it in the config.
    """
    from huggingface_hub.constants import HF_HUB_CACHE
    from huggingface_hub.file_download import repo_folder_name

    if Path(repository).is_dir():
        return None
    ref = Path(HF_HUB_CACHE) / repo_folder_name(repo_id=repository, repo_type="model") / "refs" / "main"
    return ref.read_text().strip() if ref.is_file() else None


def is_on_this_disk(model: str) -> bool:
    """Whether a model that `--model` names needs no hub; nobody is asked."""
    from common.registry import model_location

    location = model_location(model)
    return Path(location).is_dir() or cached_revision(location) is not None
