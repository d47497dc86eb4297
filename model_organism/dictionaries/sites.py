"""Where a dictionary reads and writes, by TransformerLens names.

An SAE reads and writes `blocks.L.hook_resid_post`. A transcoder reads `blocks.L.ln2.hook_normalized`,
the norm before the MLP *without* its gain, and writes `blocks.L.hook_mlp_out`, what the MLP adds to the
residual stream (after Gemma-2's norm behind the MLP): the sites of Gemma Scope's transcoders.
"""

from common.model.sites import MLP_NORMALIZED, MLP_OUT, RESID_POST, site_name

SAE, TRANSCODER = "sae", "transcoder"


def sites_of(n_layers: int) -> list[str]:
    """All that dictionaries of a model read or write."""
    kinds = (RESID_POST, MLP_NORMALIZED, MLP_OUT)
    return [site_name(layer, kind) for kind in kinds for layer in range(n_layers)]


def read_by(kind: str, layer: int) -> str:
    """`kind` is SAE or TRANSCODER."""
    return site_name(layer, RESID_POST if kind == SAE else MLP_NORMALIZED)


def written_by(kind: str, layer: int) -> str:
    return site_name(layer, RESID_POST if kind == SAE else MLP_OUT)
