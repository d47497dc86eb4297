"""Tokens in their text, as a reader can see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.errors import ArtifactMismatchError
from common.model.tokenization import Span, ids_and_spans

AROUND = 20  # tokens to either side
LONGEST = 1200  # characters of a prompt
_SEEN = str.maketrans({"\n": "↵", "\t": "⇥", "\r": "␍", " ": "␣"})


def visible(token: str) -> str:
    """A token whose blanks can be seen: '␣the', '↵'."""
    return token.translate(_SEEN)


def token_words(tokenizer: Any, token_id: int) -> str:
    """The text of a token, visibly; of a part of a character the tokenizer's own name for it."""
    text = tokenizer.decode([token_id], clean_up_tokenization_spaces=False)
    return visible(text if text and "\N{REPLACEMENT CHARACTER}" not in text else _name(tokenizer, token_id))


def in_its_text(tokenizer: Any, text: str, position: int, token_id: int) -> tuple[str, str, str]:
    """What stands before a token, the token (visibly), and what stands after it; up to AROUND tokens to either side.

    Raises: ArtifactMismatchError when another token than `token_id` stands there.
    """
    ids, spans = ids_and_spans(tokenizer, [text], None, offsets=True)[0]
    if ids[position : position + 1] != [token_id]:
        there = f"token {ids[position]}" if position < len(ids) else "nothing"
        raise ArtifactMismatchError(
            f"token {token_id} was read at position {position}, this tokenizer puts {there} there\n"
            "Restore the tokenizer of the model that the runs are of"
        )
    first, last = spans[max(0, position - AROUND)][0], spans[min(len(ids), position + AROUND + 1) - 1][1]
    start, end = spans[position]
    token = visible(text[start:end]) or token_words(tokenizer, token_id)
    return "…" * (first > 0) + text[first:start], token, text[end:last] + "…" * (last < len(text))


def last_token(tokenizer: Any, text: str, bodies: Sequence[Span] | None) -> tuple[str, str]:
    """A text up to its last token, and that token, visibly; the middle of what is long is left out."""
    ids, spans = ids_and_spans(tokenizer, [text], bodies, offsets=True)[0]
    before = text[: spans[-1][0]]
    left = len(before) - LONGEST
    if left > 0:
        before = f"{before[: LONGEST // 2]} … {left:,} more characters … {before[-LONGEST // 2 :]}"
    return before, visible(text[spans[-1][0] :]) or token_words(tokenizer, ids[-1])


def _name(tokenizer: Any, token_id: int) -> str:
    return str(tokenizer.convert_ids_to_tokens(token_id))
