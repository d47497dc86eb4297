"""How the last prompt token spreads its attention over the sections of the prompt, unsteered and steered.

1. Everything before the last prompt token is read with the model's own kind of attention: steering starts behind it,
   so it is read once for all conditions. (With `steer_prompt` each condition reads it for itself.)
2. Each condition then reads the last token alone, on a copy of the cache, with eager attention, which gives its
   weights: one row [batch, heads, 1, keys] of each block, summed by section. A whole matrix is never asked for.
3. Where the model's own kind of attention is another (Llama, Qwen: sdpa), both must give the same next token.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import BatchEncoding, DynamicCache

from common.errors import ArtifactMismatchError
from common.interventions.steered_generation import SteeringVector
from common.model.forward import new_cache, next_token_logits, positions
from common.model.hooks import Activations, change_sites
from common.model.language_model import LanguageModel
from common.model.tokenization import encode_padded
from common.problems.prompt import Prompt, bodies_of
from phase3_validation.attention.heads import Heads, eager, find_heads, last_rows
from phase3_validation.attention.sections import LEARNED_SINK, SECTIONS, section_of_tokens

TOLERANCE = {"float32": 1e-4}  # of a row's sum; 16-bit weights are each rounded
TOLERANCE_16_BIT = 2e-2
EAGER_AGREES = {"float32": 1e-3}  # largest difference of a log-probability [nats]
EAGER_AGREES_16_BIT = 1.0


def read_attention(
    lm: LanguageModel,
    prompts: Sequence[Prompt],
    steering_vectors: Sequence[SteeringVector | None],
    layers: Sequence[int],
    *,
    steer_prompt: bool = False,
    heads: Heads | None = None,
) -> Float[np.ndarray, "conditions batch layers heads sections"]:
    """Attention of the last prompt token to each of SECTIONS, 0 to 1; the sections of a head add up to 1.

    One entry for each of `steering_vectors`: None reads the prompts unsteered. `layers` are among those of `heads`,
    which are looked for where they are not given.
    Raises: ConfigError as `find_heads`; ArtifactMismatchError when a head's weights do not add up to 1.
    """
    heads = heads or find_heads(lm)
    encoded = encoded_prompts(lm, prompts)
    sections = torch.from_numpy(section_of_tokens(encoded, prompts)).to(lm.device)
    of_section = torch.stack([sections == number for number in range(len(SECTIONS))], dim=-1).float()
    ids, mask = (encoded[name].to(lm.device) for name in ("input_ids", "attention_mask"))
    by_condition = []
    with torch.inference_mode():
        cache = new_cache(lm)
        if not steer_prompt:
            _read(lm, ids[:, :-1], mask[:, :-1], cache)
        for steering in steering_vectors:
            with _steered_by(lm, steering):
                own_cache = new_cache(lm) if steer_prompt else copy.deepcopy(cache)
                if steer_prompt:
                    _read(lm, ids[:, :-1], mask[:, :-1], own_cache)
                with last_rows(heads) as rows, eager(lm):
                    _read(lm, ids[:, -1:], mask, own_cache)
            # To the processor one by one: blocks of a large model lie on several devices.
            shares = [_by_section(rows[layer], of_section, heads.learn_a_sink).cpu() for layer in layers]
            by_condition.append(torch.stack(shares, dim=1).double().numpy())
    return normalised(np.stack(by_condition), lm.dtype)


def sections_present(lm: LanguageModel, prompts: Sequence[Prompt], heads: Heads) -> list[str]:
    """The sections that one of the prompts has, in the order of SECTIONS."""
    numbers = {
        number for prompt in prompts for number in np.unique(section_of_tokens(encoded_prompts(lm, [prompt]), [prompt]))
    }
    present = {SECTIONS[number] for number in numbers} | ({LEARNED_SINK} if heads.learn_a_sink else set())
    return [name for name in SECTIONS if name in present]


def begins_with_bos(lm: LanguageModel, prompts: Sequence[Prompt]) -> bool:
    """Whether a prompt's first token is the model's BOS."""
    return encoded_prompts(lm, prompts[:1])["input_ids"][0, 0].item() == lm.tokenizer.bos_token_id


def eager_differs_by(lm: LanguageModel, prompts: Sequence[Prompt]) -> float | None:
    """Largest change of a next-token log-probability when the last token is read with eager attention [nats].

    None where the model is eager anyhow.
    Raises: ArtifactMismatchError when eager attention gives another distribution after one of `prompts`.
    """
    usual = lm.model.config.get_text_config()._attn_implementation
    if usual == "eager":
        return None
    by_eager, by_usual = (_next_logprobs(lm, prompts, attention) for attention in (eager(lm), nullcontext()))
    difference = float((by_eager - by_usual).abs().max())
    if not difference <= EAGER_AGREES.get(lm.dtype, EAGER_AGREES_16_BIT):
        raise ArtifactMismatchError(
            f"eager attention is not what {lm.name} computes: next-token log-probabilities differ by "
            f"{difference:.3g} from those of '{usual}'\n"
            f"Its attention weights cannot be read; give another --dtype, or leave this phase out"
        )
    return difference


def encoded_prompts(lm: LanguageModel, prompts: Sequence[Prompt]) -> BatchEncoding:
    """As `section_of_tokens` takes it."""
    return encode_padded(lm, [prompt.text for prompt in prompts], bodies=bodies_of(prompts), offsets=True)


def _read(
    lm: LanguageModel, ids: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch all_pos"], cache: DynamicCache
) -> None:
    """Read `ids`, which follow what the cache holds and enter it; `mask` covers both."""
    if ids.shape[1]:
        lm.model.get_decoder()(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions(mask)[:, -ids.shape[1] :],
            past_key_values=cache,
            use_cache=True,
        )


def _by_section(
    row: Float[Tensor, "batch heads keys"], of_section: Float[Tensor, "batch pos sections"], learned_sink: bool
) -> Float[Tensor, "batch heads sections"]:
    kept = of_section[:, -row.shape[-1] :]  # a sliding window's cache has lost the oldest keys
    shares = torch.einsum("bhk,bks->bhs", row, kept.to(row.device))
    if learned_sink:
        shares[..., SECTIONS.index(LEARNED_SINK)] = 1 - row.sum(-1)
    return shares


def _next_logprobs(
    lm: LanguageModel, prompts: Sequence[Prompt], attention: AbstractContextManager
) -> Float[Tensor, "batch d_vocab"]:
    """Of the token after each prompt, when its last token is read with `attention`, a context."""
    encoded = encoded_prompts(lm, prompts)
    ids, mask = (encoded[name].to(lm.device) for name in ("input_ids", "attention_mask"))
    with torch.inference_mode():
        cache = new_cache(lm)
        _read(lm, ids[:, :-1], mask[:, :-1], cache)
        with attention:
            logits = next_token_logits(lm, ids[:, -1:], mask, cache)
    return torch.log_softmax(logits.float(), dim=-1).cpu()


@contextmanager
def _steered_by(lm: LanguageModel, steering: SteeringVector | None) -> Iterator[None]:
    """Add the vector at every position of the passes made meanwhile."""
    if steering is None:
        yield
        return

    def add(resid: Activations) -> Activations:
        return resid + steering.vector.to(resid.device, resid.dtype)

    with change_sites(lm.model, {steering.site: add}):
        yield


def normalised(attention: np.ndarray, dtype: str) -> np.ndarray:
    """Sections that add up to 1 but for rounding, divided by their sum. Raises: ArtifactMismatchError."""
    total = attention.sum(axis=-1, keepdims=True)
    off = float(np.abs(total - 1).max())
    if not off <= TOLERANCE.get(dtype, TOLERANCE_16_BIT):  # nan is bad too
        raise ArtifactMismatchError(
            f"the sections of a prompt get {1 + off:.4f} or {1 - off:.4f} of an attention head's weight, not 1: "
            f"the head also looks elsewhere\nGive another model with --model"
        )
    return attention / total
