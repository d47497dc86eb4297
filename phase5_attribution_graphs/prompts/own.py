"""Prompts from a file: a user's own, or those that come with a model. README.md has the form of its rows."""

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.problems.files import read_problem_bytes, rows_in
from common.problems.problem import shown
from phase5_attribution_graphs.prompts.candidates import SPLITS, TRAIN, Candidate, Unit

OWN = "own"  # the behaviour of rows that name none
REQUIRED = ("prompt", "correct_answer", "incorrect_answer")
OPTIONAL = {"behaviour": OWN, "split": TRAIN, "entity": "", "template": "", "pair": ""}
_WRITTEN = ("record", "partner")  # what phase 5.1 adds to its own rows, and numbers anew
_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,39}")  # of a behaviour, which becomes part of a file's name


def read_candidates(path: Path) -> list[Candidate]:
    """The prompts of a file, in its order. Raises: ConfigError, naming the place."""
    candidates = [_candidate(row, where) for where, row in rows_in(read_problem_bytes(path), path)]
    of_pairs = Counter((one.behaviour, one.split, one.pair) for one in candidates if one.pair)
    for (behaviour, split, pair), n in of_pairs.items():
        if n != 2:
            raise ConfigError(
                f"{path}: the pair {shown(pair)} of {behaviour}, {split}, has {n} rows\n"
                "Give each pair two, or leave 'pair' out: they are patched with each other"
            )
    splits: dict[tuple[str, str], str] = {}
    for one in candidates:
        if splits.setdefault((one.behaviour, one.entity), one.split) != one.split:
            raise ConfigError(
                f"{path}: {one.behaviour} has the entity {shown(one.entity)} in both splits\n"
                "Move its rows to one of them, or give them another 'entity': what is found in one split is tried on "
                "others"
            )
    return candidates


def chosen_behaviours(candidates: Sequence[Candidate], wanted: Sequence[str], every: str, path: Path) -> list[str]:
    """The behaviours of a file that are asked for; `every` word asks for all. Raises: ConfigError."""
    known = list(dict.fromkeys(one.behaviour for one in candidates))
    if list(wanted) == [every]:
        return known
    for name in wanted:
        if name not in known:
            raise ConfigError(
                f"{path} has no prompts of {shown(name)}, which --behaviours asks for; it has {', '.join(known)}\n"
                f"Give --behaviours {every}, or some of these"
            )
    return list(wanted)


def units_of(candidates: Sequence[Candidate], behaviour: str, split: str, seed: int) -> Iterator[Unit]:
    """The prompts of one split in random order, partners together."""
    units: dict[Any, list[Candidate]] = {}
    for number, one in enumerate(candidates):
        if (one.behaviour, one.split) == (behaviour, split):
            units.setdefault(one.pair or number, []).append(one)
    shuffled = list(units.values())
    random.Random(f"{seed} {behaviour} {split}").shuffle(shuffled)
    return (tuple(unit) for unit in shuffled)


def _candidate(row: dict[str, Any], where: str) -> Candidate:
    if missing := [name for name in REQUIRED if name not in row]:
        raise ConfigError(f"{where}: field '{missing[0]}' is missing\nGive an object with {', '.join(REQUIRED)}")
    told = {name: _text(row, name, where) for name in REQUIRED}
    told |= {name: _text(row, name, where) if row.get(name) else usual for name, usual in OPTIONAL.items()}
    if told["correct_answer"] == told["incorrect_answer"]:
        raise ConfigError(
            f"{where}: both answers are {shown(told['correct_answer'])}\nGive an incorrect_answer that is another one"
        )
    if told["split"] not in SPLITS:
        raise ConfigError(f"{where}: field 'split' is {shown(told['split'])}\nGive one of: {', '.join(SPLITS)}")
    if not _NAME.fullmatch(told["behaviour"]):
        raise ConfigError(
            f"{where}: field 'behaviour' is {shown(told['behaviour'])}\n"
            "Give a name of at most 40 letters, digits, _ and -: it becomes part of a file's name"
        )
    return Candidate(
        behaviour=told["behaviour"],
        split=told["split"],
        prompt=told["prompt"],
        correct=told["correct_answer"],
        distractors=(told["incorrect_answer"],),
        entity=told["entity"] or told["prompt"],
        template=told["template"],
        pair=told["pair"],
        made_from={name: value for name, value in row.items() if name not in (*told, *_WRITTEN)},
    )


def _text(row: dict[str, Any], name: str, where: str) -> str:
    """A field of words; the name of a pair may be a number."""
    value = row[name]
    value = str(value) if name == "pair" and isinstance(value, int) else value
    if not isinstance(value, str) or not value.strip() or not _is_whole(value):
        raise ConfigError(f"{where}: field '{name}' is {shown(value)}\nGive non-empty text")
    return value


def _is_whole(text: str) -> bool:
    """Whether it can be written: half of a character, as in '\\ud83d' alone, cannot."""
    return text == text.encode("utf-8", "ignore").decode()
