"""Which function the tests are about."""

import ast
import builtins
import re
from collections.abc import Iterator, Sequence

BUILTIN_NAMES = frozenset(dir(builtins))


def parse_quietly(source: str) -> ast.Module | None:
    """The syntax tree of trusted source, or None when it has none."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def imported_names(tree: ast.AST) -> set[str]:
    """Names that the import statements anywhere in `tree` bind."""
    return {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }


def defined_names(code: str) -> set[str]:
    """Names that candidate code defines or assigns at column 0.

    By pattern, not by parsing: the code may have no syntax tree, or one made to hurt a parser.
    """
    pattern = r"^(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)|^(\w+)[ \t]*(?::[^=\n]+)?=(?!=)"
    return {first or second for first, second in re.findall(pattern, code, re.MULTILINE)}


def _called_names(tree: ast.AST) -> Iterator[str]:
    """Names called in `tree`, from the outside in and from left to right."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def infer_entry_point(code: str, tests: Sequence[str]) -> str | None:
    """The name that the tests call and neither Python nor an import provides; None when there is none.

    Of several, the first that the code defines. A builtin counts only where the code defines
    it and no other name is called (MBPP task 126 asks for a function called `sum`).
    """
    trees = [tree for tree in map(parse_quietly, tests) if tree is not None]
    imported = set().union(*(imported_names(tree) for tree in trees))
    called = [name for tree in trees for name in _called_names(tree) if name not in imported]
    not_builtin = [name for name in called if name not in BUILTIN_NAMES]
    defined = defined_names(code)
    candidates = (
        [name for name in not_builtin if name in defined] or not_builtin or [name for name in called if name in defined]
    )
    return candidates[0] if candidates else None
