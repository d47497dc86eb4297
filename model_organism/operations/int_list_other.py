"""Operations from a list of integers to another type."""

from model_organism.operations.operation import IntRange, Letters, Operation

# fmt: off
OPERATIONS = (
    Operation(
        "chunk", "ints", "matrix",
        nouns=("{x} split into chunks of size {k}",),
        verbs=("split {x} into chunks of size {k}",),
        expression="[{v}[i:i + {k}] for i in range(0, len({v}), {k})]",
        constant=IntRange(2, 4), weight=0.7, short_name="chunks",
    ),
    Operation(
        "windows", "ints", "matrix",
        nouns=("the windows of length {k} of {x}",),
        verbs=("list the windows of length {k} of {x}",),
        expression="[{v}[i:i + {k}] for i in range(len({v}) - {k} + 1)]",
        constant=IntRange(2, 4), weight=0.4,
    ),
    Operation(
        "freq", "ints", "other",
        nouns=("a dictionary counting each element of {x}",),
        verbs=("count how often each element of {x} occurs",),
        block=("{o} = {}", "for x in {v}:", "    {o}[x] = {o}.get(x, 0) + 1"),
        weight=0.8, short_name="frequency",
    ),
    Operation(
        "bysign", "ints", "other",
        nouns=("a dictionary of the even and odd elements of {x}",),
        verbs=("group {x} into even and odd elements",),
        block=(
            "{o} = {'even': [], 'odd': []}",
            "for x in {v}:",
            "    if x % 2 == 0:",
            "        {o}['even'].append(x)",
            "    else:",
            "        {o}['odd'].append(x)",
        ),
        weight=0.3, short_name="group",
    ),
    Operation(
        "strs", "ints", "words",
        nouns=("the elements of {x} as strings",),
        verbs=("convert each element of {x} to a string",),
        expression="[str(x) for x in {v}]",
        weight=0.6, short_name="to_str",
    ),
    Operation(
        "joinL", "ints", "text",
        nouns=("the elements of {x} joined by '{k}'",),
        verbs=("join the elements of {x} with '{k}'",),
        expression="'{k}'.join(str(x) for x in {v})",
        constant=Letters("-,+:/"), weight=0.6, short_name="join",
    ),
    Operation(
        "is_sorted", "ints", "bool",
        nouns=("whether {x} is sorted",),
        verbs=("check whether {x} is sorted",),
        expression="{v} == sorted({v})",
        weight=0.5,
    ),
    Operation(
        "is_palL", "ints", "bool",
        nouns=("whether {x} reads the same backwards",),
        verbs=("check whether {x} reads the same backwards",),
        expression="{v} == {v}[::-1]",
        weight=0.4, short_name="is_palindrome",
    ),
    Operation(
        "has_dup", "ints", "bool",
        nouns=("whether {x} contains duplicates",),
        verbs=("check whether {x} contains duplicates",),
        expression="len({v}) != len(set({v}))",
        weight=0.5,
    ),
    Operation(
        "contains_k", "ints", "bool",
        nouns=("whether {x} contains {k}",),
        verbs=("check whether {x} contains {k}",),
        expression="{k} in {v}",
        constant=IntRange(0, 12), weight=0.5, short_name="contains",
    ),
    Operation(
        "fizz", "ints", "words",
        nouns=("{x} with multiples of {k} written as 'yes' and other numbers as 'no'",),
        verbs=("label each element of {x} 'yes' if it is a multiple of {k} and 'no' otherwise",),
        expression="['yes' if x % {k} == 0 else 'no' for x in {v}]",
        constant=IntRange(2, 7), weight=0.4, short_name="label",
    ),
)
