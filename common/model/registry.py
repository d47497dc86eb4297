"""What the pipeline knows of each model: one table, and no special case elsewhere."""

import difflib
import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import AssetError, ConfigError
from common.files import file_sha256
from common.phases.hub import COMMIT, cached_revision, cached_snapshot
from common.provenance import ROOT


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """One known model, with its default SAEs (or transcoders, where there are no SAEs).

    `folder`, `sae_folder` and `transcoder_folder` are set for what lies in this repository; `sae_release` is a
    name in SAELens' own table, and `sae_ids` the id that each layer has there. `transcoder_release`, where it is not
    that, has one id for each layer. `detector_layer`
    is the block whose latents phase 4.1 reads, unless it is told another one; None: the best one. `control_pairs`
    are the problems of its positive control of steering (phase 3.8), `behaviour_prompts` the prompts of the behaviours
    that it was trained on (phase 5.1), `error_templates` templates of programs that fail as those that it was trained
    on (phase 6.1), all in this repository.
    """

    folder: str | None = None
    sae_folder: str | None = None
    sae_release: str | None = None
    sae_ids: str = ""
    transcoder_folder: str | None = None
    transcoder_release: str | None = None
    dtype_gpu: str = "bfloat16"
    dtype_cpu: str = "float32"
    detector_layer: int | None = None
    control_pairs: str | None = None
    behaviour_prompts: str | None = None
    error_templates: str | None = None


_QWEN3: dict[str, Any] = {"sae_ids": "layer_{layer}"}
_GEMMA_SCOPE: dict[str, Any] = {"sae_ids": "layer_{layer}/width_16k/canonical"}
_GEMMA_2_2B: dict[str, Any] = {"transcoder_release": "gemma-scope-2b-pt-transcoders", **_GEMMA_SCOPE}
# Of the L0s that every layer has, the one nearest to 100, as in Gemma Scope's canonical choice.
_GEMMA_SCOPE_2: dict[str, Any] = {"sae_ids": "layer_{layer}_width_16k_l0_big"}
_LLAMA_SCOPE: dict[str, Any] = {"sae_release": "llama_scope_lxr_8x", "sae_ids": "l{layer}r_8x", "detector_layer": 12}

