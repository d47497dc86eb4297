"""The operations that problems are composed of: one table per type of value, and families filled in."""

from model_organism.operations import conditional_ints, int_list_maps
from model_organism.operations.operation import Operation
from model_organism.operations.table import read_table

_TABLES = (
    "int_list_reductions",
    "int_list_order",
    "int_list_other",
    "texts",
    "words",
    "dicts",
    "pairs",
    "matrices",
    "ints",
)
_ALL = [
    *conditional_ints.OPERATIONS,
    *int_list_maps.OPERATIONS,
    *(operation for name in _TABLES for operation in read_table(name)),
]
OPERATIONS: dict[str, Operation] = {operation.name: operation for operation in _ALL}
assert len(OPERATIONS) == len(_ALL), "two operations share a name"
