"""The attention of each block, found by doing: which modules give attention weights, and what they give.

A module of a block that hands on, beside its output, a matrix [batch, heads, pos, pos] of numbers from 0 to 1 that
look back only and add up to 1 or less is the block's attention, whatever it is called. Only eager attention gives its
weights.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import ConfigError
from common.model.eager_attention import eager
from common.model.hooks import decoder_blocks, embeddings_of
from common.model.language_model import LanguageModel

_N_TOKENS = 7  # of the pass that asks


@dataclass(frozen=True)
class Heads:
    """The attention module of each block that has one, by layer; a module may serve several blocks."""

    modules: dict[int, nn.Module]
    n_heads: int

    @property
    def learn_a_sink(self) -> bool:
        """Whether the heads give a learned share of their attention to no token (gpt-oss)."""
        return any(getattr(module, "sinks", None) is not None for module in self.modules.values())


def find_heads(lm: LanguageModel) -> Heads:
    """Ask every block in one pass. Raises: ConfigError where none gives attention weights."""
    attention_of: dict[int, tuple[nn.Module, Tensor]] = {}

    def asking(layer: int) -> Callable:
        def ask(module: nn.Module, _arguments: tuple, output: object) -> None:
            weights = _weights_in(output)
            if weights is not None and layer not in attention_of and _are_attention(weights):
                attention_of[layer] = module, weights

        return ask

    n_ids = embeddings_of(lm.model).num_embeddings
    ids = torch.arange(10, 10 + _N_TOKENS, device=lm.device)[None] % n_ids
    with torch.inference_mode(), eager(lm), ExitStack() as hooks:
        for layer, block in enumerate(decoder_blocks(lm.model)):
            for module in set(block.modules()) - {block}:
                hooks.enter_context(module.register_forward_hook(asking(layer)))
        lm.model.get_decoder()(input_ids=ids, use_cache=False)
    numbers = {weights.shape[1] for _, weights in attention_of.values()}
    if len(numbers) != 1:
        lacks = (
            f"its blocks have different numbers of heads: {sorted(numbers)}"
            if attention_of
            else "none of its blocks does"
        )
        raise ConfigError(
            f"phase 3.4 needs blocks with attention that give their weights, all with as many heads; {lm.name} "
            f"({type(lm.model).__name__}): {lacks}\n"
            f"Leave phase 3.4 out for this model; no other phase needs it"
        )
    return Heads({layer: attention_of[layer][0] for layer in sorted(attention_of)}, numbers.pop())


@contextmanager
def last_rows(heads: Heads) -> Iterator[dict[int, Float[Tensor, "batch heads keys"]]]:
    """By layer, the last position's attention in the pass made meanwhile, filled in when the block closes."""
    rows: list[Tensor] = []

    def take(_module: nn.Module, _arguments: tuple, output: object) -> None:
        weights = _weights_in(output)
        assert weights is not None  # as when the heads were looked for
        rows.append(weights[:, :, -1].float())

    last: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        for module in set(heads.modules.values()):
            hooks.enter_context(module.register_forward_hook(take))
        yield last
        last.update(zip(heads.modules, rows, strict=True))


def _weights_in(output: object) -> Tensor | None:
    """The matrices among what a module hands on."""
    parts = output if isinstance(output, (tuple, list)) else ()
    return next((part for part in parts if isinstance(part, Tensor) and part.ndim == 4), None)


def _are_attention(weights: Tensor) -> bool:
    if tuple(weights.shape[-2:]) != (_N_TOKENS, _N_TOKENS):
        return False
    weights = weights.float()
    looks_ahead = weights.triu(diagonal=1).any()
    return bool(weights.min() >= 0 and weights.sum(-1).max() < 1.05 and not looks_ahead)
