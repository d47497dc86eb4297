"""Read and change the residual stream of a Hugging Face decoder, by TransformerLens names.

A site is written `blocks.{layer}.hook_resid_post`: the output of block `layer`, counted
from 0. It equals `hidden_states[layer + 1]` of transformers, except for the last block,
where that entry is already normalised: so activations are always read with hooks.
`hook_resid_pre` is the block's input, `hook_resid_mid` the stream between attention and MLP:
the input of the norm before the MLP.
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
ChangeFn = Callable[[Resid], Resid]

_SITE = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_mid|resid_post)")
_NORMS_BEFORE_MLP = ("pre_feedforward_layernorm", "post_attention_layernorm")  # Gemma has both, Llama and Qwen one


def resid_post_site(layer: int) -> str:
    return resid_site(layer, "resid_post")


def resid_site(layer: int, kind: str) -> str:
    """`kind` is resid_pre, resid_mid or resid_post."""
    return f"blocks.{layer}.hook_{kind}"


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

    def reading(site: str) -> ChangeFn:
        def read(resid: Resid) -> None:
            take(site, resid)

        return read

    with _hooked(model, {site: reading(site) for site in sites}):
        yield


@contextmanager
def change_resid(model: nn.Module, changes: dict[str, ChangeFn]) -> Iterator[None]:
    """Replace the residual stream at each site by `changes[site](resid)` in every forward pass while the block is open.

    What follows computes with the new stream, the sum that the block's output is made of included.
    Raises: UnknownHookError, as `read_resid`.
    """
    with _hooked(model, changes):
        yield


@contextmanager
def _hooked(model: nn.Module, functions: dict[str, Callable[[Resid], Resid | None]]) -> Iterator[None]:
    """Call `functions[site](resid)` in every pass; what it returns takes the stream's place, None leaves it."""
    blocks = decoder_blocks(model)
    handles: list[RemovableHandle] = []
    try:
        for site, function in functions.items():
            layer, kind = _parse(site, len(blocks), model)
            handles += _register(blocks[layer], kind, site, function)
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
            f"Give blocks.LAYER.hook_resid_pre, hook_resid_mid or hook_resid_post"
        )
    return int(match[1]), match[2]


def _register(
    block: nn.Module, kind: str, site: str, function: Callable[[Resid], Resid | None]
) -> list[RemovableHandle]:
    def before(_block: nn.Module, arguments: tuple) -> tuple | None:
        changed = function(arguments[0])
        return None if changed is None else (changed, *arguments[1:])

    def after(_block: nn.Module, _arguments: tuple, output: Resid) -> Resid | None:
        return function(output)

    if kind == "resid_post":
        return [block.register_forward_hook(after)]
    if kind == "resid_pre":
        return [block.register_forward_pre_hook(before)]
    return _register_mid(block, _norm_before_mlp(block, site), function)


def _register_mid(
    block: nn.Module, norm: nn.Module, function: Callable[[Resid], Resid | None]
) -> list[RemovableHandle]:
    """The stream goes past the norm too: what is added for the MLP must be added to the block's output as well."""
    added: list[Resid] = []

    def before(_norm: nn.Module, arguments: tuple) -> tuple | None:
        changed = function(arguments[0])
        if changed is None:
            return None
        added.append(changed - arguments[0])
        return (changed, *arguments[1:])

    def after(_block: nn.Module, _arguments: tuple, output: Resid) -> Resid | None:
        return output + added.pop() if added else None

    return [norm.register_forward_pre_hook(before), block.register_forward_hook(after)]


def _norm_before_mlp(block: nn.Module, site: str) -> nn.Module:
    norms = [getattr(block, name) for name in _NORMS_BEFORE_MLP if hasattr(block, name)]
    if not norms:
        raise UnknownHookError(
            f"no activation is called '{site}': {type(block).__name__} has no norm between attention and MLP "
            f"that is called {' or '.join(_NORMS_BEFORE_MLP)}\nGive hook_resid_pre or hook_resid_post"
        )
    return norms[0]
