"""Read and change the residual stream of a Hugging Face decoder, by TransformerLens names.

A site is written `blocks.{layer}.hook_resid_post`: the output of block `layer`, counted
from 0. It equals `hidden_states[layer + 1]` of transformers, except for the last block,
where that entry is already normalised: so activations are always read with hooks.
`hook_resid_pre` is the block's input, `hook_resid_mid` the stream between attention and MLP,
where it is there to be read (see `common.model.resid_mid`).
"""

import re
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from common.errors import AssetError, UnknownHookError
from common.model.resid_mid import BlockTrace, reader_of_resid_mid, traced

Resid = Float[Tensor, "batch pos d_model"]
TakeFn = Callable[[str, Resid], None]
ChangeFn = Callable[[Resid], Resid]
VisitFn = Callable[[Resid], Resid | None]

_SITE = re.compile(r"blocks\.(\d+)\.hook_(resid_pre|resid_mid|resid_post)")
_READERS_OF_RESID_MID: weakref.WeakKeyDictionary[nn.Module, list[str | None]] = weakref.WeakKeyDictionary()


def resid_post_site(layer: int) -> str:
    return resid_site(layer, "resid_post")


def resid_site(layer: int, kind: str) -> str:
    """`kind` is resid_pre, resid_mid or resid_post."""
    return f"blocks.{layer}.hook_{kind}"


def decoder_blocks(model: PreTrainedModel) -> nn.ModuleList:
    """The transformer blocks of a Hugging Face causal model, in order: its one list of `num_hidden_layers` modules.

    Raises: AssetError where there is no such list.
    """
    n_layers = model.config.get_text_config().num_hidden_layers
    lists = {name: module for name, module in model.get_decoder().named_modules() if isinstance(module, nn.ModuleList)}
    outermost = [one for name, one in lists.items() if not any(name.startswith(f"{other}.") for other in lists)]
    blocks = [one for one in outermost if len(one) == n_layers] or outermost  # some may have been dropped
    if len(blocks) != 1:
        raise AssetError(
            f"{name_of(model)} ({type(model).__name__}) has no one list of {n_layers} blocks: the lengths of its lists "
            f"are {[len(one) for one in outermost]}\nGive a --model that is a stack of blocks, like Llama or GPT-2"
        )
    return blocks[0]


def embeddings_of(model: PreTrainedModel) -> Any:
    """The table of the tokens that the model reads: an nn.Embedding, or what stands in for one."""
    return model.get_input_embeddings()


def name_of(model: nn.Module) -> str:
    return getattr(model.config, "_name_or_path", "") or "this model"


def readers_of_resid_mid(model: PreTrainedModel, traces: list[BlockTrace] | None = None) -> list[str | None]:
    """The child of each block that reads resid_mid; None for a block that has no such site.

    Found once for a model, in the `traces` of a pass; unless given, a pass over eight tokens is made.
    """
    if model not in _READERS_OF_RESID_MID:
        if traces is None:
            table = embeddings_of(model)
            ids = torch.arange(8, device=table.weight.device)[None] % table.num_embeddings
            with torch.inference_mode(), traced(decoder_blocks(model)) as traces:
                model.get_decoder()(input_ids=ids, use_cache=False)
        _READERS_OF_RESID_MID[model] = [reader_of_resid_mid(trace) for trace in traces]
    return _READERS_OF_RESID_MID[model]


@contextmanager
def read_resid(model: PreTrainedModel, sites: list[str], take: TakeFn) -> Iterator[None]:
    """Call `take(site, resid)` in every forward pass while the block is open.

    `resid` is the residual stream [batch, pos, d_model] at that site, not copied.
    Raises: UnknownHookError, naming the sites there are, when one is misspelt: a wrong name
    must never become a measurement of nothing.
    """

    def reading(site: str) -> VisitFn:
        def read(resid: Resid) -> None:
            take(site, resid)

        return read

    with _hooked(model, {site: reading(site) for site in sites}):
        yield


@contextmanager
def change_resid(model: PreTrainedModel, changes: dict[str, ChangeFn]) -> Iterator[None]:
    """Replace the residual stream at each site by `changes[site](resid)` in every forward pass while the block is open.

    What follows computes with the new stream, the sum that the block's output is made of included.
    Raises: UnknownHookError, as `read_resid`.
    """
    with _hooked(model, changes):
        yield


@contextmanager
def _hooked(model: PreTrainedModel, functions: Mapping[str, VisitFn]) -> Iterator[None]:
    """Call `functions[site](resid)` in every pass; what it returns takes the stream's place, None leaves it."""
    blocks = decoder_blocks(model)
    places = {site: _parse(site, len(blocks), model) for site in functions}
    readers = readers_of_resid_mid(model) if any(kind == "resid_mid" for _, kind in places.values()) else []
    with ExitStack() as hooks:
        for site, (layer, kind) in places.items():
            block, function = blocks[layer], functions[site]
            if kind == "resid_mid":
                for hook in _register_mid(block, _reader(block, readers[layer], site), function):
                    hooks.enter_context(hook)
            else:
                hooks.enter_context(_register(block, kind, function))
        yield


def _parse(site: str, n_layers: int, model: PreTrainedModel) -> tuple[int, str]:
    match = _SITE.fullmatch(site)
    if match is None or int(match[1]) >= n_layers:
        raise UnknownHookError(
            f"no activation is called '{site}'; {name_of(model)} has blocks.0 to blocks.{n_layers - 1}\n"
            f"Give blocks.LAYER.hook_resid_pre, hook_resid_mid or hook_resid_post"
        )
    return int(match[1]), match[2]


def _register(block: nn.Module, kind: str, function: VisitFn) -> RemovableHandle:
    def before(_block: nn.Module, arguments: tuple) -> tuple | None:
        changed = function(arguments[0])
        return None if changed is None else (changed, *arguments[1:])

    def after(_block: nn.Module, _arguments: tuple, output: Resid | tuple | list) -> Resid | tuple | list | None:
        return _with_stream(output, function(_stream(output)))

    return block.register_forward_pre_hook(before) if kind == "resid_pre" else block.register_forward_hook(after)


def _stream(output: Resid | tuple | list) -> Resid:
    """Some blocks give a tuple (GPT-J) or a list (GPT-1) that begins with the stream."""
    return output if isinstance(output, Tensor) else output[0]


def _with_stream(output: Resid | tuple | list, changed: Resid | None) -> Resid | tuple | list | None:
    return changed if changed is None or isinstance(output, Tensor) else type(output)([changed, *output[1:]])


def _register_mid(block: nn.Module, reader: nn.Module, function: VisitFn) -> list[RemovableHandle]:
    """The stream goes past its reader too: what is added for that must be added to the block's output as well."""
    added: list[Resid] = []

    def before(_reader: nn.Module, arguments: tuple) -> tuple | None:
        changed = function(arguments[0])
        if changed is None:
            return None
        added.append(changed - arguments[0])
        return (changed, *arguments[1:])

    def after(_block: nn.Module, _arguments: tuple, output: Resid | tuple | list) -> Resid | tuple | list | None:
        return _with_stream(output, _stream(output) + added.pop()) if added else None

    return [reader.register_forward_pre_hook(before), block.register_forward_hook(after)]


def _reader(block: nn.Module, name: str | None, site: str) -> nn.Module:
    if name is None:
        raise UnknownHookError(
            f"no activation is called '{site}': nothing in {type(block).__name__} reads the stream between what "
            f"attention adds and what the MLP adds\nGive hook_resid_pre or hook_resid_post"
        )
    return block.get_submodule(name)
