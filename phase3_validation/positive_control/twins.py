"""Twins: two problems that differ in what is asked for alone, as a file of pairs holds them (see README.md)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import ConfigError
from common.problems.files import read_problem_bytes, rows_in
from common.problems.problem import Problem, problem_from_row, shown
from common.problems.prompt import ChatTemplate, Prompt, build_prompt

READ, STEER = USES = ("read", "steer")
KEYS = ("pair", "use", "a", "b")


@dataclass(frozen=True)
class Twin:
    """Problem `a` and its twin `b`, of a `pair` of operations: to read the difference from, or to steer.

    Both have the number of their row, from 0, as task_id.
    """

    pair: str
    use: str
    a: Problem
    b: Problem

    @property
    def task_id(self) -> int:
        return self.a.task_id


def prompt_of(problem: Problem, chat: ChatTemplate | None = None) -> Prompt:
    return build_prompt(problem.text, problem.test_list, chat)


def of_pairs(twins: Sequence[Twin], use: str) -> dict[str, list[Twin]]:
    """Twins of one use by their pair, in the order of the file."""
    by_pair: dict[str, list[Twin]] = defaultdict(list)
    for twin in twins:
        if twin.use == use:
            by_pair[twin.pair].append(twin)
    return dict(by_pair)


def read_twins(path: Path) -> list[Twin]:
    """The twins of a file, of each pair some to read and some to steer. Raises: ConfigError, naming the place."""
    twins = [_twin(row, number, where) for number, (where, row) in enumerate(rows_in(read_problem_bytes(path), path))]
    uses = {use: of_pairs(twins, use) for use in USES}
    for use, pairs in uses.items():
        lacking = [twin.pair for twin in twins if twin.pair not in pairs]
        if lacking:
            raise ConfigError(
                f"{path}: the pair {shown(lacking[0])} has no twins with use '{use}'\n"
                f"Give each pair rows of both uses, {READ} and {STEER}: no difference is tried on what it is read from"
            )
    return twins


def _twin(row: dict[str, Any], number: int, where: str) -> Twin:
    if missing := [key for key in KEYS if key not in row]:
        raise ConfigError(f"{where}: field '{missing[0]}' is missing\nGive an object with {', '.join(KEYS)}")
    if not isinstance(row["pair"], str) or not row["pair"].strip():
        raise ConfigError(f"{where}: field 'pair' is {shown(row['pair'])}\nGive the pair a name, such as sort>reverse")
    if row["use"] not in USES:
        raise ConfigError(f"{where}: field 'use' is {shown(row['use'])}\nGive one of: {', '.join(USES)}")
    a, b = (_problem(row[side], number, f"{where}, {side}") for side in ("a", "b"))
    if a.entry_point != b.entry_point:
        raise ConfigError(
            f"{where}: the functions of a and b are called {a.entry_point} and {b.entry_point}\n"
            "Give both one name, which says nothing of what they do: else the difference holds the name"
        )
    for name in ("code", "test_list"):
        if getattr(a, name) == getattr(b, name):
            raise ConfigError(f"{where}: a and b have the same '{name}'\nGive twins that ask for different things")
    return Twin(row["pair"], row["use"], a, b)


def _problem(row: Any, number: int, where: str) -> Problem:
    if not isinstance(row, dict):
        raise ConfigError(f"{where} is {shown(row)}\nGive an object with text, code and test_list, as in MBPP")
    return problem_from_row({"task_id": number, **row}, where)
