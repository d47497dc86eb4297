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
MAP_ALL, MAP_SOME = read_table("int_list_map_families")


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
OPERATIONS = MAP_FAMILIES + read_table("int_list_maps")
