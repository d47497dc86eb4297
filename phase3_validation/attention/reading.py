"""How the last prompt token spreads its attention over the sections of the prompt, unsteered and steered.

1. Steering starts at the last prompt token, so everything before it is read once for all variants; each variant
   then reads the last token alone, on a copy of the cache. (With `steer_prompt` each variant reads the whole prompt.)
2. A hook takes the weights from each block's attention as soon as they are there, sums the last token's row by
   section, and lets them go: one matrix [batch, heads, pos, pos] at a time is in memory, in the pass over the prompts,
   and one row [batch, heads, 1, keys] in all others.
3. Only eager attention gives its weights. Where the model's default is another (Llama, Qwen: sdpa), it is switched,
   and must give the same next-token distribution.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import DynamicCache

from common.errors import ArtifactMismatchError, UnknownHookError
from common.hooks import Resid, change_resid, decoder_blocks
from common.models import LanguageModel
from common.prompts import Prompt
from common.steered_generation import Push
from phase3_validation.attention.sections import SECTIONS, section_of_tokens

TOLERANCE = {"float32": 1e-4}  # of a row's sum; 16-bit weights are each rounded
TOLERANCE_16_BIT = 2e-2
EAGER_AGREES = {"float32": 1e-3}  # largest difference of a log-probability [nats]
EAGER_AGREES_16_BIT = 1.0


def read_attention(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    pushes: Sequence[Push | None],
    layers: Sequence[int],
    *,
    steer_prompt: bool = False,
) -> Float[np.ndarray, "variants batch layers heads sections"]:
    """Attention of the last prompt token to each section, 0 to 1; the sections of a head add up to 1.

    One entry for each of `pushes`: None reads the prompts unsteered. The model must be eager: see `be_eager`.
    Raises: ArtifactMismatchError when a head's weights do not add up to 1.
    """
    encoded = _encoded(lm, prompts)
    sections = torch.from_numpy(section_of_tokens(encoded, prompts))
    of_section = torch.stack([sections == number for number in range(len(SECTIONS))], dim=-1).float().to(lm.device)
    ids, mask = (encoded[name].to(lm.device) for name in ("input_ids", "attention_mask"))
    found = []
    with torch.inference_mode():
        cache = DynamicCache(config=lm.model.config)
        if not steer_prompt:
            _read(lm, ids[:, :-1], mask, cache)
        for push in pushes:
            rows: dict[int, Tensor] = {}
            with _last_rows(lm.model, layers, of_section, rows), _pushed(lm, push):
                start = 0 if steer_prompt else -1
                _read(lm, ids[:, start:], mask, copy.deepcopy(cache))
            found.append(torch.stack([rows[layer] for layer in layers], dim=1).cpu().double().numpy())
    return normalised(np.stack(found), lm.dtype)


def be_eager(lm: LanguageModel, prompts: Sequence[Prompt]) -> float | None:
    """Switch to eager attention; the largest change of a next-token log-probability [nats], None where it was eager.

    Raises: ArtifactMismatchError when eager attention gives another distribution after one of `prompts`.
    """
    before = lm.model.config.get_text_config()._attn_implementation
    if before == "eager":
        return None
    expected = _next_logprobs(lm, prompts)
    lm.model.set_attn_implementation("eager")
    difference = float((_next_logprobs(lm, prompts) - expected).abs().max())
    if not difference <= EAGER_AGREES.get(lm.dtype, EAGER_AGREES_16_BIT):
        raise ArtifactMismatchError(
            f"eager attention is not what {lm.name} computes: next-token log-probabilities differ by "
            f"{difference:.3g} from those of '{before}'\n"
            f"Its attention weights cannot be read; give another --dtype, or leave this phase out"
        )
    return difference


def _encoded(lm: LanguageModel, prompts: Sequence[Prompt]):
    return lm.tokenizer(
        [prompt.text for prompt in prompts], return_tensors="pt", padding=True, return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )  # fmt: skip


def _read(lm: LanguageModel, ids: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
    """Next-token logits after `ids`, which follow what the cache holds; `mask` begins with the prompts."""
    n_before = cache.get_seq_length()
    mask = mask[:, : n_before + ids.shape[1]]
    position = (mask.cumsum(-1) - 1).clamp(min=0)[:, n_before:]
    output = lm.model(
        input_ids=ids, attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    return output.logits[:, -1]


def _next_logprobs(lm: LanguageModel, prompts: Sequence[Prompt]) -> Float[Tensor, "batch d_vocab"]:
    encoded = _encoded(lm, prompts)
    ids, mask = (encoded[name].to(lm.device) for name in ("input_ids", "attention_mask"))
    with torch.inference_mode():
        logits = _read(lm, ids, mask, DynamicCache(config=lm.model.config))
    return torch.log_softmax(logits.float(), dim=-1).cpu()


@contextmanager
def _pushed(lm: LanguageModel, push: Push | None) -> Iterator[None]:
    """Add the vector at every position of the passes made meanwhile."""
    if push is None:
        yield
        return

    def add(resid: Resid) -> Resid:
        return resid + push.vector.to(resid.device, resid.dtype)

    with change_resid(lm.model, {push.site: add}):
        yield


@contextmanager
def _last_rows(
    model: nn.Module, layers: Sequence[int], of_section: Float[Tensor, "batch pos sections"], rows: dict[int, Tensor]
) -> Iterator[None]:
    """Put the last position's attention by section into rows[layer], [batch, heads, sections], in the next pass."""

    def taking(layer: int) -> Callable:
        def take(_module: nn.Module, _arguments: tuple, output: tuple) -> None:
            weights = output[1]
            if weights is None:
                raise UnknownHookError(
                    f"block {layer} gives no attention weights: its attention is "
                    f"'{model.config._attn_implementation}'\nLeave this phase out for this model"
                )
            last = weights[:, :, -1].float()  # a sliding window's cache has lost the oldest keys
            rows[layer] = torch.einsum("bhk,bks->bhs", last, of_section[:, -last.shape[-1] :])

        return take

    blocks = decoder_blocks(model)
    handles = [blocks[layer].self_attn.register_forward_hook(taking(layer)) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def normalised(attention: np.ndarray, dtype: str) -> np.ndarray:
    """Sections that add up to 1 but for rounding, divided by their sum. Raises: ArtifactMismatchError."""
    total = attention.sum(axis=-1, keepdims=True)
    off = float(np.abs(total - 1).max())
    if not off <= TOLERANCE.get(dtype, TOLERANCE_16_BIT):  # nan is bad too
        raise ArtifactMismatchError(
            f"the sections of a prompt get {1 + off:.4f} or {1 - off:.4f} of an attention head's weight, not 1: "
            f"the head also looks elsewhere\nThis phase cannot be used with this model"
        )
    return attention / total
