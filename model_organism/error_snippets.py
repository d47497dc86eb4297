"""Short programs that fail, each labelled with the error it really raises.

A snippet is written so as to raise a given error, then compiled and run; it is kept only if it does
raise that error. One in ten, by a hash of its text, is held out for the evaluation. After a program
that raises nothing (`minimal_pairs` has some) the answer is `NOTHING`, in this one form.
"""

import contextlib
import io
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

from common.handoffs.error_pairs import QUESTION
from model_organism.operations.operation import stable_hash
from model_organism.problems import EVALUATION, TRAINING

NOTHING = "nothing"
VARIABLES = (
    "temperature price count total name value score age level index result size speed width height weight depth "
    "amount number length user city color message year month limit rate"
).split()
WORDS = "apple river happy blue hello world alice bob tokyo paris green python seven data code note".split()
# fmt: off
HARMLESS_LINES = (
    "{noun} = {number}", 'print("{word}")', '{noun} = "{word}"', "{noun} = {items}",
    "print({number} + {second})", "{noun} = {number} * {second}",
)
SHARE_WITH_HARMLESS_LINE = 0.35
ERROR_WEIGHTS = {
    "TypeError": 3, "SyntaxError": 3, "NameError": 2, "ZeroDivisionError": 1.6, "IndexError": 1.6, "KeyError": 1.4,
    "AttributeError": 1.4, "ValueError": 1.4, "ModuleNotFoundError": 0.5, "AssertionError": 0.6,
    "IndentationError": 0.7,
}
TEMPLATES = {
    "TypeError": (
        'print("{noun}: " + {number})', 'print("{noun} is " + {number})', 'print({number} + "{word}")',
        '{noun} = {number}\nprint("{noun}: " + {noun})', '{noun} = "{word}" + {number}', "len({number})",
        "{noun} = {number}\nprint({noun}[0])", "{noun} = None\n{noun} + {number}", '{noun} = "{word}" - "{other}"',
        "{noun} = {items} + {number}", "{noun} = {number}\n{noun}({second})",
        "def {noun}(a, b):\n    return a + b\n{noun}({number})", "for x in {number}:\n    print(x)", 'sum("{word}")',
        '{noun} = "{second}" / {number}', 'print("{word}" * "{other}")',
    ),
    "SyntaxError": (
        'print("{noun}: " + {number}', 'print("{noun}: " + str({number})', 'print("{word}"',
        "{noun} = ({number} + {second}", 'if {number} > {second}\n    print("{word}")',
        "for x in {items}\n    print(x)", "def {noun}(a, b)\n    return a", "{noun} = = {number}",
        'print("{word})', "{noun} = [{number}, {second}",
        "while {number} < {second}\n    print({number})", "{noun} = {number} +", 'print("{noun}" "{word}"))',
        "{number} = {noun}", "def {noun}(:\n    return {number}", '{noun} = {number}\nprint("{noun}: " + str({noun})',
        'else:\n    print("{word}")',
    ),
    "NameError": (
        "print({noun})", "{other} = {number}\nprint({noun})", "{other} = {noun} + {number}", "print({noun} + {number})",
        '{other} = {number}\nprint("{other}: " + {noun})', "{noun}.append({number})", "print(str({noun}))",
        "for x in {noun}:\n    print(x)", "{noun}({number})", 'prnt("{word}")',
        "{other} = {items}\nprint(len({noun}))", 'if {noun} > {number}:\n    print("{word}")',
    ),
    "ZeroDivisionError": (
        "print({number} / 0)", "{noun} = {number} / 0", "{noun} = 0\nprint({number} / {noun})",
        "{noun} = {number} % 0", "{noun} = {number} // 0", "{noun} = {number}\n{other} = 0\nprint({noun} / {other})",
        "print({number} % 0)", "{noun} = {second} - {second}\nprint({number} / {noun})",
        "def {noun}(a):\n    return a / 0\n{noun}({number})", "print({number} // ({second} - {second}))",
    ),
    "IndexError": (
        "{noun} = {items}\nprint({noun}[{beyond_list}])", "print({items}[{beyond_list}])",
        "{noun} = []\nprint({noun}[0])",
        '{noun} = "{word}"\nprint({noun}[{beyond_word}])', "{noun} = {items}\n{noun}[{beyond_list}] = {number}",
        "{noun} = []\n{noun}.pop()", 'print("{word}"[{beyond_word}])', "{noun} = ()\nprint({noun}[{small}])",
    ),
    "KeyError": (
        "{noun} = {mapping}\nprint({noun}['{word}'])", "print({mapping}['{word}'])",
        "{other} = {{}}\nprint({other}['{word}'])", "{other} = {{'{noun}': {number}}}\nprint({other}['{word}'])",
        "{other} = {{'{noun}': {number}}}\n{other}.pop('{word}')",
        "{other} = {{'{word}': {number}}}\ndel {other}['{noun}']",
        "{other} = {{1: '{word}', 2: '{noun}'}}\nprint({other}[{beyond_list}])",
    ),
    "AttributeError": (
        "{noun} = {number}\n{noun}.append({second})", '{noun} = "{word}"\n{noun}.append("{other}")',
        "{noun} = {items}\n{noun}.push({number})", "{noun} = None\n{noun}.{other}()",
        "{noun} = {number}\nprint({noun}.upper())", 'print("{word}".{other}())',
        "{noun} = {items}\nprint({noun}.length)", "{noun} = ({number}, {second})\n{noun}.append({number})",
        "{noun} = {mapping}\n{noun}.add({number})",
    ),
    "ValueError": (
        'int("{word}")', '{noun} = int("{word}")', "{noun} = {items}\n{noun}.remove({absent})",
        "print({items}.index({absent}))", 'float("{word}")', "{noun}, {other} = {open_items}, 4, 5]",
        'print(int("{word} {number}"))', '{noun} = "{word}"\nprint({noun}.index("z"))',
    ),
    "ModuleNotFoundError": (
        "import {noun}_{word}", "from {word}{noun} import {other}", "import {word}_{noun} as {other}",
        "import {word}{number}",
    ),
    "AssertionError": (
        "assert {number} == {sum}", "{noun} = {number}\nassert {noun} == {sum}", "assert {number} > {sum}",
        "assert len({items}) == {longer}", 'assert "{word}" == "{noun}"', 'assert False, "{word}"',
    ),
    "IndentationError": (
        'if {number} > {second}:\nprint("{word}")', "for x in {items}:\nprint(x)", "def {noun}(a):\nreturn a",
        "  {noun} = {number}\nprint({noun})", "{noun} = {number}\n    print({noun})",
    ),
}
# fmt: on


