"""The operations that problems are composed of, as tables, one module per type of value."""

from model_organism.operations import (
    conditional_ints,
    dicts,
    int_list_maps,
    int_list_order,
    int_list_other,
    int_list_reductions,
    ints,
    matrices,
    pairs,
    texts,
    words,
)
from model_organism.operations.operation import Operation

_TABLES = (
    conditional_ints,
    int_list_maps,
    int_list_reductions,
    int_list_order,
    int_list_other,
    texts,
    words,
    dicts,
    pairs,
    matrices,
    ints,
)
OPERATIONS: dict[str, Operation] = {operation.name: operation for table in _TABLES for operation in table.OPERATIONS}
assert len(OPERATIONS) == sum(len(table.OPERATIONS) for table in _TABLES), "two operations share a name"
