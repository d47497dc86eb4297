"""Which section of the prompt each token belongs to: BOS, description, tests, or the solution marker.

The tokenizer's character offsets decide. A token belongs to the section of its first character that is no space:
".\\n\\n" closes the description, "\\n\\nassert" opens the tests. A token of nothing but spaces belongs where its first
character stands, and blank lines stand in the section that follows them. Tokens that the tokenizer adds itself are
the section `bos`: attention to them says nothing of the text, and they draw much of it. The last prompt token
is the end of the marker, so attention to the marker includes that of the token to itself. In a chat the marker is the
request, with all that the template puts around the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from common.prompts import Prompt

if TYPE_CHECKING:
    from jaxtyping import Int
    from transformers import BatchEncoding

BOS = "bos"
SECTIONS = (BOS, "description", "tests", "marker")
PADDING = -1


def section_of_tokens(encoded: BatchEncoding, prompts: Sequence[Prompt]) -> Int[np.ndarray, "batch pos"]:
    """The number of each token's section in SECTIONS; PADDING for padding.

    `encoded` holds offset_mapping, special_tokens_mask and attention_mask of the prompts' texts.
    """
    offsets, added, real = (
        np.asarray(encoded[name]) for name in ("offset_mapping", "special_tokens_mask", "attention_mask")
    )
    numbers = np.full(real.shape, PADDING)
    for row, prompt in enumerate(prompts):
        for column in np.flatnonzero(real[row]):
            start, end = offsets[row, column]
            own = _section_at(prompt, _first_character(prompt.text, start, end))
            numbers[row, column] = SECTIONS.index(BOS) if added[row, column] else own
    return numbers


def _first_character(text: str, start: int, end: int) -> int:
    """Where the first character of text[start:end] stands that is no space; where all are, the first."""
    return start + next((i for i, character in enumerate(text[start:end]) if not character.isspace()), 0)


def _section_at(prompt: Prompt, character: int) -> int:
    if character < prompt.description_start:  # a chat template's words in front; those behind are there too
        return SECTIONS.index("marker")
    ends = (prompt.description_end, prompt.tests_end, len(prompt.text))
    return 1 + next(i for i, end in enumerate(ends) if min(character, ends[-1] - 1) < end)
