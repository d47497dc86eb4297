"""Random SAEs of SAELens itself, and folders of them as its save_model writes."""

import warnings
from pathlib import Path

import torch

D_IN, D_SAE, LAYER = 16, 48, 3


def saelens_sae(architecture: str, **settings):
    """A random SAE of SAELens itself, whose decoder rows have unequal lengths."""
    from sae_lens import SAE

    torch.manual_seed(0)
    metadata = {"hook_name": f"blocks.{LAYER}.hook_resid_post", "model_name": "organism"}
    if "transcoder" in architecture:
        settings = {"d_out": D_IN, "apply_b_dec_to_input": False, **settings}
        metadata |= {"hook_name": f"blocks.{LAYER}.mlp.hook_in", "hook_name_out": f"blocks.{LAYER}.hook_mlp_out"}
    metadata |= settings.pop("metadata", {})
    config = {"architecture": architecture, "d_in": D_IN, "d_sae": D_SAE, "metadata": metadata, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sae = SAE.from_dict(config)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return sae


def saved(folder: Path, architecture: str = "jumprelu", layer: int = LAYER, **settings) -> Path:
    saelens_sae(architecture, **settings).save_model(folder / f"layer_{layer}")
    return folder
