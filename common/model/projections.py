"""The last product of attention and of the MLP in a block, proven by doing: what reads the heads, and the neurons.

1. In one pass it is noted in which order the modules of a block finish. The last product (a linear layer) that writes
   vectors of the stream's width, no later than the module whose output is added to the stream, is the candidate.
2. In a second pass all candidates write zeros. Where the branch then adds the same at every position, nothing reaches
   the stream but through its candidate. So it is neither in a mixture of experts nor where two products are added up.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.model.block_parts import BlockParts, Branch
from common.model.traces import first_tensor

_NAMES = ("attn", "mlp")


@dataclass(frozen=True)
class Projections:
    """Names of modules in a block; None for what it has not."""

    attn: str | None = None
    mlp: str | None = None


@dataclass(frozen=True)
class _Finished:
    """A module that has finished in a pass; whether it is a product that writes vectors of the stream's width."""

    name: str
    is_product: bool


def projections_of_blocks(
    blocks: nn.ModuleList, parts: list[BlockParts], run: Callable[[], object]
) -> list[Projections]:
    """What is found in each block; `run` makes a pass over some tokens, all of them different."""
    with _finishing(blocks) as orders:
        run()
    candidates = [
        Projections(_last_product(order, branches.attn), _last_product(order, branches.mlp))
        for order, branches in zip(orders, parts, strict=True)
    ]
    with _zeroed(blocks, candidates), _written(blocks, parts) as constant:
        run()
    return [
        Projections(*(getattr(one, name) if is_constant[name] else None for name in _NAMES))
        for one, is_constant in zip(candidates, constant, strict=True)
    ]


def _last_product(order: list[_Finished], branch: Branch | None) -> str | None:
    """The last product that has finished when the branch's module has; itself where that is one."""
    if branch is None:
        return None
    names = [one.name for one in order]
    before = order[: names.index(branch.module) + 1]
    return next((one.name for one in reversed(before) if one.is_product), None)


@contextmanager
def _finishing(blocks: nn.ModuleList) -> Iterator[list[list[_Finished]]]:
    """By block, its modules in the order in which they finish in the pass that is made meanwhile."""
    orders: list[list[_Finished]] = [[] for _ in blocks]
    width: list[int] = []

    def noting(order: list[_Finished], name: str) -> Callable:
        def note(module: nn.Module, _arguments: tuple, output: object) -> None:
            written = first_tensor(output)
            is_stream_like = written is not None and written.shape[-1:] == tuple(width)
            order.append(_Finished(name, is_stream_like and _is_product(module)))

        return note

    def note_width(_block: nn.Module, arguments: tuple) -> None:
        width[:] = [arguments[0].shape[-1]]

    with ExitStack() as hooks:
        for block, order in zip(blocks, orders, strict=True):
            hooks.enter_context(block.register_forward_pre_hook(note_width))
            for name, module in list(block.named_modules())[1:]:
                hooks.enter_context(module.register_forward_hook(noting(order, name)))
        yield orders


def _is_product(module: nn.Module) -> bool:
    """A linear layer, whatever its class is called: transformers has one of its own for GPT-2."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)


@contextmanager
def _zeroed(blocks: nn.ModuleList, candidates: list[Projections]) -> Iterator[None]:
    """Every candidate writes zeros meanwhile."""

    def zero(_module: nn.Module, _arguments: tuple, output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    with ExitStack() as hooks:
        for block, one in zip(blocks, candidates, strict=True):
            for name in {one.attn, one.mlp} - {None}:
                hooks.enter_context(block.get_submodule(str(name)).register_forward_hook(zero))
        yield


@contextmanager
def _written(blocks: nn.ModuleList, parts: list[BlockParts]) -> Iterator[list[dict[str, bool]]]:
    """By block and branch, whether it writes the same at every position in the pass that is made meanwhile."""
    constant: list[dict[str, bool]] = [{name: False for name in _NAMES} for _ in blocks]

    def noting(of_block: dict[str, bool], name: str) -> Callable:
        def note(_module: nn.Module, _arguments: tuple, output: object) -> None:
            written = first_tensor(output)
            rows = None if written is None else written.reshape(-1, written.shape[-1])
            of_block[name] = rows is not None and bool((rows == rows[:1]).all())

        return note

    with ExitStack() as hooks:
        for block, of_block, part in zip(blocks, constant, parts, strict=True):
            for name in _NAMES:
                branch = getattr(part, name)
                if branch is not None:
                    module = block.get_submodule(branch.module)
                    hooks.enter_context(module.register_forward_hook(noting(of_block, name)))
        yield constant
