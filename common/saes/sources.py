"""Which SAEs `--sae` names: the model's default, a SAELens release, or a folder; none is loaded here.

    auto                                    the registry's default for the model
    gemma-scope-2b-pt-res-canonical         a release in SAELens' table
    RELEASE:layer_{layer}/width_65k/canonical   the same with one id per layer, where there are several
    path/to/saes                            a folder of layer_0, layer_1 ... or of one SAE
    own                                     the newest that phase 1.3 trained (own.py puts its folder in)

A command asks this when it starts, so nothing here imports torch or sae_lens or needs a network.
"""

import functools
import importlib.util
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import AssetError, ConfigError, suggestion
from common.files import file_sha256
from common.model.registry import MODELS, ModelEntry, at_commit
from common.model.sites import ATTN_OUT, MLP_OUT, RESID_POST, parsed
from common.provenance import ROOT
from common.saes.own import OWN, hash_of_files, run_of

CONFIG_FILE, WEIGHTS_FILE = "cfg.json", "sae_weights.safetensors"  # as SAELens' save_model writes them

_HOOK = re.compile(r"hook_(?:resid_pre|resid_mid|resid_post|attn_out|mlp_out|z)(?![a-z])")
_LLAMA_SCOPE = {"r": RESID_POST, "a": ATTN_OUT, "m": MLP_OUT}  # l7r_8x
_LAYER = re.compile(r"(?:layers?[_.]?|blocks\.|(?<![a-z_])l)(\d+)|^(\d+)(?!\w)", re.IGNORECASE)


@dataclass(frozen=True)
class Release:
    """One entry of SAELens' table: where on the hub each id lies, and which model it was trained on."""

    name: str
    repo_id: str
    model: str
    conversion: str
    paths: dict[str, str]
    neuronpedia: dict[str, str | None]
    variance_explained: dict[str, float | None]
    l0: dict[str, float | None]

    def published(self, sae_id: str) -> dict[str, float | None]:
        """FVU and L0 that the makers measured. Gemma Scope has its L0 in the path alone."""
        explained, l0 = self.variance_explained[sae_id], self.l0[sae_id]
        in_path = re.search(r"average_l0_(\d+)", self.paths[sae_id])
        l0 = float(in_path[1]) if l0 is None and in_path else l0
        return {"published_fvu": None if explained is None else 1 - explained, "published_l0": l0}


@dataclass(frozen=True)
class SaeSource:
    """Where the SAEs of a run come from. `ids` maps a layer to its SAELens id, or to its folder.

    `site` is what they read in each block, as "hook_resid_post"; None where only loading one tells.
    """

    name: str
    identity: str
    note: str
    kind: str
    ids: dict[int, str]
    release: Release | None = None
    revision: str = ""
    site: str | None = None

    def layers(self, n_layers: int) -> list[int]:
        """The layers of a model of `n_layers` that have an SAE.

        Raises: ConfigError when none has.
        """
        layers = [layer for layer in sorted(self.ids) if layer < n_layers]
        if not layers:
            raise ConfigError(
                f"'{self.name}' has SAEs of layers {listing(self.ids)}; the model's layers are 0 to {n_layers - 1}\n"
                f"Give SAEs of this model with --sae"
            )
        return layers


def sae_source(sae: str, model: str, revision: str = "") -> SaeSource:
    """What `--sae` names for `--model`; `revision` is the commit of a release's repository, '' as long as unknown.

    Raises: ConfigError when it is neither a release, nor a folder, nor a default; AssetError
    when a folder holds no whole SAE.
    """
    if sae != "auto":
        return _named_source(sae, model, revision)
    entry = MODELS.get(model, ModelEntry())
    if entry.sae_release:
        return _release_source(entry.sae_release, "", model, revision)
    if entry.sae_folder:
        return _shipped(entry.sae_folder, model)
    raise ConfigError(
        f"there are no default SAEs for --model {model}\n"
        f"Give a SAELens release or a folder with --sae, or train some with phase 1.3 and give --sae {OWN}; "
        f"defaults exist for: {', '.join(MODELS)}"
    )


