"""Read and change a Hugging Face decoder at the sites that common/model/sites.py names, in any architecture.

    with torch.inference_mode(), read_sites(model, ["blocks.3.hook_resid_post"], take, stop=True):
        model(input_ids=ids)

resid_post of a block equals `hidden_states[layer + 1]` of transformers, except for the last block, where that entry is
already normalised: so activations are always read with hooks. What else a block has (resid_mid, attention's output and
the MLP's, the norm before the MLP) is found out in one pass, on numbers (common/model/block_parts.py).

Contexts nest. At one site they act in the order in which they were opened: what is read inside sees what was changed
outside. A transcoder takes the MLP's place so:

    with read_sites(model, ["blocks.3.ln2.hook_normalized"], keep), change_sites(model, {"blocks.3.hook_mlp_out": put}):
"""

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
from common.model.block_parts import BlockParts, Branch, Norm, parts_of_block
from common.model.projections import Projections, projections_of_blocks
from common.model.sites import (
    ATTN_OUT,
    HEADS,
    KINDS,
    MLP_NORMALIZED,
    MLP_OUT,
    NEURONS,
    RESID_MID,
    RESID_POST,
    RESID_PRE,
    parsed,
)
from common.model.traces import BlockTrace, traced, two_rows

Activations = Float[Tensor, "batch pos d_model"]
TakeFn = Callable[[str, Activations], None]
ChangeFn = Callable[[Activations], Activations | None]  # None leaves them
VisitFn = ChangeFn
Output = Tensor | tuple | list  # a block or a module may give a tuple (GPT-J) or a list (GPT-1) around it

_PARTS: weakref.WeakKeyDictionary[nn.Module, list[BlockParts]] = weakref.WeakKeyDictionary()
_PROJECTIONS: weakref.WeakKeyDictionary[nn.Module, list[Projections]] = weakref.WeakKeyDictionary()
_LACKING = {
    RESID_MID: "reads the stream between what attention adds and what the MLP adds",
    ATTN_OUT: "writes by itself what attention adds to the stream",
    MLP_OUT: "writes by itself what the MLP adds to the stream",
    MLP_NORMALIZED: "normalises the stream for the MLP, but for a gain and a bias",
    HEADS: "is the one product behind the heads that makes all that attention adds to the stream",
    NEURONS: "is the one product behind the neurons that makes all that the MLP adds to the stream",
}


class _PassEnds(Exception):
    """What stops a pass; it never leaves `read_sites`."""


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


def parts_of_blocks(model: PreTrainedModel, traces: list[BlockTrace] | None = None) -> list[BlockParts]:
    """What each block has between its input and its output.

    Found once for a model, in the `traces` of a pass; unless given, a pass over eight tokens is made.
    """
    if model not in _PARTS:
        blocks = decoder_blocks(model)
        if traces is None:
            with traced(blocks) as traces:
                _pass_over_eight_tokens(model)
        _PARTS[model] = [parts_of_block(block, trace) for block, trace in zip(blocks, traces, strict=True)]
    return _PARTS[model]


def projections_in_blocks(model: PreTrainedModel) -> list[Projections]:
    """The product in each block that reads the heads, and the one that reads the neurons; found once for a model."""
    if model not in _PROJECTIONS:
        parts = parts_of_blocks(model)
        projections = projections_of_blocks(decoder_blocks(model), parts, lambda: _pass_over_eight_tokens(model))
        _PROJECTIONS[model] = projections
    return _PROJECTIONS[model]


