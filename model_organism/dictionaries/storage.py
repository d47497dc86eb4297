"""Dictionaries on disk in SAELens' format: one folder a layer with cfg.json and sae_weights.safetensors.

`cfg.json` also says how the dictionary was made (metadata.training); a folder gets its name only once
it is complete. All weights are float32: SAELens casts a threshold with everything else.
"""

import json
import shutil
from pathlib import Path

from safetensors.torch import load_file

from common.errors import AssetError
from common.saes.dictionary import Dictionary
from model_organism.dictionaries.sites import SAE, read_by, written_by

FOLDERS = {"sae": "saes", "transcoder": "transcoders"}
COMMANDS = {"sae": "train_saes", "transcoder": "train_transcoders"}


def layer_folder(folder: Path, layer: int) -> Path:
    return folder / f"layer_{layer}"


def save_dictionary(dictionary: Dictionary, kind: str, layer: int, training: dict, folder: Path) -> None:
    """Write `folder`/layer_{layer}, replacing what is there."""
    import sae_lens
    from sae_lens.saes.sae import SAEMetadata

    d_in, d_sae = dictionary.W_enc.shape
    metadata = SAEMetadata(
        model_name="organism",
        hook_name=read_by(kind, layer),
        hook_name_out=written_by(kind, layer),
        prepend_bos=True,
        context_size=1024,
        training=training,
    )
    shared = {"d_in": d_in, "d_sae": d_sae, "apply_b_dec_to_input": False, "metadata": metadata}
    if kind == SAE:
        container = sae_lens.JumpReLUSAE(sae_lens.JumpReLUSAEConfig(**shared))
    else:
        d_out = dictionary.W_dec.shape[1]
        container = sae_lens.JumpReLUTranscoder(sae_lens.JumpReLUTranscoderConfig(**shared, d_out=d_out))
    container.load_state_dict({name: value.contiguous() for name, value in vars(dictionary).items()})
    final = layer_folder(folder, layer)
    partial = final.with_name(f"{final.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    container.save_model(partial)
    config = partial / "cfg.json"
    config.write_text(json.dumps(json.loads(config.read_text()), indent=1) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def load_dictionary(kind: str, layer: int, folder: Path) -> Dictionary:
    """The finished dictionary of a layer. Raises: AssetError, with the command that makes it."""
    path = layer_folder(folder, layer) / "sae_weights.safetensors"
    if not path.is_file():
        raise AssetError(
            f"no {kind} of layer {layer} of the organism: {path} is missing\n"
            f"Make it with: python3 -m model_organism.{COMMANDS[kind]}"
        )
    return Dictionary(**load_file(path))


def read_training(layer: int, folder: Path) -> dict | None:
    """How the layer's dictionary was made, if it is there."""
    config = layer_folder(folder, layer) / "cfg.json"
    return json.loads(config.read_text())["metadata"]["training"] if config.is_file() else None