def transcoder_source(transcoders: str, model: str, revision: str = "") -> SaeSource:
    """What `--transcoders` names for `--model`, as `sae_source` does; auto: those of the registry.

    Raises: as `sae_source`; ConfigError for SAEs, for a top-k rule, and for transcoders across layers.
    """
    source = (
        _default_transcoders(model, revision) if transcoders == "auto" else _named_source(transcoders, model, revision)
    )
    if source.kind != "transcoder":
        raise ConfigError(
            f"--transcoders is '{transcoders}', which are SAEs; only transcoders stand in for MLPs\n"
            f"Give a release or folder of transcoders, or train some with: python3 run.py phase 1.3 --site mlp"
        )
    if _has_a_top_k_rule(source):
        raise ConfigError(
            f"--transcoders is '{transcoders}', whose latents pass by a top-k rule: whether one fires depends on all "
            f"others, so no edges into it would be exact\nGive transcoders with a ReLU or JumpReLU with --transcoders"
        )
    if source.release is not None and "clt" in source.release.conversion:
        raise ConfigError(
            f"--transcoders is '{transcoders}', which are cross-layer transcoders: each latent writes into all later "
            f"layers, and SAELens reads the sum of that as if one MLP wrote it, so nothing made of it would be exact\n"
            f"Give transcoders of single layers with --transcoders"
        )
    return source


def has_default_transcoders(model: str) -> bool:
    """Whether `--transcoders auto` names some for a model."""
    entry = MODELS.get(model, ModelEntry())
    if entry.transcoder_folder or entry.transcoder_release:
        return True
    return bool(entry.sae_release) and _release_source(entry.sae_release, "", model, "").kind == "transcoder"


def _has_a_top_k_rule(source: SaeSource) -> bool:
    folders = [] if source.release is not None else map(Path, source.ids.values())
    return any("topk" in str(folder_config(folder).get("architecture")) for folder in folders)


def _default_transcoders(model: str, revision: str) -> SaeSource:
    entry = MODELS.get(model, ModelEntry())
    if entry.transcoder_folder:
        return _shipped(entry.transcoder_folder, model)
    if has_default_transcoders(model):
        return _release_source(entry.transcoder_release or str(entry.sae_release), "", model, revision)
    raise ConfigError(
        f"there are no default transcoders for --model {model}\n"
        f"Give a SAELens release or a folder with --transcoders, or train some with phase 1.3 --site mlp and give "
        f"--transcoders {OWN}"
    )


def _named_source(name: str, model: str, revision: str) -> SaeSource:
    """A folder, or a release with a pattern of ids or without."""
    if name and Path(name).is_dir():
        return _folder_source(name, Path(name), model)
    release, _, pattern = name.partition(":")
    return _release_source(release, pattern, model, revision)


def _shipped(name: str, model: str) -> SaeSource:
    """A folder of this repository. Raises: AssetError when it is gone."""
    folder = ROOT / name
    if not folder.is_dir():
        raise AssetError(f"the SAEs of '{model}' are missing: {folder}\nRestore them with: git checkout -- {name}")
    return _folder_source(name, folder, model)


def has_default(model: str) -> bool:
    """Whether `--sae auto` names SAEs for a model; transcoders are none."""
    entry = MODELS.get(model)
    is_known = entry is not None and bool(entry.sae_release or entry.sae_folder)
    return is_known and sae_source("auto", model).kind == "sae"


def layer_of(text: str) -> int | None:
    """The layer that an id, a hook's name or a folder's name speaks of."""
    match = _LAYER.search(text)
    return int(match[1] or match[2]) if match else None


@functools.cache
def find_release(name: str) -> Release:
    """One entry of SAELens' table.

    Raises: ConfigError when there is none.
    """
    import yaml  # a tenth of the time that --help takes

    block = _release_blocks().get(name)
    if block is None:
        raise ConfigError(_unknown(name))
    entry = yaml.load(block, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))[name]
    ids = {item["id"]: item for item in entry["saes"]}

    def of_each(key: str) -> dict[str, Any]:
        return {sae_id: item.get(key) for sae_id, item in ids.items()}

    return Release(
        name,
        entry["repo_id"],
        entry["model"],
        conversion=entry.get("conversion_func") or "sae_lens",
        paths={sae_id: str(item["path"]) for sae_id, item in ids.items()},
        neuronpedia=of_each("neuronpedia"),
        variance_explained=of_each("variance_explained"),
        l0=of_each("l0"),
    )


@functools.cache
def _release_blocks() -> dict[str, str]:
    """The text of each entry of SAELens' table: parsing all of it takes a second, importing the library five."""
    spec = importlib.util.find_spec("sae_lens")
    if spec is None or spec.origin is None:
        raise AssetError(
            f"the library sae_lens is not installed for this Python: {sys.executable}\n"
            "Type: .venv/bin/python -m pip install -r requirements.txt"
        )
    text = (Path(spec.origin).parent / "pretrained_saes.yaml").read_text(encoding="utf-8")
    blocks = re.split(r"^(?=[^\s#-])", text, flags=re.MULTILINE)
    return {block.partition(":")[0]: block for block in blocks if ":" in block}


