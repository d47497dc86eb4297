"""What every block of a decoder and the modules in it read and write in one pass over a few tokens.

The pass has two rows of the same tokens. In the second, each block's input is made that of the first but for position
0, where another vector stands: so whatever a part of the block writes at other positions differs between the rows only
where that part looks at other positions, as attention does and an MLP does not.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn


@dataclass
class BlockTrace:
    """Of one pass, [batch, pos, d_model], copied to the processor; by name in the block, as they finished.

    Modules that the block calls more than once are left out: a hook on one would be called for each.
    """

    resid_pre: Tensor | None = None
    resid_post: Tensor | None = None
    read: dict[str, Tensor] = field(default_factory=dict)  # of the block's own children
    written: dict[str, Tensor] = field(default_factory=dict)  # of all modules in it


def first_tensor(values: object) -> Tensor | None:
    """The tensor, or the first of a tuple: what a block or a module hands on as the stream."""
    while isinstance(values, tuple | list) and values:
        values = values[0]
    return values if isinstance(values, Tensor) else None


def two_rows(ids: Tensor) -> Tensor:
    """The batch for a traced pass, of one row of tokens [1, pos]."""
    return ids.expand(2, -1).contiguous()


@contextmanager
def traced(blocks: nn.ModuleList) -> Iterator[list[BlockTrace]]:
    """Fill a trace for each block in the pass that is made while this is open."""
    traces = [BlockTrace() for _ in blocks]
    with ExitStack() as hooks:
        for block, trace in zip(blocks, traces, strict=True):
            hooks.enter_context(block.register_forward_pre_hook(_disturb))
            hooks.enter_context(block.register_forward_pre_hook(partial(_note_block, trace)))
            called: set[str] = set()
            for name, module in list(block.named_modules())[1:]:
                if "." not in name:
                    hooks.enter_context(module.register_forward_pre_hook(_noting_reads(trace, name)))
                hooks.enter_context(module.register_forward_hook(_noting_writes(trace, name, called)))
            hooks.enter_context(block.register_forward_hook(partial(_note_output, trace)))
        yield traces


def _disturb(_block: nn.Module, arguments: tuple) -> tuple | None:
    resid = arguments[0] if arguments else None
    if not isinstance(resid, Tensor) or resid.dim() != 3 or resid.shape[0] != 2:
        return None
    second = resid[0].clone()
    second[0] = -second.sum(0)
    return (torch.stack([resid[0], second]), *arguments[1:])


def _note_block(trace: BlockTrace, _block: nn.Module, arguments: tuple) -> None:
    trace.resid_pre = _kept(arguments, None)


def _note_output(trace: BlockTrace, _block: nn.Module, _arguments: tuple, output: object) -> None:
    trace.resid_post = _kept(output, None)


def _noting_reads(trace: BlockTrace, name: str) -> Callable[[nn.Module, tuple], None]:
    def note(_module: nn.Module, arguments: tuple) -> None:
        if (tensor := _kept(arguments, trace.resid_pre)) is not None:
            trace.read[name] = tensor

    return note


def _noting_writes(trace: BlockTrace, name: str, called: set[str]) -> Callable[[nn.Module, tuple, object], None]:
    def note(_module: nn.Module, _arguments: tuple, output: object) -> None:
        if name in called:
            trace.read.pop(name, None)
            trace.written.pop(name, None)
        elif (tensor := _kept(output, trace.resid_pre)) is not None:
            trace.written[name] = tensor
        called.add(name)

    return note


def _kept(values: object, resid_pre: Tensor | None) -> Tensor | None:
    """A copy of the stream-like tensor among `values`, as what follows may add to it in place.

    Some modules read and write rows of tokens, [batch * pos, d_model] (OPT, mixtures of experts).
    """
    tensor = first_tensor(values)
    if tensor is None:
        return None
    if tensor.dim() == 2 and resid_pre is not None and tensor.shape == (resid_pre[..., 0].numel(), resid_pre.shape[-1]):
        tensor = tensor.reshape(resid_pre.shape)
    return tensor.detach().clone().cpu() if tensor.dim() == 3 else None