def _pass_over_eight_tokens(model: PreTrainedModel) -> None:
    table = embeddings_of(model)
    ids = (torch.arange(1, 9, device=table.weight.device) * table.num_embeddings // 9)[None]
    with torch.inference_mode():
        model.get_decoder()(input_ids=two_rows(ids), use_cache=False)


@contextmanager
def read_sites(model: PreTrainedModel, sites: list[str], take: TakeFn, *, stop: bool = False) -> Iterator[None]:
    """Call `take(site, activations)` in every forward pass while the block is open.

    `activations` [batch, pos, d_model] are what the model goes on with, not copied, at hook_resid_*; a copy elsewhere,
    in float32 at ln2.hook_normalized.
    `stop` ends the pass, and with it this `with` block, behind the deepest block that is asked for: nothing after it is
    computed, neither in the model nor in the `with` block.
    Raises: UnknownHookError, naming the sites there are, when one is misspelt: a wrong name must never become a
    measurement of nothing.
    """

    def reading(site: str) -> VisitFn:
        def read(activations: Activations) -> None:
            take(site, activations)

        return read

    with _hooked(model, {site: reading(site) for site in sites}) as layers:
        if not stop:
            yield
            return
        ends = _PassEnds()

        def end(_block: nn.Module, _arguments: tuple, _output: Output) -> None:
            raise ends

        with decoder_blocks(model)[max(layers)].register_forward_hook(end):
            try:
                yield
            except _PassEnds as raised:
                if raised is not ends:
                    raise
                raised.__traceback__ = None  # its frames hold what the pass had computed


@contextmanager
def change_sites(model: PreTrainedModel, changes: Mapping[str, ChangeFn]) -> Iterator[None]:
    """Replace the activations at each site by `changes[site](activations)` in every forward pass while this is open.

    What follows computes with them, the sum that the block's output is made of included.
    Raises: UnknownHookError, as `read_sites`, and for ln2.hook_normalized, which can only be read.
    """
    for site in changes:
        if site.endswith(MLP_NORMALIZED):
            raise UnknownHookError(f"'{site}' can be read, not changed\nChange hook_mlp_out, or hook_resid_mid")
    with _hooked(model, changes):
        yield


@contextmanager
def _hooked(model: PreTrainedModel, functions: Mapping[str, VisitFn]) -> Iterator[list[int]]:
    """Call `functions[site](activations)` in every pass; what it returns takes their place, None leaves them.

    Gives the layers of the sites.
    """
    blocks = decoder_blocks(model)
    places = {site: _place(site, len(blocks), model) for site in functions}
    finding = any(kind in _LACKING for _, kind in places.values())
    parts = parts_of_blocks(model) if finding else [BlockParts()] * len(blocks)
    products = any(kind in (HEADS, NEURONS) for _, kind in places.values())
    projections = projections_in_blocks(model) if products else [Projections()] * len(blocks)
    with ExitStack() as hooks:
        for site, (layer, kind) in places.items():
            part = _part(parts[layer], projections[layer], kind)
            for hook in _register(blocks[layer], part, site, kind, functions[site]):
                hooks.enter_context(hook)
        yield [layer for layer, _ in places.values()]


def _place(site: str, n_layers: int, model: PreTrainedModel) -> tuple[int, str]:
    place = parsed(site)
    if place is None or place[0] >= n_layers or place[1] not in KINDS:
        raise UnknownHookError(
            f"no activation is called '{site}'; {name_of(model)} has blocks.0 to blocks.{n_layers - 1}\n"
            f"Give blocks.LAYER. and one of {', '.join(KINDS)}"
        )
    return place


def _part(parts: BlockParts, projections: Projections, kind: str) -> Branch | Norm | str | None:
    """What of a block a site is at; None for the block itself, and where there is no such part."""
    known = {RESID_MID: parts.reads_mid, ATTN_OUT: parts.attn, MLP_OUT: parts.mlp, MLP_NORMALIZED: parts.mlp_norm}
    return {**known, HEADS: projections.attn, NEURONS: projections.mlp}.get(kind)


def _register(
    block: nn.Module, part: Branch | Norm | str | None, site: str, kind: str, function: VisitFn
) -> list[RemovableHandle]:
    if kind == RESID_PRE:
        return [_before(block, function)]
    if kind == RESID_POST:
        return [visited_after(block, function)]
    if part is None:
        raise UnknownHookError(
            f"no activation is called '{site}': nothing in {type(block).__name__} {_LACKING[kind]}\n"
            f"Give {RESID_PRE} or {RESID_POST}"
        )
    shape = _ShapeOfStream()
    noting = block.register_forward_pre_hook(shape.note)
    if isinstance(part, Branch):
        return [noting, visited_after(block.get_submodule(part.module), shape.shown_to(_scaled(function, part.scale)))]
    if isinstance(part, Norm):
        return [noting, _before(block.get_submodule(part.module), shape.shown_to(_normalized(function, part)))]
    module = block.get_submodule(part)
    if kind != RESID_MID:
        return [noting, _before(module, shape.shown_to(function))]
    return [noting, *_register_mid(block, module, shape.shown_to(function))]


def _before(module: nn.Module, function: VisitFn) -> RemovableHandle:
    def before(_module: nn.Module, arguments: tuple) -> tuple | None:
        changed = function(arguments[0])
        return None if changed is None else (changed, *arguments[1:])

    return module.register_forward_pre_hook(before)


def visited_after(module: nn.Module, function: VisitFn, *, first: bool = False) -> RemovableHandle:
    """Call `function` on the stream that a module gives, before other hooks where it is `first`; see `read_sites`."""

    def after(_module: nn.Module, _arguments: tuple, output: Output) -> Output | None:
        return _with_stream(output, function(_stream(output)))

    return module.register_forward_hook(after, prepend=first)


def _stream(output: Output) -> Tensor:
    return output if isinstance(output, Tensor) else output[0]


def _with_stream(output: Output, changed: Tensor | None) -> Output | None:
    return changed if changed is None or isinstance(output, Tensor) else type(output)([changed, *output[1:]])


def _register_mid(block: nn.Module, reader: nn.Module, function: VisitFn) -> list[RemovableHandle]:
    """The stream goes past its reader too: what is added for that must be added to the block's output as well."""
    added: list[Tensor] = []

    def before(_reader: nn.Module, arguments: tuple) -> tuple | None:
        changed = function(arguments[0])
        if changed is None:
            return None
        added[:] = [changed - arguments[0]]
        return (changed, *arguments[1:])

    def after(_block: nn.Module, _arguments: tuple, output: Output) -> Output | None:
        stream = _stream(output)
        return _with_stream(output, stream + added.pop().reshape(stream.shape)) if added else None

    # First of the block's hooks, so that those on its output, opened earlier, see it.
    return [reader.register_forward_pre_hook(before), block.register_forward_hook(after, prepend=True)]


def _scaled(function: VisitFn, scale: float) -> VisitFn:
    """`function` of what a branch adds to the stream, which is its output times `scale`."""

    def visit(output: Activations) -> Activations | None:
        changed = function(output * scale)  # never the output itself: what follows may add to it in place (Falcon)
        return None if changed is None else changed / scale

    return visit


def _normalized(function: VisitFn, norm: Norm) -> VisitFn:
    return lambda stream: function(norm.normalized(stream))


class _ShapeOfStream:
    """Some modules read and write rows of tokens, [batch * pos, d_model] (OPT): functions see them as the stream is."""

    def note(self, _block: nn.Module, arguments: tuple) -> None:
        self._shape = arguments[0].shape

    def shown_to(self, function: VisitFn) -> VisitFn:
        def visit(rows: Tensor) -> Tensor | None:
            changed = function(rows.reshape(*self._shape[:-1], rows.shape[-1]))
            return None if changed is None else changed.reshape(rows.shape)

        return visit