def _unknown(name: str) -> str:
    blocks = _release_blocks()
    if "/" in name:
        held = [release for release, block in blocks.items() if f"\n  repo_id: {name}\n" in block]
        close = suggestion(name.rpartition("/")[2], list(blocks))
        hint = (
            f"Its SAELens releases: {', '.join(held)}"
            if held
            else f"SAELens has no release of it{close and '.' + close}"
        )
        return (
            f"--sae is '{name}', which is no folder; if it is a hub repository: SAEs are named by their SAELens "
            f"release, since a bare repository would be read with the wrong converter\n"
            f"{hint}{'' if hint.endswith('?') else '.'} Give a release, a folder, or auto"
        )
    return (
        f"--sae is '{name}', which is no folder and no release that SAELens knows.{suggestion(name, list(blocks))}\n"
        f"Give auto, a folder, or a release of https://decoderesearch.github.io/SAELens/latest/pretrained_saes/"
    )


def _release_source(name: str, pattern: str, model: str, revision: str) -> SaeSource:
    release = find_release(name)
    default = next((entry.sae_ids for entry in MODELS.values() if entry.sae_release == name), "")
    ids = _ids_by_layer(release, pattern or default)
    kinds = {_release_kind(release, sae_id) for sae_id in ids.values()}
    assert len(kinds) == 1, f"{name} mixes SAEs and transcoders"
    named = name if pattern in ("", default) else f"{name}:{pattern}"
    note, identity = _note(release.model, model), at_commit(named, revision)
    sites = {_release_site(release, sae_id) for sae_id in ids.values()}
    site = sites.pop() if len(sites) == 1 else None
    return SaeSource(named, identity, note, kinds.pop(), ids, release, revision, site)


def _ids_by_layer(release: Release, pattern: str) -> dict[int, str]:
    """The id of each layer: those of `pattern`, or all, where each layer has one.

    Raises: ConfigError when no id fits, or several do.
    """
    every = {sae_id: layer for sae_id in release.paths if (layer := layer_of(sae_id)) is not None}
    fitting = {i: layer for i, layer in every.items() if not pattern or pattern.replace("{layer}", str(layer)) == i}
    ids = {layer: sae_id for sae_id, layer in fitting.items()}
    example = "', '".join(list(every)[:3])
    if not ids:
        raise ConfigError(
            f"release {release.name} has no id '{pattern}'; its {len(release.paths)} ids are '{example}' ...\n"
            f"Give one of them as --sae {release.name}:ID, with {{layer}} in place of the layer for every layer"
        )
    if len(ids) < len(fitting):
        raise ConfigError(
            f"release {release.name} has {len(fitting)} SAEs of {len(ids)} layers: '{example}' ...\n"
            f"Say which as --sae {release.name}:ID, with {{layer}} in place of the layer for every layer"
        )
    return ids


def _release_kind(release: Release, sae_id: str) -> str:
    transcodes = "transcoder" in release.conversion or re.match("transcoder|clt", release.paths[sae_id])
    return "transcoder" if transcodes else "sae"


def _release_site(release: Release, sae_id: str) -> str | None:
    """What SAELens' converters say that an SAE reads; None where its own file says it."""
    path = release.paths[sae_id]
    if named := _HOOK.search(sae_id):
        return "attn.hook_z" if named[0] == "hook_z" else named[0]
    if release.conversion == "llama_scope" and (letter := re.match(r"l\d+([ram])_", sae_id)):
        return _LLAMA_SCOPE[letter[1]]
    if _release_kind(release, sae_id) == "sae" and release.conversion in ("gemma_2", "gemma_3"):
        of_part = {"-att": "attn.hook_z", "attn_out": "attn.hook_z", "-mlp": MLP_OUT, "mlp_out": MLP_OUT}
        where = release.repo_id if release.conversion == "gemma_2" else path
        return next((site for part, site in of_part.items() if part in where), RESID_POST)
    return None


