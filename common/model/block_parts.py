"""Which modules of a block add to the residual stream, proven on numbers (common/model/traces.py) and not on names.

1. A *branch* is a module whose output w, times one number c (Granite scales), is added to the stream: of several that
   write the same w the last one, which is the outermost.
2. One after the other: the stream m = resid_pre + c a is what a direct child of the block reads, and
   resid_post = m + c w. Then m is resid_mid, a is attention's (or what stands in its place: a convolution, a
   recurrence), w the MLP's.
3. Side by side (GPT-J, Phi, Falcon): resid_post = resid_pre + c (a + w), with no resid_mid. Attention's is the one
   whose output at a position depends on other positions.
4. The *norm* before the MLP is what reads m, or, side by side, what reads resid_pre and writes what the MLP reads,
   where its output is the normalised stream times a gain plus a bias, each one number a dimension.
5. Where nothing fits the block has no such part: post-norm blocks (OPT-350m), blocks with one branch (Mamba), MLPs
   that read the stream itself (OLMo-2).
"""

import functools
import itertools
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.model.traces import BlockTrace

Stream = Float[Tensor, "pos d_model"]
Written = dict[str, Stream]

ROUNDINGS = 4  # of three numbers and their sum
ROUNDINGS_OF_NORM = 32  # in float32, of a sum over d_model
UNEXPLAINED = 0.5  # of what is added: in 16 bits, rounding of a long stream hides what a short branch adds
NO_SCALE = 1e-3  # from 1: nobody scales by so little, and in 16 bits the sum says no more
MOVED = 0.01  # share of a branch's output at other positions that follows position 0
AS_GOOD = 2  # times the least error: in 16 bits several epsilons may fit, of which the most usual is taken
USUAL_EPSILONS = 1e-5, 1e-6, 1e-8, 1e-12  # of norms that hold theirs in their code (OLMo)


@dataclass(frozen=True)
class Branch:
    """What `module` writes, times `scale`, is added to the stream."""

    module: str
    scale: float


@dataclass(frozen=True)
class Sum:
    """What the stream became by `scale` times what the modules `of` wrote, `exact` to the last bit."""

    of: tuple[str, ...]
    scale: float
    exact: bool


