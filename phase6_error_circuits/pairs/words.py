"""The words and numbers that templates are filled with, in two halves: pairs held out share none with the others.

Of a vocabulary every other name and word is of either half; numbers that select are even, the others odd.
"""

import random
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

from phase6_error_circuits.pair import SELECT

SHARE_OF_COMPOUNDS = 0.1  # two names with _ between, two words with a space
MOST_DIGITS = 3
NAMES = tuple(
    "temperature price count total value score age level index result size speed width height weight depth amount "
    "length color city month year limit rate area cost rank point line page step unit group label root token query "
    "row table field record title phone order stock owner client flag phase angle radius power energy force mass "
    "density ratio job user box bag cup minute balance distance volume salary profit margin offset counter buffer "
    "ticket region channel signal factor budget".split()
)
WORDS = tuple(
    "apple river happy blue hello world alice bob tokyo paris green python seven data code note stone cloud paper "
    "chair door window star moon garden bread milk sugar water fire earth wind north south black white yellow orange "
    "ready start silver lemon tiger ocean rocket music london forest purple winter cherry dragon summer bridge "
    "castle island mirror basket candle pepper rabbit pencil helmet hammer saddle".split()
)


@dataclass(frozen=True)
class Vocabulary:
    """Names of variables, and words of texts. None is in both."""

    names: tuple[str, ...]
    words: tuple[str, ...]

    @cache  # noqa: B019 - of the few vocabularies that there are
    def half(self, split: str) -> "Vocabulary":
        first = 0 if split == SELECT else 1
        return Vocabulary(self.names[first::2], self.words[first::2])


GENERAL = Vocabulary(NAMES, WORDS)


_NAMES, _WORDS = ("name", "other", "third", "result"), ("word", "term", "label")
_NUMBERS = {  # slot -> smallest and largest
    "number": (1, 199),
    "second": (1, 99),
    "nonzero": (1, 99),
    "digit": (1, 9),
    "a": (0, 9),
    "b": (1, 9),
    "inside": (0, 1),
    "beyond": (10, 99),
    "absent": (10, 99),
}
_OF_SOME_DIGITS = {"many": 1, "more": 1, "far": 2}  # slot -> the fewest digits, whose number is drawn first
SLOTS = (*_NAMES, *_WORDS, *_NUMBERS, *_OF_SOME_DIGITS)


def draw_slots(rng: random.Random, vocabulary: Vocabulary, split: str, used: Collection[str]) -> dict[str, str]:
    """What stands for each slot that is used, in one draw; names differ from each other, and words do."""
    half, odd = vocabulary.half(split), split != SELECT
    slots = dict(zip(_NAMES, _some(rng, half.names, len(_NAMES), "_"), strict=True))
    slots |= zip(_WORDS, _some(rng, half.words, len(_WORDS), " "), strict=True)
    for slot, (low, high) in _NUMBERS.items():
        if slot in used:
            slots[slot] = _number(rng, low, high, odd)
    for slot, fewest in _OF_SOME_DIGITS.items():
        if slot in used:
            digits = rng.randint(fewest, MOST_DIGITS)
            slots[slot] = _number(rng, 10 ** (digits - 1), 10**digits - 1, odd)
    return slots


def _number(rng: random.Random, low: int, high: int, odd: bool) -> str:
    """An even or an odd number of a range."""
    return str(rng.randrange(low + (low + odd) % 2, high + 1, 2))


def _some(rng: random.Random, words: tuple[str, ...], n: int, between: str) -> list[str]:
    """`n` different ones, of which some are two words in one."""
    drawn = rng.sample(words, 2 * n)
    return [
        f"{one}{between}{other}" if rng.random() < SHARE_OF_COMPOUNDS else one
        for one, other in zip(drawn[:n], drawn[n:], strict=True)
    ]