def _folder_source(name: str, folder: Path, model: str) -> SaeSource:
    folders = _layer_folders(name, folder)
    configs = {layer: folder_config(path) for layer, path in folders.items()}
    kinds = {"transcoder" if "transcoder" in config.get("architecture", "") else "sae" for config in configs.values()}
    if len(kinds) > 1:
        raise ConfigError(f"--sae {name} holds SAEs and transcoders\nKeep them in folders of their own")
    trained_on = {_metadata(config).get("model_name") or "" for config in configs.values()}
    notes = sorted({_note(other, model) for other in trained_on if other} - {""})
    known = OWN if run_of(str(folder.resolve())) else folder.resolve().name
    identity = f"{known}@{_content_hash(folder.resolve())}"
    ids = {layer: str(path) for layer, path in folders.items()}
    return SaeSource(name, identity, "; ".join(notes), kinds.pop(), ids, site=_site_of(name, configs))


def _site_of(name: str, configs: dict[int, dict[str, Any]]) -> str | None:
    """The one site that the SAEs of a folder read in their blocks. Raises: ConfigError where there are several."""
    places = [parsed(str(_metadata(config).get("hook_name"))) for config in configs.values()]
    sites = sorted({place[1] for place in places if place})
    if len(sites) > 1:
        raise ConfigError(f"--sae {name} holds SAEs of {' and '.join(sites)}\nKeep them in folders of their own")
    return sites[0] if sites else None


def _layer_folders(name: str, folder: Path) -> dict[int, Path]:
    """The folder of each layer's SAE. Raises: AssetError when there is none, or one is not whole."""
    if (folder / CONFIG_FILE).is_file():
        hook = _metadata(folder_config(folder)).get("hook_name") or folder.resolve().name
        layer = layer_of(str(hook))
        if layer is None:
            raise AssetError(
                f"SAE in {folder}: {CONFIG_FILE} names no hook, so its layer is unknown\n"
                f'Name the folder layer_0 (or whichever it is), or write "hook_name" into {CONFIG_FILE}'
            )
        folders = {layer: folder}
    else:
        named = {path: re.fullmatch(r"layer_(\d+)", path.name) for path in sorted(folder.iterdir()) if path.is_dir()}
        folders = {int(match[1]): path for path, match in named.items() if match}
    if not folders:
        raise AssetError(
            f"--sae {name} holds no SAE: there is neither {CONFIG_FILE} nor a folder layer_0, layer_1 ... in it\n"
            f"Give a folder that SAELens' save_model wrote, or one of such folders named by their layers"
        )
    for path in folders.values():
        absent = [file for file in (CONFIG_FILE, WEIGHTS_FILE) if not (path / file).is_file()]
        if absent:
            raise AssetError(
                f"the SAE in {path} is not whole: {' and '.join(absent)} missing\n"
                f"Complete the folder as SAELens' save_model writes it, or remove it"
            )
    return folders


def folder_config(folder: Path) -> dict[str, Any]:
    """The settings of a saved SAE. Raises: AssetError."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise AssetError(f"{path} cannot be read: {error}\nWrite the SAE again with SAELens' save_model") from error
    if not isinstance(config, dict):
        raise AssetError(f"{path} holds no settings of an SAE\nWrite the SAE again with SAELens' save_model")
    return config


def _metadata(config: dict[str, Any]) -> dict[str, Any]:
    """What an SAE was trained on; before version 6 of SAELens these entries lay among the others."""
    return {**config, **(config.get("metadata") or {})}


@functools.cache
def _content_hash(folder: Path) -> str:
    """Eight digits that name the settings and weights of all SAEs in a folder, wherever it lies."""
    files = [folder / file for file in (CONFIG_FILE, WEIGHTS_FILE) if (folder / file).is_file()]
    files += [path for file in (CONFIG_FILE, WEIGHTS_FILE) for path in folder.glob(f"layer_*/{file}")]
    return hash_of_files({path.relative_to(folder).as_posix(): file_sha256(path) for path in files})


def _note(trained_on: str, model: str) -> str:
    """What to know when SAEs of one model are used on another; '' when it is the same."""
    if _plain(trained_on) == _plain(model):
        return ""
    known = next((name for name in MODELS if _plain(name) == _plain(trained_on)), trained_on)
    is_base = _plain(model) in (f"{_plain(trained_on)}-it", f"{_plain(trained_on)}-instruct")
    return f"SAEs of the base model {known}" if is_base else f"SAEs of another model, {known}"


def _plain(model: str) -> str:
    """A model's name without its owner: 'google/gemma-2-2b' and 'gemma-2-2b' are the same."""
    return model.rstrip("/").rpartition("/")[2].lower()


def listing(layers: dict[int, str]) -> str:
    return ", ".join(map(str, sorted(layers)))
