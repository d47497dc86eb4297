"""One operation of the procedural problems: how it is phrased in English and how it is written in Python."""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

# A value of type `positive` is an integer of at least 1.
VALUE_TYPES = ("ints", "text", "words", "dict", "pairs", "matrix", "positive", "int", "bool", "other")
BRANCH_WORDS = re.compile(r"\b(?:if|elif|for|while|and|or|lambda)\b")


def stable_hash(text: str) -> int:
    """A 32-bit number that depends on `text` alone, on every machine and in every process."""
    return int(hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()[:8], 16)


@dataclass(frozen=True)
class IntRange:
    """An integer constant of an operation, drawn uniformly from low to high, both included."""

    low: int
    high: int

    def draw(self, rng: random.Random) -> str:
        return str(rng.randint(self.low, self.high))


@dataclass(frozen=True)
class Letters:
    """A one-character constant of an operation, drawn uniformly from `choices`."""

    choices: str

    def draw(self, rng: random.Random) -> str:
        return rng.choice(self.choices)


@dataclass(frozen=True)
class Operation:
    """A step from one value to another.

    Placeholders: {x} is the phrase of what the operation acts on, {v} the variable that holds it,
    {o} the variable of the result, {k} and {k2} the constants. `nouns` name the result ("the sum of
    {x}"), `verbs` tell what to do ("add up {x}"). `weight` is how often the operation is drawn
    before its tier is taken into account.
    """

    name: str
    input_type: str
    output_type: str
    nouns: Sequence[str]
    verbs: Sequence[str]
    expression: str | None
    block: Sequence[str]
    constant: IntRange | Letters | None
    weight: float
    short_name: str
    tier: str = field(init=False)
    written_as_block: bool = field(init=False)

    def __post_init__(self) -> None:
        assert self.input_type in VALUE_TYPES and self.output_type in VALUE_TYPES, self.name
        assert self.expression is not None or self.block, self.name
        as_block = bool(self.block) and (self.expression is None or stable_hash(f"blk{self.name}") % 4 == 0)
        object.__setattr__(self, "written_as_block", as_block)
        object.__setattr__(self, "tier", _tier(self.name, self.n_branches))

    def filled(self, weight_factor: float, **words: str) -> "Operation":
        """The member of a family of operations whose texts name `{word}` for each of `words`."""

        def fill(text: str) -> str:
            for word, meaning in words.items():
                text = text.replace(f"{{{word}}}", meaning)
            return text

        texts = {name: fill(getattr(self, name)) for name in ("name", "short_name")}
        texts |= {name: tuple(map(fill, getattr(self, name))) for name in ("nouns", "verbs", "block")}
        expression = None if self.expression is None else fill(self.expression)
        return replace(self, **texts, expression=expression, weight=self.weight * weight_factor)

    @property
    def n_branches(self) -> int:
        """How much the operation, as it is always written, adds to cyclomatic complexity."""
        template = "\n".join(self.block) if self.written_as_block or self.expression is None else self.expression
        return len(BRANCH_WORDS.findall(template))


TIER_SHARES = ((0.05, 0.10), (0.10, 0.17), (0.20, 0.28), (0.30, 0.34))


def _tier(name: str, n_branches: int) -> str:
    """A common, B rare or C very rare, by a hash of the name; the more branches, the likelier rare."""
    very_rare, rare = TIER_SHARES[min(n_branches, len(TIER_SHARES) - 1)]
    position = stable_hash(f"tier1{name}") % 1000 / 1000
    if position < very_rare:
        return "C"
    return "B" if position < very_rare + rare else "A"
