"""Operations on a list of (string, integer) pairs."""

from model_organism.operations.operation import IntRange, Operation

# fmt: off
OPERATIONS = (
    Operation(
        "p_first", "pairs", "words",
        nouns=("the first items of {x}",),
        verbs=("take the first item of each tuple in {x}",),
        expression="[p[0] for p in {v}]",
        weight=1, short_name="first_items",
    ),
    Operation(
        "p_second", "pairs", "ints",
        nouns=("the second items of {x}",),
        verbs=("take the second item of each tuple in {x}",),
        expression="[p[1] for p in {v}]",
        weight=1.2, short_name="second_items",
    ),
    Operation(
        "p_sort2", "pairs", "pairs",
        nouns=("{x} sorted by the second item",),
        verbs=("sort {x} by the second item",),
        expression="sorted({v}, key=lambda p: p[1])",
        weight=1.1, short_name="sort_tuples",
    ),
    Operation(
        "p_sort1", "pairs", "pairs",
        nouns=("{x} sorted by the first item",),
        verbs=("sort {x} by the first item",),
        expression="sorted({v}, key=lambda p: p[0])",
        weight=0.8, short_name="sort_first",
    ),
    Operation(
        "p_sortd", "pairs", "pairs",
        nouns=("{x} sorted by the second item in descending order",),
        verbs=("sort {x} by the second item in descending order",),
        expression="sorted({v}, key=lambda p: p[1], reverse=True)",
        weight=0.6, short_name="sort_desc",
    ),
    Operation(
        "p_gt", "pairs", "pairs",
        nouns=("the tuples of {x} whose second item is greater than {k}",),
        verbs=("keep only the tuples of {x} whose second item is greater than {k}",),
        expression="[p for p in {v} if p[1] > {k}]",
        block=("{o} = []", "for p in {v}:", "    if p[1] > {k}:", "        {o}.append(p)"),
        constant=IntRange(2, 30), weight=0.9, short_name="filter_tuples",
    ),
    Operation(
        "p_even", "pairs", "pairs",
        nouns=("the tuples of {x} whose second item is even",),
        verbs=("keep only the tuples of {x} whose second item is even",),
        expression="[p for p in {v} if p[1] % 2 == 0]",
        weight=0.5, short_name="even_tuples",
    ),
    Operation(
        "p_swap", "pairs", "other",
        nouns=("{x} with the items of each tuple swapped",),
        verbs=("swap the items of each tuple in {x}",),
        expression="[(b, a) for a, b in {v}]",
        weight=0.6, short_name="swap",
    ),
    Operation(
        "p_dict", "pairs", "dict",
        nouns=("a dictionary made from {x}",),
        verbs=("convert {x} to a dictionary",),
        expression="dict({v})",
        weight=0.9, short_name="to_dict",
    ),
    Operation(
        "p_tot", "pairs", "other",
        nouns=("a dictionary of the total second item for each first item in {x}",),
        verbs=("total the second items of {x} for each first item",),
        block=("{o} = {}", "for a, b in {v}:", "    {o}[a] = {o}.get(a, 0) + b"),
        weight=0.5, short_name="totals",
    ),
    Operation(
        "p_sum", "pairs", "int",
        nouns=("the sum of the second items of {x}",),
        verbs=("add up the second items of {x}",),
        expression="sum(p[1] for p in {v})",
        weight=0.8, short_name="sum_tuples",
    ),
    Operation(
        "p_best", "pairs", "text",
        nouns=("the first item of the tuple of {x} with the largest second item",),
        verbs=("find the first item of the tuple of {x} with the largest second item",),
        expression="max({v}, key=lambda p: p[1])[0]",
        weight=0.6, short_name="best",
    ),
)
