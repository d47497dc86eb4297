"""Where a block reads the residual stream between attention and MLP, proven on numbers and not on names.

1. One pass over a few tokens keeps what every module of every block reads and writes.
2. The stream m is what a direct child of the block reads, where m = resid_pre + c a, with a written by a module of the
   block (attention's branch) and c one number (Granite scales), and resid_post = m + c w, with w written by another
   (the MLP's branch).
3. Where no child reads such an m the block has no resid_mid: parallel blocks (GPT-J, Phi, Falcon), post-norm blocks
   (OPT-350m), blocks with one branch (Mamba).
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

Stream = Float[Tensor, "batch pos d_model"]
ROUNDINGS = 4  # of three numbers and their sum


@dataclass
class BlockTrace:
    """What a block and its modules read and wrote in one pass, [batch, pos, d_model], copied to the processor."""

    resid_pre: Tensor | None = None
    resid_post: Tensor | None = None
    read: dict[str, Tensor] = field(default_factory=dict)  # by direct child
    written: list[Tensor] = field(default_factory=list)


def first_tensor(values: object) -> Tensor | None:
    """The tensor, or the first of a tuple: what a block or a module hands on as the stream."""
    while isinstance(values, tuple | list) and values:
        values = values[0]
    return values if isinstance(values, Tensor) else None


@contextmanager
def traced(blocks: nn.ModuleList) -> Iterator[list[BlockTrace]]:
    """Fill a trace for each block in the pass that is made while this is open."""
    traces = [BlockTrace() for _ in blocks]

    def take(values: object, keep: Callable[[Tensor], object]) -> None:
        tensor = first_tensor(values)
        if tensor is not None and tensor.dim() == 3:
            keep(tensor.detach().clone().cpu())  # what follows may add to it in place

    def reads(keep: Callable[[Tensor], object]) -> Callable[[nn.Module, Any], None]:
        return lambda _module, read: take(read, keep)

    def writes(keep: Callable[[Tensor], object]) -> Callable[[nn.Module, Any, Any], None]:
        return lambda _module, _read, out: take(out, keep)

    with ExitStack() as hooks:
        for block, trace in zip(blocks, traces, strict=True):
            hooks.enter_context(block.register_forward_pre_hook(reads(partial(setattr, trace, "resid_pre"))))
            hooks.enter_context(block.register_forward_hook(writes(partial(setattr, trace, "resid_post"))))
            for name, child in block.named_children():
                hooks.enter_context(child.register_forward_pre_hook(reads(partial(trace.read.setdefault, name))))
            for module in list(block.modules())[1:]:
                hooks.enter_context(module.register_forward_hook(writes(trace.written.append)))
        yield traces


def reader_of_resid_mid(trace: BlockTrace) -> str | None:
    """The one direct child of the block that reads resid_mid; None where there is none, or where several do."""
    if trace.resid_pre is None or trace.resid_post is None or trace.resid_pre.shape != trace.resid_post.shape:
        return None
    pre, post = trace.resid_pre[0], trace.resid_post[0]  # other rows may be padded
    written = [tensor[0] for tensor in trace.written if tensor[0].shape == pre.shape]
    read = {name: tensor[0] for name, tensor in trace.read.items() if tensor[0].shape == pre.shape}
    inner = {name: mid for name, mid in read.items() if not torch.equal(mid, pre) and not torch.equal(mid, post)}
    after_pre = {name: mid for name, mid in inner.items() if any(_adds_up(pre, write, mid) for write in written)}
    found = [name for name, mid in after_pre.items() if any(_adds_up(mid, write, post) for write in written)]
    return found[0] if len(found) == 1 else None


def _adds_up(stream: Stream, write: Stream, total: Stream) -> bool:
    """Whether total = stream + c write for one number c, but for rounding."""
    if torch.equal(stream + write, total):
        return True
    epsilon = torch.finfo(total.dtype).eps
    stream, write, total = stream.double(), write.double(), total.double()
    added = total - stream
    scaled = write * ((added * write).sum() / (write * write).sum().clamp(min=1e-300))
    bound = ROUNDINGS * epsilon * (stream.abs() + scaled.abs() + total.abs())
    return bool(((added - scaled).abs() <= bound).all())
