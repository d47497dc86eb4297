"""How a chain of operations is written in Python, always the same way for the same operation."""

from collections.abc import Sequence

from model_organism.operations import Operation
from model_organism.phrasing import Constants, fill_constants

RESULT_NAMES = ("res", "out", "ans", "val")


def render_function(name: str, argument: str, operations: Sequence[Operation], constants: Sequence[Constants]) -> str:
    """The source of the function that applies `operations` in order to `argument`."""
    lines = []
    variable = argument
    for index, (operation, values) in enumerate(zip(operations, constants, strict=True)):
        result = RESULT_NAMES[index]
        lines += _render_step(operation, values, variable, result, is_last=index == len(operations) - 1)
        variable = result
    return "\n".join([f"def {name}({argument}):", *(f"    {line}" for line in lines)])


def _render_step(operation: Operation, values: Constants, variable: str, result: str, *, is_last: bool) -> list[str]:
    def fill(template: str) -> str:
        return fill_constants(template.replace("{v}", variable).replace("{o}", result), values)

    if operation.expression is not None and not operation.written_as_block:
        expression = fill(operation.expression)
        return [f"return {expression}" if is_last else f"{result} = {expression}"]
    lines = [fill(line) for line in operation.block]
    if not is_last:
        return lines
    assignment = f"{result} = "
    if lines[-1].startswith(assignment):
        return [*lines[:-1], f"return {lines[-1].removeprefix(assignment)}"]
    return [*lines, f"return {result}"]
