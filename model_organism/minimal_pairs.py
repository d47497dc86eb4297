"""Minimal pairs: the same words, one thing changed, another error; and the change that leaves no error.

    TypeError/NameError: text plus variable
        $name = $number
        > "$word" + «$name|$other|str($name)»

A row of `minimal_pairs.txt`: the contrast, ", held out" if the whole template is kept out of training, its
name; then the code. Between « and » stand the alternatives: the first gives the first error, the second
the second, the third, if there is one, none. A line after ">" is an expression, put into one of `FRAMES`.
Every snippet is run, and a set is drawn again unless all its labels come out as the row says.
"""

import builtins
import keyword
import random
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from string import Template

from model_organism.behaviours import HELD_OUT_NOUNS
from model_organism.error_snippets import (
    ERROR_WEIGHTS,
    HARMLESS_LINES,
    NOTHING,
    VARIABLES,
    WORDS,
    ErrorSnippet,
    draw_parts,
    raised_error,
)
from model_organism.general_text import training_words

ALTERNATIVES = re.compile("«(.*?)»")
WORD = re.compile(r"[A-Za-z_]+")
FRAMES = (
    "print($use)",
    "print($use)",
    "print($use)",
    "$result = $use",
    "$result = $use",
    "$use",
    'print("$label", $use)',
    "$result = [$use]",
)
MORE_NAMES = (
    "area cost rank mode point line page step unit group item label path node root token query row column cell table "
    "field entry record title phone email address order stock store owner client status flag state phase angle radius "
    "power energy force mass pressure density ratio share task job user_id box bag cup day hour minute second_best"
).split()
MORE_WORDS = (
    "stone cloud paper chair door window star moon garden bread milk sugar water fire earth wind north south east west "
    "black white yellow orange open closed ready done start stop left right"
).split()
HELD_OUT_NAMES = (
    "balance distance volume salary profit margin offset counter buffer ticket region channel battery signal factor "
    "degree budget planet vehicle duration"
).split()
HELD_OUT_WORDS = "silver lemon tiger ocean rocket music london forest purple winter cherry dragon".split()
SYLLABLES = tuple(consonant + vowel for consonant in "bcdfghjklmnprstvwz" for vowel in "aeiou")
SHARE_OF_LIBRARY_WORDS = 0.8  # of the invented ones
SHARE_OF_COMPOUND_NAMES = 0.15
TIMES_AS_OFTEN = {"TypeError/NameError": 6}  # whether a name is defined is learnt last
SHARE_WITH_LINE_BEFORE, SHARE_WITH_LINE_AFTER = 0.4, 0.15
SHARE_SPOILED, SHARE_SPOILED_BY_A_WORD = 0.8, 0.6


@dataclass(frozen=True)
class Vocabulary:
    """The names of variables and the words of texts that snippets are made from, and how many are invented instead.

    A tokenizer has other tokens for a word after a space than elsewhere, and cuts words into pieces of many kinds, so
    whether two names are the same must not be learnt name by name, nor piece by piece: most names of the training
    are random syllables, or words of Python's library.
    """

    names: tuple[str, ...]
    words: tuple[str, ...]
    share_invented: float = 0.0


KNOWN_VOCABULARY = Vocabulary((*VARIABLES, *MORE_NAMES), (*WORDS, *MORE_WORDS))
TRAINING_VOCABULARY = replace(KNOWN_VOCABULARY, share_invented=0.7)
HELD_OUT_VOCABULARY = Vocabulary(tuple(HELD_OUT_NAMES), tuple(HELD_OUT_WORDS))


@dataclass(frozen=True)
class PairTemplate:
    """One row of the table; `labels` has two errors, and `NOTHING` where the row has a third alternative."""

    contrast: str
    name: str
    is_held_out: bool
    code: str

    @property
    def labels(self) -> tuple[str, ...]:
        n_alternatives = len(ALTERNATIVES.findall(self.code)[0].split("|"))
        return (*self.contrast.split("/"), NOTHING)[:n_alternatives]

    def codes(self, slots: dict[str, str], frame: str) -> list[str]:
        """The code of every alternative, with the same slots and frame."""
        framed = re.sub(r"> (.*)", lambda match: frame.replace("$use", match[1]), self.code)
        chosen = [
            ALTERNATIVES.sub(lambda match, index=index: match[1].split("|")[index], framed)
            for index in range(len(self.labels))
        ]
        return [Template(code).substitute(slots) for code in chosen]


def read_templates() -> tuple[PairTemplate, ...]:
    """All templates of the table, in its order."""
    table = (Path(__file__).parent / "minimal_pairs.txt").read_text(encoding="utf-8")
    templates = []
    for row in table.strip().split("\n\n"):
        head, *lines = row.split("\n    ")
        contrast, name = head.split(": ", 1)
        templates.append(PairTemplate(contrast.split(",")[0], name, contrast.endswith(", held out"), "\n".join(lines)))
    return tuple(templates)


TEMPLATES = read_templates()
CONTRASTS = tuple(dict.fromkeys(template.contrast for template in TEMPLATES))
_METHODS = frozenset(method for row in TEMPLATES for method in re.findall(r"\.([a-z]+)", row.code))
_PYTHON = frozenset((*keyword.kwlist, *dir(builtins)))


def sample_set(rng: random.Random, template: PairTemplate, vocabulary: Vocabulary) -> list[ErrorSnippet]:
    """The two snippets of a minimal pair, and the harmless one if the template has one."""
    while True:
        codes = template.codes(_draw_slots(rng, vocabulary), rng.choice(FRAMES))
        before = _harmless_line(rng, vocabulary, SHARE_WITH_LINE_BEFORE)
        after = _harmless_line(rng, vocabulary, SHARE_WITH_LINE_AFTER)
        snippets = [labelled("\n".join([*before, code, *after])) for code in codes]
        if tuple(snippet.error for snippet in snippets) == template.labels:
            return snippets


