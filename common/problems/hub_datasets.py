"""Datasets of the Hugging Face hub, or of its cache on this disk."""

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common.errors import AssetError
from common.phases.hub import client_error

_log = logging.getLogger("pva_sae")


def hub_rows(what: str, repository: str, config: str | None = None) -> tuple[list[dict[str, Any]], str]:
    """Rows of all splits, and where they came from with the revision where the library knows it.

    `what` stands for them in an error message, as in 'the problems of mbpp'.

    Raises: AssetError when they are neither cached nor reachable.
    """
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError

    shown = ", ".join(filter(None, [repository, config]))
    _log.info("reading %s from the hub or its cache", shown)
    try:
        with _library_messages_hidden():
            splits = load_dataset(repository, config)
    # What datasets 5 raises without a network or a complete cache: ConnectionError (an OSError)
    # for an unreachable hub, ValueError for a cache that holds other configurations only.
    except (OSError, ValueError, DatasetsError, client_error()) as error:
        arguments = ", ".join(repr(word) for word in (repository, config) if word)
        reason = " ".join(str(error).split())[:200]
        raise AssetError(
            f"{what} ({shown}) are not on this disk, "
            f"and the hub did not give them: {reason}\n"
            f'Fetch them once where there is a network: python3 -c "from datasets import load_dataset; '
            f'load_dataset({arguments})" (then copy ~/.cache/huggingface, or set HF_HOME)\n'
            "Without a network, everything runs on the model organism: add --preset demo"
        ) from None
    rows = [dict(row) for split in splits.values() for row in split]
    return rows, f"{shown}, {_revision(splits)}"


@contextlib.contextmanager
def _library_messages_hidden() -> Iterator[None]:
    """Hides notices of retries and of cache use: an error message says the first, the second is no news."""
    from datasets.utils import logging as datasets_logging
    from huggingface_hub.utils import logging as hub_logging

    levels = datasets_logging.get_verbosity(), hub_logging.get_verbosity()
    datasets_logging.set_verbosity_error()
    hub_logging.set_verbosity_error()
    try:
        yield
    finally:
        datasets_logging.set_verbosity(levels[0])
        hub_logging.set_verbosity(levels[1])


def _revision(splits: Any) -> str:
    """The dataset's commit: `datasets` names the folder of its cache after it."""
    folders = {Path(file["filename"]).parent.name for split in splits.values() for file in split.cache_files}
    commits = [folder for folder in folders if re.fullmatch("[0-9a-f]{40}", folder)]
    return f"revision {commits[0]}" if commits else "revision unknown"
