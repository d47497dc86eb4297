"""Operations that change each integer of a list, or only those that meet a condition."""

from dataclasses import dataclass

from model_organism.operations.conditional_ints import CONDITIONS
from model_organism.operations.operation import IntRange, Operation


@dataclass(frozen=True)
class ElementMap:
    """A change of one integer `x`: the plural noun of the results, the verb, the expression."""

    name: str
    noun: str
    verb: str
    expression: str
    weight: float


ELEMENT_MAPS = (
    ElementMap("square", "squares", "square", "x * x", 1.6),
    ElementMap("cube", "cubes", "cube", "x ** 3", 0.8),
    ElementMap("double", "doubles", "double", "x * 2", 1.2),
    ElementMap("abs", "absolute values", "take the absolute value of", "abs(x)", 0.8),
    ElementMap("neg", "negations", "negate", "-x", 0.6),
    ElementMap("half", "integer halves", "halve", "x // 2", 0.6),
    ElementMap("lastdigit", "last digits", "take the last digit of", "abs(x) % 10", 0.5),
)
MAPPED_CONDITIONS = ("even", "odd", "neg", "gt", "lt", "div")


# fmt: off
def _map_all(m: ElementMap) -> Operation:
    return Operation(
        f"map_{m.name}", "ints", "ints",
        nouns=(f"the {m.noun} of {{x}}", f"the {m.noun} of the elements of {{x}}"),
        verbs=(f"{m.verb} each element of {{x}}", f"{m.verb} every number in {{x}}"),
        expression=f"[{m.expression} for x in {{v}}]",
        block=("{o} = []", "for x in {v}:", f"    {{o}}.append({m.expression})"),
        weight=m.weight, short_name=m.name,
    )


def _map_some(m: ElementMap, condition_name: str) -> Operation:
    c = CONDITIONS[condition_name]
    return Operation(
        f"mapif_{m.name}_{c.name}", "ints", "ints",
        nouns=c.phrase(
            f"{{x}} with the {{adj}} elements changed to their {m.noun}",
            f"{{x}} with the elements that are {{adj}} changed to their {m.noun}",
        ),
        verbs=c.phrase(f"{m.verb} the {{adj}} elements of {{x}}", f"{m.verb} the elements of {{x}} that are {{adj}}"),
        expression=f"[{m.expression} if {c.test} else x for x in {{v}}]",
        block=(
            "{o} = []", "for x in {v}:", f"    if {c.test}:", f"        {{o}}.append({m.expression})",
            "    else:", "        {o}.append(x)",
        ),
        constant=c.constant, weight=0.12 * m.weight * c.weight, short_name=f"{m.name}_{c.name}",
    )


MAP_FAMILIES = tuple(
    operation for m in ELEMENT_MAPS for operation in (_map_all(m), *(_map_some(m, name) for name in MAPPED_CONDITIONS))
)
OPERATIONS = MAP_FAMILIES + (
    Operation(
        "map_add", "ints", "ints",
        nouns=("the elements of {x} each increased by {k}", "{x} with {k} added to each element"),
        verbs=("add {k} to each element of {x}", "increase every number in {x} by {k}"),
        expression="[x + {k} for x in {v}]",
        block=("{o} = []", "for x in {v}:", "    {o}.append(x + {k})"),
        constant=IntRange(1, 20), weight=1.4, short_name="add",
    ),
    Operation(
        "map_sub", "ints", "ints",
        nouns=("the elements of {x} each decreased by {k}", "{x} with {k} subtracted from each element"),
        verbs=("subtract {k} from each element of {x}", "decrease every number in {x} by {k}"),
        expression="[x - {k} for x in {v}]",
        constant=IntRange(1, 20), weight=1, short_name="sub",
    ),
    Operation(
        "map_mul", "ints", "ints",
        nouns=("the elements of {x} multiplied by {k}",),
        verbs=("multiply each element of {x} by {k}", "multiply every number in {x} by {k}"),
        expression="[x * {k} for x in {v}]",
        constant=IntRange(3, 12), weight=1.2, short_name="mul",
    ),
    Operation(
        "map_mod", "ints", "ints",
        nouns=("the remainders of the elements of {x} divided by {k}",),
        verbs=("take each element of {x} modulo {k}",),
        expression="[x % {k} for x in {v}]",
        constant=IntRange(2, 9), weight=0.7, short_name="mod",
    ),
    Operation(
        "map_digsum", "ints", "ints",
        nouns=("the digit sums of the elements of {x}",),
        verbs=("replace each element of {x} by the sum of its digits",),
        expression="[sum(int(d) for d in str(abs(x))) for x in {v}]",
        weight=0.4, short_name="digsum",
    ),
    Operation(
        "map_clip", "ints", "ints",
        nouns=("the elements of {x} capped at {k}",),
        verbs=("cap each element of {x} at {k}",),
        expression="[min(x, {k}) for x in {v}]",
        constant=IntRange(5, 25), weight=0.4, short_name="cap",
    ),
    Operation(
        "map_idx", "ints", "ints",
        nouns=("the elements of {x} multiplied by their index",),
        verbs=("multiply each element of {x} by its index",),
        expression="[i * x for i, x in enumerate({v})]",
        weight=0.35, short_name="times_index",
    ),)
