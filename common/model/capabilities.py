"""What a model can do, found out by doing it, once, on a few tokens, when it is loaded.

1. A row is read with a hook on every block: does each block read what the one before wrote, and is there a stream
   between its attention and its MLP?
2. It is read again but for its last token, padded on its left beside a longer row; that leaves the batch, and the
   last token is read: does it come out the same?
3. Only if not: does the padding alone make a difference?

What a model lacks is an error only for what needs it: `require`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import AssetError, ConfigError
from common.model.forward import new_cache, next_token_logits, select_rows
from common.model.hooks import decoder_blocks, parts_of_blocks, read_sites
from common.model.language_model import LanguageModel
from common.model.sites import resid_post_site
from common.model.tokenization import encode, tokens_in_front
from common.model.traces import BlockTrace, traced, two_rows

PROBE = "def add_one(x):\n    return x + 1  # Adds one.\n"
LENGTHS = 9, 6  # tokens of the two rows
CLOSE = {"float32": 1e-3}  # relative; between passes of another shape
CLOSE_16_BIT = 0.1
# What models raise when they are run as they were not made to be. Lack of memory is none of these.
FAILURES = (AttributeError, TypeError, ValueError, KeyError, IndexError, AssertionError, RuntimeError)

RESID_PRE, RESID_MID, RESID_POST = "resid_pre", "resid_mid", "resid_post"
PADDING, CACHE = "padding", "cache"
NEEDS = {
    RESID_PRE: "the residual stream at the input of every block",
    RESID_MID: "the residual stream between attention and MLP of every block",
    RESID_POST: "the residual stream at the output of every block",
    PADDING: "rows of one batch that do not depend on their padding",
    CACHE: "a cache that goes on where it ended, whatever rows stay",
}
NEEDED_BY_ALL = (RESID_POST, PADDING, CACHE)

Streams = Float[Tensor, "n_layers pos d_model"]
Attempt = Callable[[LanguageModel, Tensor, Tensor], Streams]


@dataclass(frozen=True)
class Capabilities:
    """`lacks` says why, for each of NEEDS that the model does not meet.

    `in_front` are the tokens that stand before every text: one BOS, in most models that have one.
    """

    name: str
    lacks: dict[str, str]
    in_front: tuple[int, ...]

    def require(self, needed_by: str, *needs: str) -> None:
        """`needed_by` begins the message: "phase 3.4". Raises: ConfigError naming everything that is lacking."""
        lacking = [f"{NEEDS[need]} ({self.lacks[need]})" for need in needs if need in self.lacks]
        if lacking:
            raise ConfigError(
                f"{needed_by} needs what {self.name} does not have: {'; '.join(lacking)}\n"
                f"Leave it out for this model, or give another --model"
            )


def find_capabilities(lm: LanguageModel) -> Capabilities:
    """Run the model on a few tokens. Raises: AssetError for one that has no blocks, or cannot read tokens at all."""
    blocks = decoder_blocks(lm.model)
    ids, mask = _left_padded(lm, [row[:n] for row, n in zip(encode(lm, [PROBE, PROBE[4:]]), LENGTHS, strict=True)])
    both = two_rows(ids[1:, mask[1].bool()])
    with torch.inference_mode():
        try:
            with traced(blocks) as traces:
                next_token_logits(lm, both, torch.ones_like(both), None)
        except torch.OutOfMemoryError:
            raise
        except FAILURES as error:
            raise AssetError(
                f"{lm.name} ({type(lm.model).__name__}) cannot read a row of tokens: {_first_line(error)}\n"
                f"Give a --model that reads text alone and writes it on, like Llama or GPT-2"
            ) from error
        _check_numbers(lm, traces)
        lacks = _streams(traces, (*both.shape, lm.d_model))
        if RESID_POST not in lacks:
            expected = torch.stack([trace.resid_post[0] for trace in traces if trace.resid_post is not None])
            if why := _differs(lm, _go_on_from_cache, ids, mask, expected):
                lacks[CACHE] = why
                if why := _differs(lm, _read_padded, ids, mask, expected):
                    lacks[PADDING] = why
    if any(parts.reads_mid is None for parts in parts_of_blocks(lm.model, traces)):
        lacks[RESID_MID] = "no part of a block reads it by itself"
    return Capabilities(lm.name, lacks, tuple(tokens_in_front(lm.tokenizer)))


def _check_numbers(lm: LanguageModel, traces: list[BlockTrace]) -> None:
    """Raises: AssetError where a block writes NaN or infinity."""
    for layer, trace in enumerate(traces):
        if trace.resid_post is not None and not trace.resid_post[0].isfinite().all():
            raise AssetError(
                f"block {layer} of {lm.name} writes numbers that are not finite in {lm.dtype}: its weights are "
                f"damaged, or too large for this number type\nGive another --dtype (float32 holds most), or --model"
            )


def _streams(traces: list[BlockTrace], shape: tuple[int, ...]) -> dict[str, str]:
    """What is wrong with the inputs and outputs of the blocks, which should be of `shape`; by site."""
    for layer, trace in enumerate(traces):
        for stream in (trace.resid_pre, trace.resid_post):
            if stream is None or stream.shape != shape:
                handed_on = "nothing" if stream is None else list(stream.shape)
                return dict.fromkeys((RESID_PRE, RESID_POST), f"block {layer} hands on {handed_on}, not {list(shape)}")
    for layer, (trace, following) in enumerate(zip(traces, traces[1:], strict=False)):
        wrote, reads = trace.resid_post, following.resid_pre
        assert wrote is not None and reads is not None  # by the loop above
        if not torch.equal(wrote[0], reads[0]):
            reason = f"what block {layer + 1} reads is not what block {layer} wrote"
            return dict.fromkeys((RESID_PRE, RESID_POST), reason)
    return {}


def _differs(lm: LanguageModel, attempt: Attempt, ids: Tensor, mask: Tensor, expected: Streams) -> str:
    """Why another way of reading the second row cannot be used; empty if it gives the same."""
    try:
        streams = attempt(lm, ids, mask)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        return f"transformers says: {_first_line(error)}"
    expected = expected[:, -streams.shape[1] :].float()
    off = (streams.float() - expected).norm(dim=-1) / expected.norm(dim=-1)
    # The median: in 16 bits a rounding may send one token to another expert.
    if off.median() <= CLOSE.get(lm.dtype, CLOSE_16_BIT):
        return ""
    return f"{off.median():.0%} off when tried"


def _read_padded(lm: LanguageModel, ids: Tensor, mask: Tensor) -> Streams:
    """The second row in one pass beside the first."""
    with _kept(lm) as kept:
        next_token_logits(lm, ids, mask, None)
    return torch.stack([resid[1, mask[1].cpu().bool()] for resid in kept])


def _go_on_from_cache(lm: LanguageModel, ids: Tensor, mask: Tensor) -> Streams:
    """The last token of the second row, when the first has left."""
    cache = new_cache(lm)
    next_token_logits(lm, ids[:, :-1], mask[:, :-1], cache)
    select_rows(cache, torch.tensor([1]))
    with _kept(lm) as kept:
        next_token_logits(lm, ids[1:, -1:], mask[1:], cache)
    return torch.stack([resid[0] for resid in kept])


@contextmanager
def _kept(lm: LanguageModel) -> Iterator[list[Tensor]]:
    """The output of every block in the pass made meanwhile, [batch, pos, d_model] on the processor."""
    kept: list[Tensor] = []
    sites = [resid_post_site(layer) for layer in range(lm.n_layers)]
    with read_sites(lm.model, sites, lambda _site, resid: kept.append(resid.cpu())):
        yield kept


def _left_padded(lm: LanguageModel, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[lm.pad_token_id] * (width - len(row)) + row for row in rows], device=lm.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=lm.device)
    return ids, mask


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]
