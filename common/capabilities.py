"""What a model can do, found out by doing it, once, on a few tokens, when it is loaded.

1. Two rows, one padded on its left, are read with a hook on every block: are the blocks' inputs and outputs the
   residual stream, and is it what transformers calls hidden states?
2. The padded row is read alone: does it come out the same without its padding?
3. Both rows are read but for their last tokens, one is taken from the cache and reads its last token: does it come
   out the same as in one pass?

What a model lacks is an error only for what needs it: `require`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import AssetError, ConfigError
from common.forward import new_cache, next_token_logits, select_rows
from common.hooks import decoder_blocks, read_resid, readers_of_resid_mid, resid_post_site
from common.resid_mid import BlockTrace, first_tensor, traced
from common.tokenization import encode, tokens_in_front

if TYPE_CHECKING:
    from common.models import LanguageModel

PROBE = "def add_one(x):\n    return x + 1  # Adds one.\n"
N_LONG, N_SHORT = 9, 6  # tokens of the two rows
CLOSE = {"float32": 1e-3}  # relative; between passes of another shape
CLOSE_16_BIT = 0.1
# What models raise when they are run as they were not made to be. Lack of memory is none of these.
_FAILURES = (AttributeError, TypeError, ValueError, KeyError, IndexError, NotImplementedError, AssertionError,
             RuntimeError)  # fmt: skip

RESID_PRE, RESID_MID, RESID_POST = "resid_pre", "resid_mid", "resid_post"
PADDING, CACHE, ATTENTION = "padding", "cache", "attention"
NEEDS = {
    RESID_PRE: "the residual stream at the input of every block",
    RESID_MID: "the residual stream between attention and MLP of every block",
    RESID_POST: "the residual stream at the output of every block",
    PADDING: "rows of one batch that do not depend on their padding",
    CACHE: "a cache that goes on where it ended, whatever rows stay",
    ATTENTION: "the attention weights of every block",
}


@dataclass(frozen=True)
class AttentionSource:
    """The module, by its name in the block, whose output holds the weights [batch, heads, queries, keys]; and where."""

    module: str
    index: int


@dataclass(frozen=True)
class Capabilities:
    """`lacks` says why, for each of NEEDS that the model does not meet.

    `in_front` are the tokens that stand before every text: one BOS, in most models that have one. `resid_mid` and
    `attention` name for each block the child that reads the stream there, and the module that gives attention weights.
    """

    name: str
    lacks: dict[str, str]
    in_front: tuple[int, ...] = ()
    resid_mid: tuple[str | None, ...] = ()
    attention: tuple[AttentionSource | None, ...] = field(default=())

    def require(self, needed_by: str, *needs: str) -> None:
        """`needed_by` begins the message: "phase 3.4". Raises: ConfigError naming everything that is lacking."""
        lacking = [f"{NEEDS[need]} ({self.lacks[need]})" for need in needs if need in self.lacks]
        if lacking:
            raise ConfigError(
                f"{needed_by} needs what {self.name} does not have: {'; '.join(lacking)}\n"
                f"Leave it out for this model, or give another --model"
            )
