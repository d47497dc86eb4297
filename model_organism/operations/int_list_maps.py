"""Operations that change each integer of a list, or only those that meet a condition."""

from collections.abc import Iterator
from dataclasses import dataclass

from model_organism.operations.conditional_ints import CONDITIONS
from model_organism.operations.operation import Operation
from model_organism.operations.table import read_table


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
MAP_ALL, MAP_SOME = read_table("""
map_{map}           ints ints  1    {map}         -  [{result} for x in {v}]
    the {noun} of {x} / the {noun} of the elements of {x} | {verb} each element of {x} / {verb} every number in {x}
    {o} = []
    for x in {v}:
        {o}.append({result})
mapif_{map}_{name}  ints ints  0.12 {map}_{name}  -  [{result} if {test} else x for x in {v}]
    {x} with the{adj} elements{that} changed to their {noun} | {verb} the{adj} elements of {x}{that}
    {o} = []
    for x in {v}:
        if {test}:
            {o}.append({result})
        else:
            {o}.append(x)
""")


def _maps(m: ElementMap) -> Iterator[Operation]:
    """The change of every element, then that of the elements which meet each of `MAPPED_CONDITIONS`."""
    every, some = (
        family.filled(m.weight, map=m.name, noun=m.noun, verb=m.verb, result=m.expression)
        for family in (MAP_ALL, MAP_SOME)
    )
    yield every
    for name in MAPPED_CONDITIONS:
        yield CONDITIONS[name].applied_to(some)


MAP_FAMILIES = tuple(operation for m in ELEMENT_MAPS for operation in _maps(m))
OPERATIONS = MAP_FAMILIES + read_table("""
map_add     ints ints  1.4  add          1..20  [x + {k} for x in {v}]
    the elements of {x} each increased by {k} / {x} with {k} added to each element |
    add {k} to each element of {x} / increase every number in {x} by {k}
    {o} = []
    for x in {v}:
        {o}.append(x + {k})
map_sub     ints ints  1    sub          1..20  [x - {k} for x in {v}]
    the elements of {x} each decreased by {k} / {x} with {k} subtracted from each element |
    subtract {k} from each element of {x} / decrease every number in {x} by {k}
map_mul     ints ints  1.2  mul          3..12  [x * {k} for x in {v}]
    the elements of {x} multiplied by {k} | multiply each element of {x} by {k} / multiply every number in {x} by {k}
map_mod     ints ints  0.7  mod          2..9   [x % {k} for x in {v}]
    the remainders of the elements of {x} divided by {k} | take each element of {x} modulo {k}
map_digsum  ints ints  0.4  digsum       -      [sum(int(d) for d in str(abs(x))) for x in {v}]
    the digit sums of the elements of {x} | replace each element of {x} by the sum of its digits
map_clip    ints ints  0.4  cap          5..25  [min(x, {k}) for x in {v}]
    the elements of {x} capped at {k} | cap each element of {x} at {k}
map_idx     ints ints  0.35 times_index  -      [i * x for i, x in enumerate({v})]
    the elements of {x} multiplied by their index | multiply each element of {x} by its index
""")
