"""Which section of the prompt each token belongs to.

- first_token: the first token of the row that is no padding, whatever it is. It is an attention sink in every model,
  with a BOS token or without: about half of all attention goes there, and says nothing of the text.
- template: what a chat template puts before and after the message, and further tokens that the tokenizer adds itself.
- description, tests, and marker: "# Solution:", or the request in its place in a chat.
- learned_sink: no token. Some models (gpt-oss) learn a share of each head's attention that goes nowhere.

The tokenizer's character offsets decide. A token belongs to the section of its first character that is no space:
".\\n\\n" closes the description, "\\n\\nassert" opens the tests. A token of nothing but spaces belongs where its first
character stands, and blank lines stand in the section that follows them. The last prompt token is the end of the marker
(or of the template), so attention to that section includes the token's to itself.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int
from transformers import BatchEncoding

from common.problems.prompt import Prompt

FIRST_TOKEN, TEMPLATE, DESCRIPTION, TESTS, MARKER = "first_token", "template", "description", "tests", "marker"
LEARNED_SINK = "learned_sink"
SECTIONS = (FIRST_TOKEN, TEMPLATE, DESCRIPTION, TESTS, MARKER, LEARNED_SINK)
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
        columns = np.flatnonzero(real[row])
        for column in columns:
            section = TEMPLATE
            if not added[row, column]:
                section = _section_at(prompt, _first_character(prompt.text, *offsets[row, column]))
            numbers[row, column] = SECTIONS.index(section)
        numbers[row, columns[:1]] = SECTIONS.index(FIRST_TOKEN)
    return numbers


def section_words(has_bos: bool) -> dict[str, str]:
    """What each section is called in sentences, tables and figures."""
    words = {name: name for name in SECTIONS}
    words[FIRST_TOKEN] = "BOS" if has_bos else "first token (attention sink)"
    words[TEMPLATE] = "chat template"
    words[LEARNED_SINK] = "nothing (learned sink)"
    return words


def _first_character(text: str, start: int, end: int) -> int:
    """Where the first character of text[start:end] stands that is no space; where all are, the first."""
    return start + next((i for i, character in enumerate(text[start:end]) if not character.isspace()), 0)


def _section_at(prompt: Prompt, character: int) -> str:
    end = len(prompt.text)
    message_end = prompt.body[1] if prompt.body else end
    ends = (
        (prompt.description_start, TEMPLATE),
        (prompt.description_end, DESCRIPTION),
        (prompt.tests_end, TESTS),
        (message_end, MARKER),
        (end, TEMPLATE),
    )
    return next(section for section_end, section in ends if min(character, end - 1) < section_end)
