"""Which names of a program are defined where they are read: what an auxiliary loss of training teaches.

Snippets run from the first line to the last, so a name counts as defined once an earlier statement has bound it.
"""

import ast
import builtins
from collections.abc import Iterator

DEFINED, UNDEFINED = 1, 2


def label_names(code: str) -> dict[int, int]:
    """DEFINED or UNDEFINED for every name that is read and is no builtin, by the character where it ends.

    A program that does not compile has none.
    """
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError):
        return {}
    starts = [0]
    for line in code.split("\n"):
        starts.append(starts[-1] + len(line) + 1)
    known, labels = set(dir(builtins)), {}
    for statement in tree.body:
        bound = set() if isinstance(statement, ast.Assign | ast.AugAssign) else {*_bound(statement)}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in dir(builtins):
                end = starts[node.lineno - 1] + node.col_offset + len(node.id)
                labels[end] = DEFINED if node.id in known | bound else UNDEFINED
        known |= {*_bound(statement)}
    return labels


def _bound(statement: ast.stmt) -> Iterator[str]:
    """Names that a statement binds, within it too."""
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.FunctionDef):
            yield from (node.name, *(argument.arg for argument in node.args.args))
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name).partition(".")[0]
