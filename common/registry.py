"""What the pipeline knows of each model: one table, and no special case elsewhere."""

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from common.errors import AssetError, ConfigError
from common.files import file_sha256
from common.provenance import ROOT


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One known model. `folder` is set for a model that lies in this repository."""

    folder: str | None = None
    dtype_gpu: str = "bfloat16"
    dtype_cpu: str = "float32"


MODELS = {
    "organism": ModelEntry(folder="model_organism/weights/model", dtype_gpu="float32"),
    "google/gemma-2-2b": ModelEntry(),
    "google/gemma-2-2b-it": ModelEntry(),
    "google/gemma-2-9b": ModelEntry(),
    "google/gemma-2-9b-it": ModelEntry(),
    "google/gemma-2-27b": ModelEntry(),
    "meta-llama/Llama-3.1-8B": ModelEntry(),
    "meta-llama/Llama-3.1-8B-Instruct": ModelEntry(),
    "Qwen/Qwen3-0.6B": ModelEntry(),
    "Qwen/Qwen3-1.7B": ModelEntry(),
    "Qwen/Qwen3-4B": ModelEntry(),
}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_IDENTIFYING = ("*.safetensors", "*.json", "tokenizer.model")


def model_location(model: str) -> str:
    """What a loader takes for `model`: a folder, or a hub id.

    Raises: ConfigError when it is neither, nor a name in MODELS; AssetError when its folder is gone.
    """
    entry = MODELS.get(model)
    if entry is not None and entry.folder is not None:
        folder = ROOT / entry.folder
        if not folder.is_dir():
            raise AssetError(f"model '{model}' is missing: {folder}\nRestore it with: git checkout -- {entry.folder}")
        return str(folder)
    if (model and Path(model).is_dir()) or _HUB_ID.fullmatch(model):
        return model
    raise ConfigError(
        f"--model is '{model}', which is no folder and no hub id (owner/name)\n"
        f"Give a folder, a hub id, or one of: {', '.join(MODELS)}"
    )


@functools.cache
def model_identity(model: str) -> str:
    """The name that keeps experiments apart: a hub id, or '<folder>@<hash of its files>'."""
    location = Path(model_location(model))
    if not location.is_dir():
        return model
    name = model if model in MODELS else location.resolve().name
    files = sorted(path for pattern in _IDENTIFYING for path in location.glob(pattern))
    digest = hashlib.sha256("".join(f"{path.name}:{file_sha256(path)}\n" for path in files).encode())
    return f"{name}@{digest.hexdigest()[:8]}"


def default_dtype(model: str, device: str) -> str:
    """The number type for `--dtype auto`."""
    entry = MODELS.get(model, ModelEntry())
    return entry.dtype_cpu if device == "cpu" else entry.dtype_gpu
