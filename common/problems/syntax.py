"""What can be said of a Python source without running it: does it parse, and which names does it bind."""

import ast
import builtins
import symtable
import warnings
from collections.abc import Iterable, Sequence

_KIND_RANK = {"function": 0, "class": 1, "value": 2, "import": 3}


def parse_python(source: str) -> ast.Module:
    """The syntax tree of `source`.

    Raises: SyntaxError for everything that is no Python module: a return outside a function,
    null bytes and nesting too deep for the parser included (these without a line number).
    No warning is shown: old programs are full of "\\d".
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = ast.parse(source)
            compile(tree, "<program>", "exec", dont_inherit=True)  # finds a stray return or break
            return tree
        except (ValueError, RecursionError, MemoryError) as error:
            raise SyntaxError(f"{type(error).__name__}: {error}") from None


def parsed(source: str) -> list[ast.stmt] | None:
    """The statements of `source`; None where it is no Python module."""
    try:
        return parse_python(source + "\n").body
    except SyntaxError:
        return None


def module_names(body: Iterable[ast.stmt]) -> dict[str, str]:
    """Names that running `body` binds in the module, each with its kind: function, class, value or import."""
    names: dict[str, str] = {}
    for statement in body:
        names.update(_names_of(statement))
    return names


def unbound_names(source: str) -> set[str]:
    """Names that a module which parses looks up, anywhere in it, and that neither it nor Python defines."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tables = [symtable.symtable(source, "<program>", "exec")]
    module, wanted = tables[0], set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        wanted |= {name.get_name() for name in table.get_symbols() if name.is_global() or table is module}
    bound = {name.get_name() for name in module.get_symbols() if name.is_assigned() or name.is_imported()}
    return wanted - bound - {*dir(builtins)}


def tested_name(code: ast.Module, tests: Sequence[ast.Module]) -> str | None:
    """The name that the tests call and the code defines, or None.

    Tests may mention several names of the code (MBPP 601 builds its arguments with a class
    `Pair`): the one in most tests wins, then functions before classes before values before
    imports, then the one mentioned first, outermost.
    """
    defined = module_names(code.body)
    n_tests: dict[str, int] = {}
    for test in tests:
        mentioned = (node.id for node in ast.walk(test) if isinstance(node, ast.Name))
        for name in dict.fromkeys(mentioned):
            if name in defined:
                n_tests[name] = n_tests.get(name, 0) + 1
    ranked = sorted(n_tests, key=lambda name: (-n_tests[name], _KIND_RANK[defined[name]]))
    return ranked[0] if ranked else None


def _names_of(statement: ast.stmt) -> dict[str, str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return {statement.name: "function"}
        case ast.ClassDef():
            return {statement.name: "class"}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name.split(".")[0]: "import" for alias in statement.names}
        case ast.Assign():
            return {name: "value" for target in statement.targets for name in _stored_names(target)}
        case ast.AnnAssign(value=ast.expr()):
            return {name: "value" for name in _stored_names(statement.target)}
    inner: dict[str, str] = {}
    for field in ("body", "orelse", "finalbody"):
        inner.update(module_names(getattr(statement, field, [])))
    for handler in getattr(statement, "handlers", []):
        inner.update(module_names(handler.body))
    return inner


def _stored_names(target: ast.expr) -> list[str]:
    nodes = ast.walk(target)
    return [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
