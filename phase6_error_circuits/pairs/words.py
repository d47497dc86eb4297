"""The words and numbers that templates are filled with, in two halves: pairs held out share none with the others.

Of a vocabulary every other name and word is of either half; numbers that select are even, the others odd.
"""

import random
from dataclasses import dataclass

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

    def half(self, split: str) -> "Vocabulary":
        first = 0 if split == SELECT else 1
        return Vocabulary(self.names[first::2], self.words[first::2])


GENERAL = Vocabulary(NAMES, WORDS)


def draw_slots(rng: random.Random, vocabulary: Vocabulary, split: str) -> dict[str, str]:
    """What stands for each slot of a template in one draw; names differ from each other, and words do."""
    half, odd = vocabulary.half(split), split != SELECT

    def number(low: int, high: int) -> str:
        """One of a range, even or odd."""
        return str(rng.randrange(low + (low + odd) % 2, high + 1, 2))

    def of_some_digits(fewest: int) -> str:
        """A number whose number of digits is drawn first."""
        digits = rng.randint(fewest, MOST_DIGITS)
        return number(10 ** (digits - 1), 10**digits - 1)

    names, words = _some(rng, half.names, 4, "_"), _some(rng, half.words, 3, " ")
    return {
        **dict(zip(("name", "other", "third", "result"), names, strict=True)),
        **dict(zip(("word", "term", "label"), words, strict=True)),
        "number": number(1, 199),
        "second": number(1, 99),
        "nonzero": number(1, 99),
        "digit": number(1, 9),
        "a": number(0, 9),
        "b": number(1, 9),
        "inside": number(0, 1),
        "beyond": number(10, 99),
        "absent": number(10, 99),
        "many": of_some_digits(1),
        "more": of_some_digits(1),
        "far": of_some_digits(2),
    }


def _some(rng: random.Random, words: tuple[str, ...], n: int, between: str) -> list[str]:
    """`n` different ones, of which some are two words in one."""
    drawn = iter(rng.sample(words, 2 * n))
    return [
        f"{one}{between}{other}" if rng.random() < SHARE_OF_COMPOUNDS else one
        for one, other in zip(drawn, drawn, strict=True)
    ]