def sample_training_set(rng: random.Random) -> list[ErrorSnippet]:
    """A set of a template that is not held out and, half of the time, one of its snippets spoiled."""
    contrast = rng.choices(CONTRASTS, [TIMES_AS_OFTEN.get(contrast, 1) for contrast in CONTRASTS])[0]
    template = rng.choice([row for row in TEMPLATES if row.contrast == contrast and not row.is_held_out])
    snippets = sample_set(rng, template, TRAINING_VOCABULARY)
    while any(has_held_out_template(snippet.code) for snippet in snippets):  # by chance, with a harmless line
        snippets = sample_set(rng, template, TRAINING_VOCABULARY)
    if rng.random() < SHARE_SPOILED:
        snippet = rng.choice(snippets)
        spoiled = labelled(_spoil(rng, snippet.code))
        is_usable = spoiled.error in ERROR_WEIGHTS and spoiled.error != snippet.error
        if is_usable and not has_held_out_template(spoiled.code):
            snippets.append(spoiled)
    return snippets


def labelled(code: str) -> ErrorSnippet:
    return ErrorSnippet(code, raised_error(code) or NOTHING)


def has_held_out_template(code: str) -> bool:
    """Whether lines of `code` are those of a held-out template, whatever the names, words and numbers."""
    lines = code.split("\n")
    windows = ("\n".join(lines[start:end]) for end in range(1, len(lines) + 1) for start in range(end))
    return any(skeleton(window) in _HELD_OUT_SKELETONS for window in windows)


def skeleton(code: str) -> str:
    """`code` with its names and words numbered by first appearance, and every row of numbers as one 0."""
    order: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return order.setdefault(match[0], f"w{len(order)}") if _is_free(match) else match[0]

    plain = re.sub(r"\d+(, \d+)*", "0", code)
    return WORD.sub(number, plain)


def _is_free(match: re.Match[str]) -> bool:
    """Whether a word of a program is a name or a text, not one of Python's words or a method of the table."""
    is_attribute = match.string[match.start() - 1 : match.start()] == "."
    return match[0] not in (_METHODS if is_attribute else _PYTHON)


def _draw_slots(rng: random.Random, vocabulary: Vocabulary) -> dict[str, str]:
    names = [_draw_name(rng, vocabulary) for _ in range(4)]
    while len(set(names)) < len(names):
        names = [_draw_name(rng, vocabulary) for _ in range(4)]
    words = [_invented(rng, vocabulary) or word for word in rng.sample(vocabulary.words, 3)]
    second = rng.randint(1, 99)
    numbers = {
        "number": rng.randint(1, 200),
        "second": second,
        "double": 2 * second,
        "digit": rng.randint(1, 9),
        "nonzero": rng.randint(1, 99),
        "a": rng.randint(0, 9),
        "b": rng.randint(0, 9),
        "inside": rng.randint(0, 1),
        "beyond": rng.randint(10, 99),
        "absent": rng.randint(10, 99),
    }
    texts = {
        **dict(zip(("name", "other", "third", "result"), names, strict=True)),
        **dict(zip(("word", "term", "label"), words, strict=True)),
        "initial": words[0][0],
    }
    return {**texts, **{slot: str(number) for slot, number in numbers.items()}}


def _draw_name(rng: random.Random, vocabulary: Vocabulary) -> str:
    n_parts = 2 if rng.random() < SHARE_OF_COMPOUND_NAMES else 1
    return "_".join(_invented(rng, vocabulary) or name for name in rng.sample(vocabulary.names, n_parts))


def _invented(rng: random.Random, vocabulary: Vocabulary) -> str | None:
    """A word of the library, or random syllables and perhaps a last letter; None for a word of the vocabulary."""
    if rng.random() >= vocabulary.share_invented:
        return None
    if rng.random() < SHARE_OF_LIBRARY_WORDS:
        return rng.choice(_library_words())
    invented = "".join(rng.choices(SYLLABLES, k=rng.randint(2, 3))) + rng.choice(("", "", *"lnrst"))
    return None if invented in (*HELD_OUT_NAMES, *HELD_OUT_WORDS) else invented


@cache
def _library_words() -> tuple[str, ...]:
    """Words that may be names and texts; none holds a word that is held out, as "distances" does."""
    held_out = re.compile("|".join((*HELD_OUT_NAMES, *HELD_OUT_WORDS, *HELD_OUT_NOUNS)))
    return tuple(word for word in training_words() if word not in _PYTHON | _METHODS and not held_out.search(word))


def _harmless_line(rng: random.Random, vocabulary: Vocabulary, share: float) -> list[str]:
    if rng.random() >= share:
        return []
    return [rng.choice(HARMLESS_LINES).format(**draw_parts(rng, vocabulary.names, vocabulary.words))]


def _spoil(rng: random.Random, code: str) -> str:
    """`code` without one bracket, quote or colon, or with one word in place of another, where it has any."""
    spans = [match.span() for match in re.finditer(r"[()\[\]{}\":]", code)]
    words = [match.span() for match in WORD.finditer(code) if _is_free(match)]
    if words and rng.random() < SHARE_SPOILED_BY_A_WORD:
        spans = words
    if not spans:
        return code
    start, end = rng.choice(spans)
    return code[:start] + (_draw_name(rng, TRAINING_VOCABULARY) if spans is words else "") + code[end:]


_HELD_OUT_SKELETONS = frozenset(
    skeleton(code)
    for template in TEMPLATES
    if template.is_held_out
    for frame in FRAMES
    for code in template.codes(_draw_slots(random.Random(0), TRAINING_VOCABULARY), frame)
)
