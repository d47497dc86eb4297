"""Texts to token ids, for every phase: what is written in a text is text, never control.

1. Control tokens that a text spells out ("<eos>", "<|im_end|>") become the tokens of these characters.
2. What the tokenizer puts in front of a text (BOS, in most models that have one) is put there once; what it appends
   (EOS, in some) is left off: the last prompt token is the prompt's last.
3. In a chat prompt the control tokens of the template stay control, those inside its body are text.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import BatchEncoding

from common.model.language_model import LanguageModel

Span = tuple[int, int]  # first character, and the one after the last
TextOfToken = Callable[[int], str]  # by its id
_PLAIN = {"add_special_tokens": False, "padding": False, "truncation": False}
_PLAIN |= {"return_attention_mask": False, "return_token_type_ids": False}  # of a text without padding they say nothing


def encode(lm: LanguageModel, texts: Sequence[str], *, bodies: Sequence[Span] | None = None) -> list[list[int]]:
    """Token ids of each text, without padding.

    `bodies`: where each text is a chat prompt, the characters that its template has not written.
    """
    return [ids for ids, _ in ids_and_spans(lm.tokenizer, texts, bodies, offsets=False)]


def encode_padded(
    lm: LanguageModel, texts: Sequence[str], *, bodies: Sequence[Span] | None = None, offsets: bool = False
) -> BatchEncoding:
    """input_ids and attention_mask, [batch, pos] on the processor, padded on the left; `bodies` as in `encode`.

    With `offsets` also offset_mapping, [batch, pos, 2], the characters of each token, and special_tokens_mask, which
    is 1 for padding and what stands in front of a text; both have offsets (0, 0).
    """
    pieces = ids_and_spans(lm.tokenizer, texts, bodies, offsets=offsets)
    width = max(len(ids) for ids, _ in pieces)
    padded = {
        "input_ids": torch.full((len(texts), width), lm.pad_token_id),
        "attention_mask": torch.zeros((len(texts), width), dtype=torch.long),
    }
    for row, (ids, _) in enumerate(pieces):
        padded["input_ids"][row, width - len(ids) :] = torch.tensor(ids, dtype=torch.long)
        padded["attention_mask"][row, width - len(ids) :] = 1
    if offsets:
        n_front = len(tokens_in_front(lm.tokenizer))
        padded["offset_mapping"] = torch.zeros((len(texts), width, 2), dtype=torch.long)
        padded["special_tokens_mask"] = torch.ones((len(texts), width), dtype=torch.long)
        for row, (ids, spans) in enumerate(pieces):
            if ids:
                padded["offset_mapping"][row, width - len(ids) :] = torch.tensor(spans)
            padded["special_tokens_mask"][row, width - len(ids) + n_front :] = 0
    return BatchEncoding(padded)


def tokens_in_front(tokenizer: Any) -> list[int]:
    """The special tokens that the tokenizer puts before every text: BOS, nothing, or in some models two."""
    encoded = tokenizer("a", return_special_tokens_mask=True)
    ids, special = encoded["input_ids"], encoded["special_tokens_mask"]
    return ids[: special.index(0)] if 0 in special else []


def ids_and_spans(
    tokenizer: Any, texts: Sequence[str], bodies: Sequence[Span] | None, *, offsets: bool
) -> list[tuple[list[int], list[Span]]]:
    """Ids and characters of each text's tokens; the latter are empty unless `offsets`, and (0, 0) of what stands in
    front of a text. `bodies` as in `encode`.
    """
    if bodies is not None:
        return [_chat(tokenizer, text, body, offsets) for text, body in zip(texts, bodies, strict=True)]
    front = tokens_in_front(tokenizer)
    before = [(0, 0)] * len(front)
    return [(front + ids, before + spans) for ids, spans in _as_text(tokenizer, texts, offsets=offsets)]


def _as_text(
    tokenizer: Any, texts: Sequence[str], *, offsets: bool, control: bool = False
) -> list[tuple[list[int], list[Span]]]:
    if not texts:
        return []
    encoded = tokenizer(list(texts), **_PLAIN, split_special_tokens=not control, return_offsets_mapping=offsets)
    spans = encoded["offset_mapping"] if offsets else [[] for _ in texts]
    return list(zip(encoded["input_ids"], spans, strict=True))


def _chat(tokenizer: Any, text: str, body: Span, offsets: bool) -> tuple[list[int], list[Span]]:
    """A chat prompt. Templates write BOS themselves, so it is put in front only where it is not there."""
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    control = re.compile("|".join(map(re.escape, sorted(special, key=len, reverse=True))) or r"(?!)")
    start, end = body
    if control.search(text[start:end]):
        ids, spans = _around_control(tokenizer, text, control, body, offsets)
    else:  # as transformers does it: a tokenizer may treat the beginning of a text unlike what follows a control token
        ids, spans = _as_text(tokenizer, [text], offsets=offsets, control=True)[0]
    front = tokens_in_front(tokenizer)
    if ids[: len(front)] == front:
        return ids, spans
    return front + ids, ([(0, 0)] * len(front) + spans if offsets else spans)


def _around_control(
    tokenizer: Any, text: str, control: re.Pattern, body: Span, offsets: bool
) -> tuple[list[int], list[Span]]:
    """Control tokens outside the body by their ids, and what stands between them as text."""
    start, end = body
    outside = [*control.finditer(text, 0, start), *control.finditer(text, end)]
    borders = [0, *(place for match in outside for place in match.span()), len(text)]
    ids: list[int] = []
    spans: list[Span] = []
    for number, (first, last) in enumerate(zip(borders, borders[1:], strict=False)):
        between = number % 2 == 0
        for piece, where in _as_text(tokenizer, [text[first:last]], offsets=offsets, control=not between):
            ids += piece
            spans += [(first + a, first + b) for a, b in where]
    return ids, spans
