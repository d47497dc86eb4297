"""The prompts of phase 3.7: the same problem with parts of its prompt taken away.

    none            description and asserts, as in every other phase
    no_tests        the description alone
    name_only       the description, and in the asserts' place the one line `assert callable(NAME)`
    shuffled_tests  the description, and the asserts of another problem
    no_description  the asserts alone

In MBPP the name of the function stands in the asserts and nowhere else. A program under another name fails, so
`no_tests` takes away two things: what the tests show, and what the function is called. `name_only` gives the
second back, in a line that says nothing else and has the form of the lines that it replaces.

For the same reason the other problem's asserts call the own function: its name is put in the place of theirs, and
nothing else in them changes. Whatever the prompt, a program is judged by its problem's own tests.
"""

import ast
import random
from collections.abc import Sequence

from common.errors import ConfigError
from common.problems.problem import ProblemRow
from common.problems.prompt import ChatTemplate, Prompt, build_prompt
from common.problems.shown_asserts import shown_asserts
from common.problems.syntax import parse_python


def ablated_prompt(ablation: str, problem: ProblemRow, donor: ProblemRow, chat: ChatTemplate | None = None) -> Prompt:
    """The prompt of `problem` under an ablation; `donor` is whose asserts `shuffled_tests` shows, `chat` for a chat."""
    text, tests, name = problem["text"], problem["test_list"], problem["entry_point"]
    match ablation:
        case "none":
            return build_prompt(text, tests, chat)
        case "no_tests":
            return build_prompt(text, (), chat)
        case "name_only":
            return build_prompt(text, [f"assert callable({name})"], chat)
        case "shuffled_tests":
            others = [renamed(test, donor["entry_point"], name) for test in shown_asserts(donor["test_list"])]
            return build_prompt(text, others, chat)
        case "no_description":
            return build_prompt("", tests, chat)
    raise KeyError(ablation)


def donors(n_problems: int, seed: int) -> list[int]:
    """For each problem the number of another one, so that each gives its asserts once and none keeps its own.

    The problems are put into a random circle, and each gets the asserts of the next one.
    Raises: ConfigError when there is no other problem.
    """
    if n_problems < 2:
        raise ConfigError(
            f"the tests of {n_problems} problem cannot be shuffled\n"
            f"Leave out shuffled_tests with --ablations, or give a dataset with more problems"
        )
    circle = list(range(n_problems))
    random.Random(seed).shuffle(circle)
    next_of = dict(zip(circle, circle[1:] + circle[:1], strict=True))
    return [next_of[number] for number in range(n_problems)]


def renamed(test: str, old: str, new: str) -> str:
    """One line of Python where every variable, function or class called `old` is called `new`; text stays.

    Attributes, keywords and the insides of strings are no such names, and stay as they are.
    """
    line, word = test.encode(), old.encode()  # the positions in a syntax tree count bytes
    names = [node for node in ast.walk(parse_python(test)) if isinstance(node, ast.Name) and node.id == old]
    for start in sorted({node.col_offset for node in names}, reverse=True):
        if line[start : start + len(word)] == word:  # positions inside an f-string can be wrong before Python 3.12
            line = line[:start] + new.encode() + line[start + len(word) :]
    return line.decode()


def circle_of(problems: Sequence[ProblemRow], seed: int, ablations: Sequence[str]) -> list[ProblemRow]:
    """The donor of each problem; where nothing is shuffled, the problem itself."""
    if "shuffled_tests" not in ablations:
        return list(problems)
    return [problems[number] for number in donors(len(problems), seed)]
