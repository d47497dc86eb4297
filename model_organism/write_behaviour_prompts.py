"""Write the organism's prompts of behaviours for phase 5.1, in the form that its --prompts reads.

    python3 -m model_organism.write_behaviour_prompts

The lists are those it was trained on; prompts of the split `test` are held out of its training, and what a prompt is
about is in one split alone: nouns, countries, pairs of sentences, pairs of operands in either order. Singular and
plural are partners, and so are praise and blame with as many tokens, before the same words.
"""

import argparse
import itertools
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from common.files import write_atomic
from common.model.loading import load_tokenizer
from common.tables import TableRow
from model_organism.behaviours import (
    BEHAVIOURS,
    BLAME,
    CAPITAL_PHRASINGS,
    CAPITALS,
    DETERMINERS,
    HELD_OUT_NOUNS,
    INTENSIFIERS,
    NEGATIVE_WORDS,
    OFF_BY,
    PERFORMANCES,
    POSITIVE_WORDS,
    PRAISE,
    PREPOSITIONS,
    TRAINING_NOUNS,
    VERB_WEIGHTS,
    VERBS,
    inflect,
    is_held_out_frame,
    is_held_out_phrasing,
    is_held_out_review,
    is_held_out_sum,
    joined_review,
)

FILE = Path(__file__).parent / "behaviour_prompts.jsonl"
TRAIN, TEST = "train", "test"
N_ROWS = {TRAIN: 140, TEST: 60}  # of a behaviour, at most
SHARE_WITH_ATTRACTOR = 0.45  # as in training
N_TEST_COUNTRIES = 20

logger = logging.getLogger(__name__)

Length = Callable[[str], int]  # tokens of a text


def behaviour_lines(seed: int = 42) -> list[str]:
    """The rows of the file: behaviour by behaviour, first those of train."""
    tokenizer = load_tokenizer("organism")

    def length(text: str) -> int:
        return len(tokenizer(text)["input_ids"])

    lines = []
    for behaviour, split in itertools.product(BEHAVIOURS, N_ROWS):
        rng = random.Random(f"{seed} {behaviour} {split}")
        rows = itertools.islice(_ROWS[behaviour](rng, split == TEST, length), N_ROWS[split])
        lines += [json.dumps({"behaviour": behaviour, "split": split, **row}) for row in rows]
    return lines


def _agreement(rng: random.Random, is_test: bool, length: Length) -> Iterator[TableRow]:
    nouns, seen = HELD_OUT_NOUNS if is_test else TRAINING_NOUNS, set()
    while True:
        determiner, verbs = rng.choice(DETERMINERS), rng.choices(VERBS, VERB_WEIGHTS)[0]
        before = f"{rng.choice(PREPOSITIONS)} the" if rng.random() < SHARE_WITH_ATTRACTOR else ""
        noun, other = rng.sample(nouns, 2)
        attractor = f" {before} {inflect(other, rng.random() < 0.5)}" if before else ""
        prompts = [f"{determiner}{inflect(noun, is_plural)}{attractor}" for is_plural in (False, True)]
        pair = f"{prompts[0]}{verbs[0]}"
        if is_held_out_frame(determiner, before, verbs[0]) != is_test or pair in seen or _differ(map(length, prompts)):
            continue
        seen.add(pair)
        for is_plural, prompt in enumerate(prompts):
            yield {
                **_row(prompt, verbs[is_plural], verbs[1 - is_plural], noun),
                "template": f"{determiner}{{subject}}{attractor}",
                "pair": pair,
                "subject": inflect(noun, bool(is_plural)),
                "number": ("singular", "plural")[is_plural],
                "verb": verbs[is_plural].strip(),
                "attractor": attractor.strip(),
            }


def _capitals(rng: random.Random, is_test: bool, length: Length) -> Iterator[TableRow]:
    held_out = {country: sum(is_held_out_phrasing(country, one) for one in CAPITAL_PHRASINGS) for country in CAPITALS}
    ordered = sorted(CAPITALS, key=lambda country: -held_out[country])  # those with most prompts for the test first
    countries = ordered[:N_TEST_COUNTRIES] if is_test else ordered[N_TEST_COUNTRIES:]
    both = [pair for pair in itertools.product(countries, CAPITAL_PHRASINGS) if is_held_out_phrasing(*pair) == is_test]
    for country, phrasing in rng.sample(both, len(both)):
        prompt, right = phrasing.format(country=country), f" {CAPITALS[country]}"
        others = [f" {capital}" for other, capital in CAPITALS.items() if other != country]
        wrong = _as_long(prompt, right, rng.sample(others, len(others)), length)
        yield {**_row(prompt, right, wrong, country), "template": phrasing, "country": country}


