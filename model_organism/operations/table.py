"""Tables of operations, the text files beside this module.

    s_novow  text text  1.1 remove_vowels  -    ''.join(c for c in {v} if c not in 'aeiou')
        {x} without vowels | remove the vowels from {x}
        {o} = ''
        for c in {v}:
            if c not in 'aeiou':
                {o} += c

The first line of a row: name, type of input, type of output, weight, short name, the constant if there
is one (2..9 or a choice of letters, else -), the expression if there is one. Then nouns | verbs,
alternatives apart by " / ", on several lines where one is too short; then the block, if there is one.
"""

import re
from pathlib import Path

from model_organism.operations.operation import IntRange, Letters, Operation


def read_table(name: str) -> tuple[Operation, ...]:
    """The operations of the table `name`, in its order."""
    text = (Path(__file__).parent / f"{name}.txt").read_text(encoding="utf-8")
    return tuple(_read_row(row) for row in re.split(r"\n(?! )", text.strip()))


def _read_row(row: str) -> Operation:
    head, words, *block = row.split("\n    ")
    while words.endswith(("|", "~")):
        words += " " + block.pop(0)
    nouns, verbs = (tuple(phrases.strip().split(" / ")) for phrases in words.split("|"))
    name, input_type, output_type, weight, short_name, constant, *expression = head.split(maxsplit=6)
    return Operation(
        name,
        input_type,
        output_type,
        nouns,
        verbs,
        expression=expression[0] if expression else None,
        block=tuple(block),
        constant=_read_constant(constant),
        weight=float(weight),
        short_name=short_name,
    )


def _read_constant(text: str) -> IntRange | Letters | None:
    if text == "-":
        return None
    low, dots, high = text.partition("..")
    return IntRange(int(low), int(high)) if dots else Letters(text)