@dataclass(frozen=True)
class Norm:
    """x / sqrt(mean(x^2) + eps), of x - mean(x) where `centred` (LayerNorm), and then gain and bias."""

    module: str
    centred: bool
    eps: float

    def normalized(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Before gain and bias, in float32."""
        x = x.float()
        if self.centred:
            x = x - x.mean(-1, keepdim=True)
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


@dataclass(frozen=True)
class BlockParts:
    """Names of modules in a block; None for what it has not. `reads_mid` reads resid_mid."""

    reads_mid: str | None = None
    attn: Branch | None = None
    mlp: Branch | None = None
    mlp_norm: Norm | None = None


def parts_of_block(block: nn.Module, trace: BlockTrace) -> BlockParts:
    """All that the trace of one pass shows of the block."""
    if trace.resid_pre is None or trace.resid_post is None or trace.resid_pre.shape != trace.resid_post.shape:
        return BlockParts()
    pre, post = trace.resid_pre[0], trace.resid_post[0]
    written = {name: both[0] for name, both in trace.written.items() if both[0].shape == pre.shape}
    read = {name: both[0] for name, both in trace.read.items() if both[0].shape == pre.shape}
    if serial := _one_after_the_other(pre, post, read, written):
        name, attn, mlp = serial
        return BlockParts(name, attn, mlp, _norm(name, block.get_submodule(name), read[name], written.get(name)))
    if parallel := _side_by_side(pre, post, trace, written):
        attn, mlp = parallel
        name = _norm_before(mlp, pre, read, written)
        norm = None if name is None else _norm(name, block.get_submodule(name), pre, written[name])
        return BlockParts(None, attn, mlp, norm)
    return BlockParts()


def _one_after_the_other(
    pre: Stream, post: Stream, read: Written, written: Written
) -> tuple[str, Branch, Branch] | None:
    """The one direct child of the block that reads resid_mid, and both branches; None where none does, or several.

    In 16 bits, others may seem to but for rounding: then what adds up to the last bit counts.
    """
    candidates = []
    for name, mid in read.items():
        if not torch.equal(mid, pre) and not torch.equal(mid, post):
            attn, mlp = _best(pre, mid, written, 1), _best(mid, post, written, 1)
            if attn and mlp:
                candidates.append((attn.exact and mlp.exact, name, attn, mlp))
    candidates = [one for one in candidates if one[0]] or candidates
    if len(candidates) != 1:
        return None
    _, name, attn, mlp = candidates[0]
    return name, Branch(attn.of[0], attn.scale), Branch(mlp.of[0], mlp.scale)


def _side_by_side(pre: Stream, post: Stream, trace: BlockTrace, written: Written) -> tuple[Branch, Branch] | None:
    """Attention's branch and the MLP's; None where no pair of modules adds up, or neither looks at other positions."""
    distinct: Written = {}
    for name, write in written.items():
        same = [other for other, kept in distinct.items() if torch.equal(kept, write)]
        distinct = {other: kept for other, kept in distinct.items() if other not in same} | {name: write}
    if (pair := _best(pre, post, distinct, 2)) is None:
        return None
    looking = [name for name in pair.of if _looks_elsewhere(trace.written[name])]
    if not looking:
        return None
    attn = looking[0]  # of two that look the first, whose output the other reads
    mlp = next(name for name in pair.of if name != attn)
    return Branch(attn, pair.scale), Branch(mlp, pair.scale)


def _best(stream: Stream, total: Stream, written: Written, n_modules: int) -> Sum | None:
    """The last that many modules which, times one number, add up to `total`: to the last bit, where any do."""
    if torch.equal(stream, total):
        return None
    sums = []
    for names in itertools.combinations(written, n_modules):
        writes = [written[name] for name in names]
        if (scale := _scale(stream, total, writes)) is not None:
            sums.append(Sum(names, scale, _adds_up(stream, total, writes, scale)))
    return next(reversed([one for one in sums if one.exact] or sums), None)


def _adds_up(stream: Stream, total: Stream, writes: list[Stream], scale: float) -> bool:
    """Whether total = stream + scale (sum of writes) to the last bit, whichever two are added first."""
    scaled = [write * scale for write in writes]
    orders = [[stream, *scaled], [stream, *reversed(scaled)], [*scaled, stream]]
    return any(torch.equal(functools.reduce(torch.add, order), total) for order in orders)


def _scale(stream: Stream, total: Stream, writes: list[Stream]) -> float | None:
    """The number c for which total = stream + c (sum of writes), but for rounding; None where there is none.

    In 16 bits the sum leaves c uncertain: of the numbers that give it to the last bit the shortest decimal is taken.
    """
    if _adds_up(stream, total, writes, 1.0):
        return 1.0
    both = torch.stack(writes).double()
    wide, sizes = both.sum(0), both.abs().sum(0)
    added = total.double() - stream.double()
    scale = ((added * wide).sum() / (wide * wide).sum().clamp(min=1e-300)).item()
    missed = (added - scale * wide).abs()
    bound = ROUNDINGS * torch.finfo(total.dtype).eps * (stream.abs() + abs(scale) * sizes + total.abs())
    if not (missed <= bound).all() or missed.norm() > UNEXPLAINED * added.norm():
        return None
    if abs(scale - 1) < NO_SCALE:
        return 1.0
    near = itertools.product(range(1, 10), (0, 1, -1, 2, -2))
    decimals = (round(scale + steps / 10**digits, digits) for digits, steps in near)
    return next((one for one in decimals if _adds_up(stream, total, writes, one)), scale)


def _looks_elsewhere(both: Float[Tensor, "rows pos d_model"]) -> bool:
    """Whether the output behind position 0 depends on position 0, in which alone the two rows' inputs differ."""
    if len(both) != 2:
        return False
    first, second = both[:, 1:].double()
    return bool((first - second).norm() > MOVED * first.norm())


def _norm_before(mlp: Branch, pre: Stream, read: Written, written: Written) -> str | None:
    """Side by side: the child that reads resid_pre and writes what the MLP reads, the last where several write that."""
    same = [name for name, write in written.items() if torch.equal(write, written[mlp.module])]
    inputs = [read[child] for child in {name.partition(".")[0] for name in same} if child in read]
    writers = [name for name in written if name in read and torch.equal(read[name], pre)]
    norms = [name for name in writers if any(torch.equal(written[name], one) for one in inputs)]
    return norms[-1] if norms else None


def _norm(name: str, module: nn.Module, x: Stream, wrote: Stream | None) -> Norm | None:
    """The norm that the module is; None where what it wrote is not the normalised stream times a gain plus a bias."""
    if wrote is None:
        return None
    epsilons = [value for value in vars(module).values() if isinstance(value, float)]
    norms = [Norm(name, centred, eps) for centred in (False, True) for eps in epsilons or USUAL_EPSILONS]
    misfits = [_misfit(norm.normalized(x).double(), wrote) for norm in norms]
    if not min(misfits) <= 1:  # nan is none
        return None
    return next(norm for norm, misfit in zip(norms, misfits, strict=True) if misfit <= AS_GOOD * min(misfits))


def _misfit(normalized: Stream, wrote: Stream) -> float:
    """The largest error of the best gain and bias of each dimension, in units of what rounding explains."""
    target, mean = wrote.double(), normalized.mean(0)
    centred = normalized - mean
    gain = (centred * target).sum(0) / centred.pow(2).sum(0).clamp(min=1e-300)
    bias = target.mean(0) - gain * mean
    epsilon = ROUNDINGS * torch.finfo(wrote.dtype).eps + ROUNDINGS_OF_NORM * torch.finfo(torch.float32).eps
    sizes = ((gain * normalized).abs() + bias.abs() + target.abs()).amax(0)
    return ((target - gain * normalized - bias).abs() / (epsilon * sizes).clamp(min=1e-30)).max().item()
