"""A prompt before the tokenizer has seen it, and the splits of what prompts are about."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

TRAIN, TEST = SPLITS = ("train", "test")
Entity = TypeVar("Entity")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A prompt with its right answer and the wrong ones it may have, those that are preferred first.

    `entity` is what it is about, `template` its frame; `pair` names the two that are patched with each other, and is
    empty where the next prompt of the template is the partner.
    """

    behaviour: str
    split: str
    prompt: str
    correct: str
    distractors: tuple[str, ...]
    entity: str
    template: str = ""
    pair: str = ""
    made_from: dict[str, Any] = field(default_factory=dict, hash=False)


Unit = tuple[Candidate, ...]  # what is taken or refused together: two partners, or one prompt


def entities_of(split: str, entities: Sequence[Entity], test_share: float, name: str) -> list[Entity]:
    """The entities of one split, in random order: those of the other are others, whatever the prompts."""
    shuffled = random.Random(f"{name} entities").sample(entities, len(entities))
    n_test = min(max(1, round(test_share * len(shuffled))), len(shuffled) - 1)
    return shuffled[:n_test] if split == TEST else shuffled[n_test:]
