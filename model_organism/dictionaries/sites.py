"""Where a dictionary reads and writes, by TransformerLens names, in the organism's Gemma-2 blocks.

An SAE reads and writes `blocks.L.hook_resid_post`. A transcoder reads `blocks.L.ln2.hook_normalized`,
the norm before the MLP *without* its gain, and writes `blocks.L.hook_mlp_out`, what the MLP adds to the
residual stream (after Gemma-2's norm behind the MLP): the sites of Gemma Scope's transcoders.
"""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from common.model.hooks import decoder_blocks

SAE, TRANSCODER = "sae", "transcoder"
RESID_POST, MLP_IN, MLP_OUT = "hook_resid_post", "ln2.hook_normalized", "hook_mlp_out"
READS = {SAE: RESID_POST, TRANSCODER: MLP_IN}
WRITES = {SAE: RESID_POST, TRANSCODER: MLP_OUT}


def site_name(kind: str, layer: int) -> str:
    return f"blocks.{layer}.{kind}"


def read_site(model: PreTrainedModel, site: str, layer: int, take: Callable[[Tensor], None]) -> RemovableHandle:
    """Call `take(activations)`, [batch, pos, d_model], in every forward pass while the block is open."""
    block = decoder_blocks(model)[layer]
    if site == MLP_IN:
        norm = block.get_submodule("pre_feedforward_layernorm")
        return norm.register_forward_pre_hook(lambda _module, arguments: take(without_gain(norm, arguments[0])))
    return _writer(block, site).register_forward_hook(_on_output(take))


def replace_site(model: PreTrainedModel, site: str, layer: int, edit: Callable[[Tensor], Tensor]) -> RemovableHandle:
    """Replace the activations at `site` by `edit(activations)` while the block is open."""
    return _writer(decoder_blocks(model)[layer], site).register_forward_hook(_on_output(edit))


def _on_output(function: Callable[[Tensor], Tensor | None]) -> Callable[[nn.Module, Any, Tensor], Tensor | None]:
    return lambda _module, _arguments, output: function(output)


def without_gain(norm: nn.Module, resid: Tensor) -> Tensor:
    """The norm's output before its gain: resid / rms(resid), in float32."""
    resid = resid.float()
    return resid * torch.rsqrt(resid.pow(2).mean(-1, keepdim=True) + cast(float, norm.eps))


def _writer(block: nn.Module, site: str) -> nn.Module:
    """The module whose output is the site's activations."""
    return {RESID_POST: block, MLP_OUT: block.get_submodule("post_feedforward_layernorm")}[site]
