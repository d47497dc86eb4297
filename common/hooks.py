"""Read the residual stream of a Hugging Face decoder by TransformerLens names.

A site is written `blocks.{layer}.hook_resid_post`: the output of block `layer`, counted
from 0. It equals `hidden_states[layer + 1]` of transformers, except for the last block,
where that entry is already normalised: so activations are always read with hooks.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from common.errors import UnknownHookError

Resid = Float[Tensor, "batch pos d_model"]
TakeFn = Callable[[str, Resid], None]

_SITE = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_post)")


def resid_post_site(layer: int) -> str:
    return f"blocks.{layer}.hook_resid_post"


def decoder_blocks(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks of a Hugging Face causal model, in order."""
    return model.get_decoder().layers


@contextmanager
def read_resid(model: nn.Module, sites: list[str], take: TakeFn) -> Iterator[None]:
    """Call `take(site, resid)` in every forward pass while the block is open.

    `resid` is the residual stream [batch, pos, d_model] at that site, not copied.
    Raises: UnknownHookError, naming the sites there are, when one is misspelt: a wrong name
    must never become a measurement of nothing.
    """
    blocks = decoder_blocks(model)
    handles = []
    try:
        for site in sites:
            layer, kind = _parse(site, len(blocks), model)
            handles.append(_register(blocks[layer], kind, site, take))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _parse(site: str, n_layers: int, model: nn.Module) -> tuple[int, str]:
    match = _SITE.fullmatch(site)
    if match is None or int(match[1]) >= n_layers:
        name = getattr(model.config, "_name_or_path", "this model")
        raise UnknownHookError(
            f"no activation is called '{site}'; {name} has blocks.0 to blocks.{n_layers - 1}\n"
            f"Give blocks.LAYER.hook_resid_pre or blocks.LAYER.hook_resid_post"
        )
    return int(match[1]), match[2]


def _register(block: nn.Module, kind: str, site: str, take: TakeFn) -> RemovableHandle:
    def before(_block: nn.Module, arguments: tuple) -> None:
        take(site, arguments[0])

    def after(_block: nn.Module, _arguments: tuple, output: Resid) -> None:
        take(site, output)

    return block.register_forward_pre_hook(before) if kind == "resid_pre" else block.register_forward_hook(after)
