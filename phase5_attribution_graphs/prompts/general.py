"""Prompts for any model, from lists of words (lists.py): candidates of each behaviour and split, in random order.

No entity is in both splits: a noun, a country, a pair of contexts, a pair of operands in either order.
"""

import itertools
import random
from collections.abc import Iterator

from phase5_attribution_graphs.prompts.candidates import Candidate, Unit, entities_of
from phase5_attribution_graphs.prompts.lists import (
    ATTRACTORS,
    CAPITAL_TEMPLATES,
    CITIES,
    CONTEXTS,
    CONTINUATIONS,
    NOUNS,
    OFF_BY,
    OPERAND_RANGES,
    SENTIMENT_ANSWERS,
    SENTIMENT_VARIANTS,
    SUM_TEMPLATES,
    VERBS,
)


def general_units(behaviour: str, split: str, seed: int, test_share: float) -> Iterator[Unit]:
    """Candidates of one split; `test_share` of the entities are those of the test split."""
    name = f"{seed} {behaviour}"
    return _UNITS[behaviour](split, random.Random(f"{name} {split}"), test_share, name)


def _agreement(split: str, rng: random.Random, test_share: float, name: str) -> Iterator[Unit]:
    """Singular and plural of a noun, with the same verb and the same words between the two."""
    tails = [(tail, "continuation") for tail in CONTINUATIONS]
    tails += [(f" {attractor}", "attractor") for pair in ATTRACTORS for attractor in pair]
    choices = list(itertools.product(entities_of(split, NOUNS, test_share, name), VERBS, tails))
    rng.shuffle(choices)
    for nouns, verbs, (tail, kind) in choices:
        yield tuple(
            Candidate(
                behaviour="agreement",
                split=split,
                prompt=f"The {nouns[is_plural]}{tail}",
                correct=f" {verbs[is_plural]}",
                distractors=(f" {verbs[not is_plural]}",),
                entity=nouns[0],
                template=f"The {{subject}}{tail}",
                pair=f"{nouns[0]} {'/'.join(verbs)}{tail}",
                made_from={
                    "subject": nouns[is_plural],
                    "number": ("singular", "plural")[is_plural],
                    "verb": verbs[is_plural],
                    kind: tail.strip(),
                },
            )
            for is_plural in (False, True)
        )


def _capitals(split: str, rng: random.Random, test_share: float, name: str) -> Iterator[Unit]:
    choices = list(itertools.product(entities_of(split, list(CITIES), test_share, name), CAPITAL_TEMPLATES))
    rng.shuffle(choices)
    for country, template in choices:
        capital, *others = CITIES[country]
        yield (
            Candidate(
                behaviour="capitals",
                split=split,
                prompt=template.format(country=country),
                correct=f" {capital}",
                distractors=tuple(f" {city}" for city in rng.sample(others, len(others))),
                entity=country,
                template=template,
                made_from={"country": country, "capital": capital},
            ),
        )


def _sentiment(split: str, rng: random.Random, test_share: float, name: str) -> Iterator[Unit]:
    """A context with praise and its twin with blame, before the same words."""
    choices = list(itertools.product(entities_of(split, CONTEXTS, test_share, name), SENTIMENT_VARIANTS))
    rng.shuffle(choices)
    for contexts, variant in choices:
        words = rng.choice(SENTIMENT_ANSWERS)
        yield tuple(
            Candidate(
                behaviour="sentiment",
                split=split,
                prompt=f"{contexts[is_negative]} {variant}",
                correct=f" {words[is_negative]}",
                distractors=(f" {words[not is_negative]}",),
                entity=contexts[0],
                template=f"{{context}} {variant}",
                pair=f"{contexts[0]} {variant}",
                made_from={"context": contexts[is_negative], "polarity": ("positive", "negative")[is_negative]},
            )
            for is_negative in (False, True)
        )


def _addition(split: str, rng: random.Random, test_share: float, name: str) -> Iterator[Unit]:
    """Sums of each range of operands in turn, each pair of operands once."""
    spans = [range(low, high + 1) for low, high in OPERAND_RANGES]
    pairs = sorted({(a, b) for span in spans for a in span for b in span if a <= b})
    pairs_of_split = entities_of(split, pairs, test_share, name)
    of_spans = [iter([pair for pair in pairs_of_split if pair[0] in span and pair[1] in span]) for span in spans]
    seen: set[tuple[int, int]] = set()
    for number, (span, of_span) in enumerate(itertools.cycle(zip(OPERAND_RANGES, of_spans, strict=True))):
        pair = next((one for one in of_span if one not in seen), None)
        if pair is None:
            return
        seen.add(pair)
        (a, b), template = rng.sample(pair, 2), SUM_TEMPLATES[number // len(OPERAND_RANGES) % len(SUM_TEMPLATES)]
        yield (
            Candidate(
                behaviour="addition",
                split=split,
                prompt=template.format(a=a, b=b),
                correct=f" {a + b}",
                distractors=tuple(f" {a + b + off}" for off in rng.sample(OFF_BY, len(OFF_BY))),
                entity=f"{pair[0]}, {pair[1]}",
                template=template,
                made_from={"a": a, "b": b, "operands": f"{span[0]} to {span[1]}"},
            ),
        )


_UNITS = {"agreement": _agreement, "capitals": _capitals, "sentiment": _sentiment, "addition": _addition}
