"""Whether SAEs read vectors as wide as the model's, which their settings tell before a model is loaded."""

import json
from pathlib import Path

from common.errors import ArtifactMismatchError, AssetError
from common.model.registry import folder_on_this_disk
from common.saes.sources import SaeSource, folder_config

_OF_HEADS = ("hook_z", "attn.hook_z")  # as wide as all heads together, which need not be the residual stream's width
_NAMES = ("hidden_size", "n_embd", "d_model")


def check_widths(source: SaeSource, model: str, revision: str = "") -> None:
    """Of SAEs that lie in folders, where the model's config lies on this disk, too; nobody else is asked.

    Raises: ArtifactMismatchError for one of another width.
    """
    width = d_model_of(model, revision)
    if width is None or source.site in _OF_HEADS:
        return
    for folder in filter(Path.is_dir, map(Path, source.ids.values())):
        d_in = folder_config(folder).get("d_in")
        if isinstance(d_in, int) and d_in != width:
            raise ArtifactMismatchError(
                f"the SAE in {folder} reads vectors of {d_in} numbers; those of {model} have {width}\n"
                "Give SAEs of this model with --sae"
            )


def d_model_of(model: str, revision: str = "") -> int | None:
    """The width of a model's residual stream; None where its config is not on this disk, or says it in another way."""
    try:
        config = json.loads((folder_on_this_disk(model, revision) / "config.json").read_bytes())
    except (AssetError, OSError, ValueError):
        return None
    widths = [part.get(name) for part in (config, config.get("text_config") or {}) for name in _NAMES]
    return next((width for width in widths if isinstance(width, int)), None)
