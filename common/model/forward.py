"""A pass of a model over tokens, with a cache, for every architecture of transformers that has one."""

import functools
import inspect
from contextlib import nullcontext
from typing import cast

from jaxtyping import Float, Int
from torch import LongTensor, Tensor
from transformers import Cache, DynamicCache

from common.model.freed_memory import large_tensors_apart
from common.model.language_model import LanguageModel


def new_cache(lm: LanguageModel) -> DynamicCache:
    """An empty cache, with what each kind of layer (attention, sliding window, recurrence) needs."""
    return DynamicCache(config=lm.model.config)


def select_rows(cache: DynamicCache, rows: Int[Tensor, " kept"], behind: int = -1) -> None:
    """Keep these rows of the batch, in this order; a row may be taken twice. Only in the layers behind one, if named.

    `batch_select_indices` is missing where layers have a recurrence (Mamba, LFM2); beam search's reordering is not.
    """
    for layer in cache.layers[behind + 1 :]:
        layer.reorder_cache(cast(LongTensor, rows))


def next_token_logits(
    lm: LanguageModel, ids: Int[Tensor, "called pos"], mask: Int[Tensor, "called all_pos"], cache: Cache | None
) -> Float[Tensor, "batch d_vocab"]:
    """Logits of the token after `ids`, which follow what the cache holds and enter it.

    `mask` covers both, 0 where a row is padded on its left. As many rows as the model is called on, unless they part
    in it (common/model/parting.py).
    """
    return _logits(lm, ids, mask, cache, 1)[:, -1]


def logits_of_every_token(
    lm: LanguageModel, ids: Int[Tensor, "called pos"], mask: Int[Tensor, "called all_pos"], cache: Cache | None
) -> Float[Tensor, "batch pos d_vocab"]:
    """The same after each of `ids`, which may be padded on the right too."""
    return _logits(lm, ids, mask, cache, 0)


def logits_of_last_tokens(
    lm: LanguageModel, ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"], n: int
) -> Float[Tensor, "batch n d_vocab"]:
    """Logits after each of the last `n` of `ids`, without a cache: those of long prompts would fill the memory."""
    return _logits(lm, ids, mask, None, n)


def _logits(lm: LanguageModel, ids: Tensor, mask: Tensor, cache: Cache | None, n_kept: int) -> Tensor:
    """Those of the last `n_kept` tokens; of all for 0."""
    n_before = mask.shape[1] - ids.shape[1]
    knows_cache = {"past_key_values": cache, "attention_mask": mask}
    if _calls_it_cache_params(type(lm.model)):  # Mamba: its mask is of the new tokens alone
        knows_cache = {"cache_params": cache, "attention_mask": mask[:, n_before:]}
    fills_cache = cache is not None and n_before == 0
    with large_tensors_apart() if fills_cache and lm.device == "cpu" else nullcontext():
        output = lm.model(
            input_ids=ids,
            position_ids=positions(mask)[:, n_before:],
            use_cache=cache is not None,
            logits_to_keep=n_kept,
            **knows_cache,
        )
    return output.logits


@functools.cache
def _calls_it_cache_params(model_class: type) -> bool:
    return "cache_params" in inspect.signature(model_class.forward).parameters


def positions(mask: Int[Tensor, "batch pos"]) -> Int[Tensor, "batch pos"]:
    """Where each token stands in its row: a plain pass does not see the padding by itself.

    Models that know no positions (BLOOM, Mamba) take no notice of the argument.
    """
    return (mask.cumsum(-1) - 1).clamp(min=0)