# An instruction-tuned model without SAEs of its own has those of its base model: `SaeSource.note` says so.
MODELS = {
    "organism": ModelEntry(
        folder="model_organism/weights/model",
        dtype_gpu="float32",
        sae_folder="model_organism/weights/saes",
        transcoder_folder="model_organism/weights/transcoders",
        control_pairs="model_organism/control_pairs.jsonl",
        behaviour_prompts="model_organism/behaviour_prompts.jsonl",
        error_templates="model_organism/error_templates.txt",
    ),
    "google/gemma-2-2b": ModelEntry(sae_release="gemma-scope-2b-pt-res-canonical", detector_layer=19, **_GEMMA_2_2B),
    "google/gemma-2-2b-it": ModelEntry(sae_release="gemma-scope-2b-pt-res-canonical", detector_layer=19, **_GEMMA_2_2B),
    "google/gemma-2-9b": ModelEntry(sae_release="gemma-scope-9b-pt-res-canonical", **_GEMMA_SCOPE),
    "google/gemma-2-9b-it": ModelEntry(sae_release="gemma-scope-9b-it-res-canonical", **_GEMMA_SCOPE),
    "google/gemma-2-27b": ModelEntry(
        sae_release="gemma-scope-27b-pt-res-canonical", sae_ids="layer_{layer}/width_131k/canonical"
    ),
    "google/gemma-3-270m": ModelEntry(sae_release="gemma-scope-2-270m-pt-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-270m-it": ModelEntry(sae_release="gemma-scope-2-270m-it-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-1b-pt": ModelEntry(sae_release="gemma-scope-2-1b-pt-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-1b-it": ModelEntry(sae_release="gemma-scope-2-1b-it-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-4b-pt": ModelEntry(sae_release="gemma-scope-2-4b-pt-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-4b-it": ModelEntry(sae_release="gemma-scope-2-4b-it-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-12b-pt": ModelEntry(sae_release="gemma-scope-2-12b-pt-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-12b-it": ModelEntry(sae_release="gemma-scope-2-12b-it-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-27b-pt": ModelEntry(sae_release="gemma-scope-2-27b-pt-res-all", **_GEMMA_SCOPE_2),
    "google/gemma-3-27b-it": ModelEntry(sae_release="gemma-scope-2-27b-it-res-all", **_GEMMA_SCOPE_2),
    "meta-llama/Llama-3.1-8B": ModelEntry(**_LLAMA_SCOPE),
    "meta-llama/Llama-3.1-8B-Instruct": ModelEntry(**_LLAMA_SCOPE),
    "Qwen/Qwen3-0.6B": ModelEntry(sae_release="mwhanna-qwen3-0.6b-transcoders-lowl0", **_QWEN3),
    "Qwen/Qwen3-1.7B": ModelEntry(sae_release="mwhanna-qwen3-1.7b-transcoders-lowl0", **_QWEN3),
    "Qwen/Qwen3-4B": ModelEntry(sae_release="mwhanna-qwen3-4b-transcoders", **_QWEN3),
    "Qwen/Qwen3-8B": ModelEntry(sae_release="mwhanna-qwen3-8b-transcoders", **_QWEN3),
    "Qwen/Qwen3-14B": ModelEntry(sae_release="mwhanna-qwen3-14b-transcoders-lowl0", **_QWEN3),
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
        f"{similar_model(model)}Give a folder, a hub id, or one of: {', '.join(MODELS)}"
    )


def similar_model(model: str) -> str:
    """'Did you mean google/gemma-2-2b? ' for a near miss of a known model, with its owner or without; else nothing."""
    if model in MODELS or Path(model).is_dir():
        return ""
    known = {spelt: name for name in reversed(MODELS) for spelt in (name.lower(), name.lower().rpartition("/")[2])}
    # What looks like a hub id is as a rule one: only a slip of the finger makes a known one of it.
    close = difflib.get_close_matches(model.lower(), known, n=1, cutoff=0.9 if "/" in model else 0.6)
    return f"Did you mean {known[close[0]]}? " if close else ""


def instruction_tuned(model: str) -> str | None:
    """The instruction-tuned model that was made from a base model, where MODELS has one."""
    names = (f"{model}-it", f"{model.removesuffix('-pt')}-it", f"{model}-Instruct")
    return next((name for name in names if name in MODELS and name != model), None)


def control_pairs(model: str) -> Path | None:
    """The file of pairs of problems that comes with a model; None for one that has none."""
    file = MODELS.get(model, ModelEntry()).control_pairs
    return None if file is None else ROOT / file


def behaviour_prompts(model: str) -> Path | None:
    """The file of prompts of behaviours that comes with a model; None for one that has none."""
    file = MODELS.get(model, ModelEntry()).behaviour_prompts
    return None if file is None else ROOT / file


def error_templates(model: str) -> Path | None:
    """The file of templates of failing programs that comes with a model; None for one that has none."""
    file = MODELS.get(model, ModelEntry()).error_templates
    return None if file is None else ROOT / file


def is_on_this_disk(model: str) -> bool:
    """Whether a model that `--model` names needs no hub; nobody is asked."""
    location = model_location(model)
    return Path(location).is_dir() or cached_revision(location) is not None


def folder_on_this_disk(model: str, revision: str = "") -> Path:
    """The folder of the files of a model that `--model` names, at a commit; nobody is asked.

    Raises: as `model_location`; AssetError when it is not on this disk.
    """
    location = model_location(model)
    folder = Path(location) if Path(location).is_dir() else cached_snapshot(location, revision)
    if folder is None:
        at = f" --revision {revision}" if revision else ""
        raise AssetError(f"the model {model} is not on this disk\nFetch it with: hf download {location}{at}")
    return folder


def hub_repository(model: str) -> str | None:
    """The hub id of a model that comes from there; None for a folder. Raises: as `model_location`."""
    location = model_location(model)
    return None if Path(location).is_dir() else location


@functools.cache
def model_identity(model: str, revision: str = "") -> str:
    """The name that keeps experiments apart: '<hub id>@<8 digits of its commit>' or '<folder>@<hash of its files>'.

    A hub id whose `revision` is no commit yet stands without one.
    """
    location = Path(model_location(model))
    if not location.is_dir():
        return at_commit(model, revision)
    name = model if model in MODELS else location.resolve().name
    files = sorted(path for pattern in _IDENTIFYING for path in location.glob(pattern))
    digest = hashlib.sha256("".join(f"{path.name}:{file_sha256(path)}\n" for path in files).encode())
    return f"{name}@{digest.hexdigest()[:8]}"


def shown_name(model: str) -> str:
    """A model's name in files that are handed on: of a folder its own name, not where it lies on this machine."""
    path = Path(model)
    return path.resolve().name if model not in MODELS and (path.is_absolute() or path.is_dir()) else model


def at_commit(name: str, revision: str) -> str:
    return f"{name}@{revision[:8]}" if COMMIT.fullmatch(revision) else name


def default_dtype(model: str, device: str) -> str:
    """The number type for `--dtype auto`."""
    entry = MODELS.get(model, ModelEntry())
    return entry.dtype_cpu if device == "cpu" else entry.dtype_gpu
