"""Rows of a pass that are alike up to some block: computed once up to there.

Rows that read the same tokens, and are changed at some block in different ways, are one row below it. So the model is
called on one row of each kind. Behind the block its stream gets the rows that come of each, and so does everything that
the model hands to the blocks that follow, where it has rows (masks, rotary embeddings, positions; BLOOM's alibi has one
for each head of each row). Which of it has rows is found out in two passes over three tokens, of one row and of two,
and others are compared with the model: one that parts otherwise, or not at all (GPTBigCode), is left whole.
"""

import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import DynamicCache

from common.model.capabilities import FAILURES
from common.model.forward import new_cache, next_token_logits
from common.model.hooks import decoder_blocks, embeddings_of, visited_after
from common.model.language_model import LanguageModel
from common.model.memory import is_lack_of_memory
from common.model.row_cache import rows_may_join
from common.model.sites import RESID_POST, parsed

Handed = tuple[tuple, dict[str, Any]]  # what a block is called with
_HANDED: weakref.WeakKeyDictionary[nn.Module, list[tuple[Handed, Handed]]] = weakref.WeakKeyDictionary()
_PARTS: weakref.WeakKeyDictionary[nn.Module, bool] = weakref.WeakKeyDictionary()
# Of the largest logit. bfloat16 rounds by a hundredth; another row's logits are as far off as they are large.
LARGEST_MISS = 0.05


def last_shared_layer(lm: LanguageModel, sites: list[str]) -> int:
    """The last block up to whose output changes at `sites` leave all rows alike; -1 where nothing can be shared.

    Nothing is where a layer holds more than keys and values, or those of another layer (Gemma 3n), and in models whose
    rows cannot part. That is found out here, once for a model: nothing may be changed meanwhile.
    """
    config = lm.model.config.get_text_config()
    if not rows_may_join(lm) or getattr(config, "num_kv_shared_layers", 0):
        return -1
    if len(new_cache(lm).layers) != len(decoder_blocks(lm.model)):  # LongCat's blocks have two each
        return -1
    places = [place for place in map(parsed, sites) if place is not None]
    layer = min((layer if kind == RESID_POST else layer - 1 for layer, kind in places), default=-1)
    if layer >= 0 and lm.model not in _PARTS:
        _HANDED[lm.model] = list(zip(*(_handed_for(lm, n) for n in (1, 2)), strict=True))
        _PARTS[lm.model] = _does_part(lm)
    return layer if layer >= 0 and _PARTS[lm.model] else -1


@contextmanager
def rows_part(lm: LanguageModel, layer: int, source: Int[Tensor, " batch"]) -> Iterator[None]:
    """While open, passes are called on one row of each kind, and behind block `layer` hold the rows `source`.

    Row i behind the block comes of row `source[i]` of the call. `layer` is at most `last_shared_layer`. Hooks at the
    block's output see the rows that part.
    """
    blocks, handed = decoder_blocks(lm.model), _HANDED[lm.model]

    def repeated(given: Any, one: Any, two: Any) -> Any:
        if isinstance(given, Tensor):
            has_rows = not (isinstance(one, Tensor) and one.shape[:1] == two.shape[:1])
            whole = given.ndim and given.shape[0] % n_rows[0] == 0  # else it is one for all after all
            return _rows(given, n_rows[0], source) if has_rows and whole else given
        if isinstance(given, dict):
            return {name: repeated(each, one.get(name), two.get(name)) for name, each in given.items()}
        if type(given) in (tuple, list):
            return type(given)(repeated(*each) for each in zip(given, one, two, strict=True))
        return given

    def part(stream: Tensor) -> Tensor:
        n_rows[:] = [len(stream)]
        return _rows(stream, len(stream), source)

    def repeat(at: int) -> Any:
        def change(_block: nn.Module, arguments: tuple, named: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
            one, two = handed[at]
            return (arguments[0], *repeated(arguments[1:], one[0], two[0])), repeated(named, one[1], two[1])

        return change

    n_rows = [0]
    with ExitStack() as hooks:
        hooks.enter_context(visited_after(blocks[layer], part, first=True))
        for at in range(layer + 1, len(blocks)):
            hooks.enter_context(blocks[at].register_forward_pre_hook(repeat(at), prepend=True, with_kwargs=True))
        yield


def _rows(tensor: Tensor, n_rows: int, source: Tensor) -> Tensor:
    """The rows `source`; a row may be several entries of the first axis."""
    each = tensor.shape[0] // n_rows
    return tensor.unflatten(0, (n_rows, each))[source.to(tensor.device)].flatten(0, 1)


def _handed_for(lm: LanguageModel, n_rows: int) -> list[Handed]:
    """What each block is called with beside the stream, in a pass of so many rows."""
    handed: list[Handed] = []

    def note(_block: nn.Module, arguments: tuple, named: dict[str, Any]) -> None:
        kept = {name: None if isinstance(value, DynamicCache) else value for name, value in named.items()}
        handed.append((arguments[1:], kept))

    with ExitStack() as hooks:
        for block in decoder_blocks(lm.model):
            hooks.enter_context(block.register_forward_pre_hook(note, with_kwargs=True))
        _logits_of_three_tokens(lm, n_rows)
    return handed


def _does_part(lm: LanguageModel) -> bool:
    """Whether rows that part are those of the model."""
    return all(_parts_into(lm, torch.tensor(source)) for source in ([1, 0, 1], [1, 0, 0, 1]))


def _parts_into(lm: LanguageModel, source: Int[Tensor, " batch"]) -> bool:
    whole = _logits_of_three_tokens(lm, 2)[source].float()
    try:
        with rows_part(lm, 0, source):
            parted = _logits_of_three_tokens(lm, 2).float()
    except FAILURES as error:
        if is_lack_of_memory(error):
            raise
        return False
    close = LARGEST_MISS * whole.abs().max().item()
    return parted.shape == whole.shape and (parted - whole).abs().max().item() <= close


@torch.inference_mode()
def _logits_of_three_tokens(lm: LanguageModel, n_rows: int) -> Tensor:
    """Rows of different tokens and masks; the first is padded, so that there is a mask."""
    n_vocab = embeddings_of(lm.model).num_embeddings
    ids = (torch.arange(1, 1 + 3 * n_rows, device=lm.device) * n_vocab // 9).view(n_rows, 3)
    mask = torch.ones_like(ids)
    mask[0, 0] = 0
    return next_token_logits(lm, ids, mask, new_cache(lm))
