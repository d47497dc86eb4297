"""Names of the places where a decoder is read and changed, as TransformerLens writes them; nothing here imports torch.

`blocks.{layer}.hook_resid_pre`, `hook_resid_post`    a block's input and output; layers count from 0
`blocks.{layer}.hook_resid_mid`                       the stream between attention and MLP
`blocks.{layer}.hook_attn_out`, `hook_mlp_out`        what attention and the MLP add to the stream
`blocks.{layer}.ln2.hook_normalized`                  what the norm before the MLP gives, before gain and bias
`blocks.{layer}.attn.hook_z`, `mlp.hook_post`         what the last product of attention and of the MLP reads: what the
                                                      heads give, one head behind the other, and the neurons
"""

import re

RESID_PRE, RESID_MID, RESID_POST = "hook_resid_pre", "hook_resid_mid", "hook_resid_post"
ATTN_OUT, MLP_OUT, MLP_NORMALIZED = "hook_attn_out", "hook_mlp_out", "ln2.hook_normalized"
HEADS, NEURONS = "attn.hook_z", "mlp.hook_post"
KINDS = (RESID_PRE, RESID_MID, RESID_POST, ATTN_OUT, MLP_OUT, MLP_NORMALIZED, HEADS, NEURONS)

_SITE = re.compile(r"blocks\.(\d+)\.(\S+)")


def site_name(layer: int, kind: str) -> str:
    """`kind` is one of KINDS."""
    return f"blocks.{layer}.{kind}"


def resid_post_site(layer: int) -> str:
    return site_name(layer, RESID_POST)


def resid_site(layer: int, kind: str) -> str:
    """`kind` is resid_pre, resid_mid or resid_post."""
    return site_name(layer, f"hook_{kind}")


def parsed(site: str) -> tuple[int, str] | None:
    """Layer and kind, which may be none of KINDS; None for what names nothing in a block."""
    match = _SITE.fullmatch(site)
    return match and (int(match[1]), match[2])
