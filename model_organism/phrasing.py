"""How a chain of operations is described in English, and what its function is called."""

import builtins
import keyword
import random
from collections.abc import Sequence

from model_organism.operations import Operation

Constants = tuple[str, str]

# fmt: off
ARGUMENT_NAMES = {
    "ints": ("nums", "nums", "lst", "numbers", "arr"),
    "text": ("s", "s", "text", "string"),
    "words": ("words", "words", "strs"),
    "dict": ("d", "d", "data"),
    "pairs": ("pairs", "tuples"),
    "matrix": ("rows", "matrix", "lists"),
    "positive": ("n",),
    "int": ("n", "num"),
}
INPUT_PHRASES = {
    "ints": ("a given list", "a list of integers", "the given list", "a list of numbers", "the list"),
    "text": ("a given string", "the given string", "a string", "the input text"),
    "words": ("a given list of words", "a list of strings", "the given list of words"),
    "dict": ("a given dictionary", "the given dictionary", "a dictionary"),
    "pairs": ("a list of tuples", "a given list of tuples", "the given tuples"),
    "matrix": ("a list of lists", "a given list of lists", "the given nested list"),
    "positive": ("a given number", "the number n", "a positive integer"),
    "int": ("a given number", "an integer", "the given integer"),
}
SHORT_INPUT_NAMES = {
    "ints": "list", "text": "string", "words": "words", "dict": "dict",
    "pairs": "tuples", "matrix": "lists", "positive": "number", "int": "number",
}
NOUN_OPENINGS = (
    "Write a function to find ", "Write a function to find ", "Write a python function to get ",
    "Write a function that returns ", "Write a python function to find ",
)
VERB_OPENINGS = (
    "Write a function to ", "Write a function to ", "Write a python function to ", "Write a function that can ",
)
# fmt: on
GENERIC_NAMES = ("solve", "check", "process", "transform", "compute", "func", "convert")
LONGEST_FUNCTION_NAME = 30


def fill_constants(template: str, constants: Constants) -> str:
    """`template` with {k} and {k2} replaced by the operation's two constants."""
    return template.replace("{k}", constants[0]).replace("{k2}", constants[1])


def describe(
    operations: Sequence[Operation], constants: Sequence[Constants], input_type: str, rng: random.Random
) -> str:
    """One sentence that asks for the whole chain, with randomly drawn phrasings.

    Either one nested noun phrase ("the sum of the squares of a given list") or a list of commands
    ("square each element of a given list and then add up the result").
    """
    input_phrase = rng.choice(INPUT_PHRASES[input_type])
    if rng.random() < (0.6 if len(operations) == 1 else 0.4):
        return _describe_result(operations, constants, input_phrase, rng)
    return _describe_steps(operations, constants, input_phrase, rng)


def _describe_result(
    operations: Sequence[Operation], constants: Sequence[Constants], phrase: str, rng: random.Random
) -> str:
    for operation, values in zip(operations, constants, strict=True):
        phrase = fill_constants(rng.choice(operation.nouns), values).replace("{x}", phrase)
    return f"{rng.choice(NOUN_OPENINGS)}{phrase}."


def _describe_steps(
    operations: Sequence[Operation], constants: Sequence[Constants], phrase: str, rng: random.Random
) -> str:
    steps = []
    for index, (operation, values) in enumerate(zip(operations, constants, strict=True)):
        step = fill_constants(rng.choice(operation.verbs), values)
        if index == 0:
            step = step.replace("{x}", phrase)
        else:
            step = step.replace("each element of {x}", "each element")
            step = step.replace("every number in {x}", "every number").replace("{x}", "the result")
        steps.append(step)
    return f"{rng.choice(VERB_OPENINGS)}{_join_steps(steps, rng)}."


def _join_steps(steps: Sequence[str], rng: random.Random) -> str:
    if len(steps) == 1:
        return steps[0]
    if len(steps) == 2:
        return steps[0] + rng.choice((" and then ", " and ", ", then ")) + steps[1]
    middle = ", ".join(rng.choice(("", "then ")) + step for step in steps[1:-1])
    return f"{steps[0]}, {middle}{rng.choice((' and finally ', ' and then ', ' and '))}{steps[-1]}"


def draw_function_name(operations: Sequence[Operation], input_type: str, rng: random.Random) -> str:
    """A function name made of the operations' short names, or a generic one; never a built-in's."""
    short_names = [operation.short_name for operation in operations]
    input_name = SHORT_INPUT_NAMES[input_type]
    style = rng.random()
    if style < 0.35:
        name = "_".join(reversed(short_names))
    elif style < 0.6:
        name = "_".join(short_names)
    elif style < 0.8:
        name = rng.choice(("find_", "get_", "list_", "compute_")) + short_names[-1]
    elif style < 0.9:
        name = f"{short_names[-1]}_{input_name}"
    else:
        name = rng.choice(GENERIC_NAMES) + rng.choice(("", f"_{input_name}", "_value"))
    if len(name) > LONGEST_FUNCTION_NAME:
        name = f"get_{short_names[-1]}"
    if hasattr(builtins, name) or keyword.iskeyword(name) or name in ("n", "s", "d"):
        name = f"{name}_{input_name}"
    return name
