"""A clean and a corrupted program as two prompts of equal length, or why they cannot be.

1. Both are put into a format of the prompt and cut into tokens by the model's tokenizer; no length is written down.
2. They are refused unless they have as many tokens, and the code's and the question's tokens are apart, so that what
   follows the code is the same in both.
3. Each token of the clean prompt has a role, the parts of the template that its characters are of; and some have a
   name, by the pair alone: where the prompts differ, where the code ends, where the question says "raise".
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.model.answers import Front
from common.model.tokenization import Span
from phase6_error_circuits.pair import AFTER_DIFF, CODE_END, DIFF_FIRST, DIFF_LAST, END, RAISE
from phase6_error_circuits.pairs.formats import PromptFormat
from phase6_error_circuits.pairs.templates import Parts, part_of

UNEQUAL, APART, SAME = "unequal length", "question tokenised apart", "nothing differs"
Placed = list[tuple[str, int, int]]  # role and characters
FRONT, BEFORE, QUESTION = "front", "before", "question"  # roles of what is no part of the template
_WORD = "raise"


@dataclass(frozen=True)
class Draw:
    """The parts of a clean and a corrupted program, made for one of the two splits."""

    split: str
    clean: Parts
    corrupted: Parts

    @property
    def codes(self) -> tuple[str, str]:
        clean, corrupted = ("".join(text for _, text in parts) for parts in (self.clean, self.corrupted))
        return clean, corrupted


@dataclass(frozen=True)
class Aligned:
    """Two prompts of equal length. `counts` are the tokens that begin in each part, of the clean and corrupted one."""

    draw: Draw
    clean_ids: list[int]
    corrupted_ids: list[int]
    roles: list[str]
    code_start: int
    positions: dict[str, int]
    counts: tuple[Counter[str], Counter[str]]

    @property
    def shape(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """What pairs share whose nodes may be pooled place by place."""
        return tuple(self.roles), tuple(self.positions.values())


@dataclass(frozen=True)
class _Tokens:
    """A prompt as tokens, with what stands in front, and the characters of each; (0, 0) of the latter."""

    ids: list[int]
    spans: list[Span]


def align(tokenizer: Any, form: PromptFormat, front: Front, draws: Sequence[Draw]) -> list[Aligned | str]:
    """Each draw as two prompts of equal length, or the reason why not."""
    codes = [code for draw in draws for code in draw.codes]
    added = [*front.ids] if front.is_added and form.body is None else []
    encoded = form.ids_and_spans(tokenizer, [form.prompt(code) for code in codes])
    made = [_Tokens(added + ids, [(0, 0)] * len(added) + spans) for ids, spans in encoded]
    return [_pair(form, *both) for both in zip(draws, made[::2], made[1::2], strict=True)]


def _pair(form: PromptFormat, draw: Draw, clean: _Tokens, corrupted: _Tokens) -> Aligned | str:
    if len(clean.ids) != len(corrupted.ids):
        return UNEQUAL
    lengths = [len(form.before) + len(code) for code in draw.codes]
    if not all(_is_apart(form, one.spans, end) for one, end in zip((clean, corrupted), lengths, strict=True)):
        return APART
    differ = [place for place, both in enumerate(zip(clean.ids, corrupted.ids, strict=True)) if both[0] != both[1]]
    if not differ:
        return SAME
    end = lengths[0]
    said = end + form.after.rindex(_WORD)
    positions = {
        DIFF_FIRST: differ[0],
        DIFF_LAST: differ[-1],
        AFTER_DIFF: differ[-1] + 1,
        CODE_END: _last_over(clean.spans, end, end + 1),
        RAISE: _last_over(clean.spans, said, said + len(_WORD)),
        END: len(clean.ids) - 1,
    }
    placed = part_spans(form, draw.clean)
    roles = [_role(placed, span) for span in clean.spans]
    counts = _counts(placed, clean.spans), _counts(part_spans(form, draw.corrupted), corrupted.spans)
    code_start = next(place for place, (start, stop) in enumerate(clean.spans) if stop > max(start, len(form.before)))
    return Aligned(draw, clean.ids, corrupted.ids, roles, code_start, positions, counts)


def _is_apart(form: PromptFormat, spans: Sequence[Span], end: int) -> bool:
    """Whether a token begins with the code, and one with what follows the newline after it."""
    starts = {start for start, stop in spans if stop > start}
    return len(form.before) in starts and end + 1 in starts


def _last_over(spans: Sequence[Span], start: int, stop: int) -> int:
    """The last token over any of these characters."""
    return max(place for place, (a, b) in enumerate(spans) if max(a, start) < min(b, stop))


def part_spans(form: PromptFormat, parts: Parts) -> Placed:
    """Role and characters of everything in a prompt, from its beginning."""
    placed, at = [(BEFORE, 0, len(form.before))], len(form.before)
    for role, text in (*parts, (QUESTION, form.after)):
        placed.append((role, at, at + len(text)))
        at += len(text)
    return placed


def _role(placed: Placed, span: Span) -> str:
    """The parts that a token's characters are of, with + between."""
    first, last = span
    over = [role for role, start, stop in placed if start < last and first < stop and first < last]
    return "+".join(over) or FRONT


def _counts(placed: Placed, spans: Sequence[Span]) -> Counter[str]:
    """How many tokens begin in each part of the template."""
    parts = [one for one in placed if one[0] not in (BEFORE, QUESTION)]
    return Counter(part_of(role) for start, stop in spans if stop > start for role, a, b in parts if a <= start < b)
