"""A finished dictionary in SAELens' format: layer_N/cfg.json and layer_N/sae_weights.safetensors."""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from common.model.language_model import LanguageModel
from common.model.sites import site_name
from common.model.tokenization import tokens_in_front
from common.runs.artifacts import ArtifactWriter
from common.saes.dictionary import WEIGHTS, Dictionary
from common.saes.encoder import LayerSae, load_from_folder
from common.saes.sources import CONFIG_FILE, WEIGHTS_FILE
from phase1_3_dictionaries.config import DictionariesConfig
from phase1_3_dictionaries.reading import Sites


def save_dictionary(
    dictionary: Dictionary, sites: Sites, layer: int, config: DictionariesConfig, lm: LanguageModel, folder: Path
) -> LayerSae:
    """Write layer_N below `folder`, and read it again: what is measured is what was saved."""
    container = _container(dictionary, sites, layer, config, lm)
    path = folder / f"layer_{layer}"
    path.mkdir()
    container.save_model(path)
    kind = "sae" if sites.is_autoencoder else "transcoder"
    return load_from_folder(path, f"own layer_{layer}", layer, kind)


def keep(out: ArtifactWriter, folder: Path, layer: int, fvu: float, l0: float) -> None:
    """Put a saved dictionary among the run's files, with how well it fits in its own metadata."""
    path = folder / f"layer_{layer}"
    settings = json.loads((path / CONFIG_FILE).read_bytes())
    settings["metadata"] |= {"fvu": round(fvu, 4), "l0": round(l0, 2)}
    out.file(f"{path.name}/{CONFIG_FILE}", (json.dumps(settings, indent=1, sort_keys=True) + "\n").encode())
    out.file(f"{path.name}/{WEIGHTS_FILE}", (path / WEIGHTS_FILE).read_bytes())


def temporary_folder(out: ArtifactWriter) -> tempfile.TemporaryDirectory:
    """Beside the run's other files, since the weights may be larger than what else holds temporary ones."""
    parts = out.path / "parts"
    parts.mkdir(exist_ok=True)
    return tempfile.TemporaryDirectory(dir=parts, prefix="saved_")


def _container(dictionary: Dictionary, sites: Sites, layer: int, config: DictionariesConfig, lm: LanguageModel) -> Any:
    import sae_lens
    from sae_lens.saes.sae import SAEMetadata

    metadata = SAEMetadata(
        model_name=config.model,
        hook_name=site_name(layer, sites.reads),
        hook_name_out=site_name(layer, sites.writes),
        prepend_bos=bool(tokens_in_front(lm.tokenizer)),
        context_size=min(config.context, lm.context_length),
    )
    shared: dict[str, Any] = {
        "d_in": dictionary.d_in,
        "d_sae": dictionary.n_latents,
        "dtype": config.weights,
        "apply_b_dec_to_input": False,
        "metadata": metadata,
    }
    if sites.is_autoencoder:
        container = sae_lens.JumpReLUSAE(sae_lens.JumpReLUSAEConfig(**shared))
    else:
        d_out = dictionary.W_dec.shape[1]
        container = sae_lens.JumpReLUTranscoder(sae_lens.JumpReLUTranscoderConfig(**shared, d_out=d_out))
    dtype = getattr(torch, config.weights)
    container.load_state_dict({name: getattr(dictionary, name).to(dtype).contiguous() for name in WEIGHTS})
    return container