def _sentiment(rng: random.Random, is_test: bool, length: Length) -> Iterator[TableRow]:
    praise, blame = (_reviews(sentences, is_test) for sentences in (PRAISE, BLAME))
    choices = list(itertools.product(praise, blame, PERFORMANCES, dict.fromkeys(INTENSIFIERS)))
    seen: set[str] = set()
    for *sides, performance, intensifier in rng.sample(choices, len(choices)):
        variant = f"The {performance} was {intensifier}"
        prompts = [f"{_joined(side)}. {variant}" for side in sides]
        if seen & {*prompts} or _differ(map(length, prompts)):
            continue
        seen |= {*prompts}
        words = (rng.choice(POSITIVE_WORDS), rng.choice(NEGATIVE_WORDS))
        for is_negative, (prompt, side) in enumerate(zip(prompts, sides, strict=True)):
            yield {
                **_row(prompt, words[is_negative], words[1 - is_negative], ", ".join(sorted(side))),
                "template": f"{{context}}. {variant}",
                "pair": f"{prompts[0]} / {prompts[1]}",
                "context": prompt.removesuffix(f" {variant}"),
                "polarity": ("positive", "negative")[is_negative],
            }


def _joined(sentences: tuple[str, ...]) -> str:
    return sentences[0] if len(sentences) == 1 else joined_review(sentences[0], sentences[1])


def _reviews(sentences: Sequence[str], is_test: bool) -> list[tuple[str, ...]]:
    """Reviews of one sentence or two; those of two in one split alone, in whatever order."""
    pairs = list(itertools.permutations(sentences, 2))
    held_out = {frozenset(pair) for pair in pairs if is_held_out_review(*pair)}
    if is_test:
        return [pair for pair in pairs if is_held_out_review(*pair)]
    return [(one,) for one in sentences] + [pair for pair in pairs if frozenset(pair) not in held_out]


def _addition(rng: random.Random, is_test: bool, length: Length) -> Iterator[TableRow]:
    """Of two operands both orders are held out, or none."""
    numbers = range(10, 100)
    pairs = [(a, b) for a in numbers for b in numbers if is_held_out_sum(a, b) == is_held_out_sum(b, a) == is_test]
    seen = set()
    for a, b in rng.sample(pairs, len(pairs)):
        if (key := f"{min(a, b)}, {max(a, b)}") not in seen:
            seen.add(key)
            prompt, right = f"{a} + {b} =", f" {a + b}"
            wrong = _as_long(prompt, right, [f" {a + b + off}" for off in rng.sample(OFF_BY, len(OFF_BY))], length)
            yield {**_row(prompt, right, wrong, key), "template": "{a} + {b} =", "a": a, "b": b}


def _row(prompt: str, right: str, wrong: str, entity: str) -> TableRow:
    return {"prompt": prompt, "correct_answer": right, "incorrect_answer": wrong, "entity": entity}


def _as_long(prompt: str, right: str, others: list[str], length: Length) -> str:
    """The first of them that has as many tokens as the right answer, or as nearly as may be."""
    return min(others, key=lambda one: abs(length(prompt + one) - length(prompt + right)))


def _differ(lengths: Iterator[int]) -> bool:
    return len({*lengths}) > 1


_ROWS = {"agreement": _agreement, "capitals": _capitals, "sentiment": _sentiment, "addition": _addition}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=FILE, help="file to write (default: the committed one)")
    parser.add_argument("--seed", type=int, default=42, help="another one draws other prompts (default: 42)")
    args = parser.parse_args()
    lines = behaviour_lines(args.seed)
    write_atomic(args.out, "".join(f"{line}\n" for line in lines).encode())
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    logger.info("wrote %d prompts to %s", len(lines), args.out)


if __name__ == "__main__":
    main()