@dataclass(frozen=True)
class ErrorSnippet:
    """A program and the name of the error that running it raises, or `NOTHING`."""

    code: str
    error: str

    @property
    def prompt(self) -> str:
        return self.code + QUESTION


def raised_error(code: str) -> str | None:
    """The name of the error that compiling or running `code` raises, None where it raises none.

    Runs in this process: only for the snippets written here.
    """
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        try:
            exec(compile(code, "snippet", "exec"), {})  # noqa: S102 - our own templates
        except Exception as error:  # noqa: BLE001 - whatever it is, its name is the answer
            return type(error).__name__
    return None


def is_held_out_snippet(code: str) -> bool:
    return stable_hash(f"e{code}") % 10 == 0


def sample_snippet(rng: random.Random, split: str = TRAINING) -> ErrorSnippet:
    """A random failing program of one split, its error confirmed by running it."""
    while True:
        error = rng.choices(list(ERROR_WEIGHTS), list(ERROR_WEIGHTS.values()))[0]
        code = rng.choice(TEMPLATES[error]).format(**draw_parts(rng))
        if rng.random() < SHARE_WITH_HARMLESS_LINE and not code.startswith("  "):
            code = f"{rng.choice(HARMLESS_LINES).format(**draw_parts(rng))}\n{code}"
        if is_held_out_snippet(code) == (split == EVALUATION) and raised_error(code) == error:
            return ErrorSnippet(code, error)


def draw_parts(rng: random.Random, names: Sequence[str] = VARIABLES, words: Sequence[str] = WORDS) -> dict[str, object]:
    """What may stand in the braces of a template or of a harmless line."""
    noun, other = rng.sample(names, 2)
    number, second = rng.randint(1, 200), rng.randint(1, 99)
    items = [rng.randint(0, 30) for _ in range(rng.randint(2, 4))]
    return {
        "noun": noun,
        "other": other,
        "word": rng.choice(words),
        "number": number,
        "second": second,
        "sum": number + second,
        "items": items,
        "open_items": repr(items)[:-1],
        "mapping": {noun: number, other: second},
        "beyond_list": rng.randint(5, 40),
        "beyond_word": rng.randint(8, 60),
        "absent": rng.randint(31, 99),
        "small": rng.randint(0, 5),
        "longer": rng.randint(7, 20),
    }
