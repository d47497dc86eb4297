"""What the text of the tests says before any of it runs: names, patches, and who judges whom."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import EllipsisType, NoneType

from common.sandbox.proxies.channel import Unsupported

FILE = "<tests>"
IS, SEEN, ENTERED = "__is__", "__seen__", "__entered__"  # what rewritten tests call
_SINGLE = (bool, NoneType, EllipsisType)  # classes whose equal objects are one object
# Attributes of modules that tests may replace: the program's own input and output go through them.
_STREAMS = {("sys", "stdout"), ("sys", "stdin"), ("sys", "stderr"), ("builtins", "input"), ("builtins", "print")}
_PATCHED_STREAMS = frozenset({"sys.stdout", "sys.stdin", "sys.stderr", "builtins.input"})


@dataclass(frozen=True)
class Names:
    """Names in the tests: all that occur, and those that the tests bind themselves."""

    used: frozenset[str]
    bound: frozenset[str]
    imported_modules: frozenset[str]


def names_in(trees: Iterable[ast.Module]) -> Names:
    """The names of all tests together."""
    used: set[str] = set()
    bound: set[str] = set()
    modules: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.Name):
            used.add(node.id)
            if not isinstance(node.ctx, ast.Load):
                bound.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            bound.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {(alias.asname or alias.name).split(".")[0] for alias in node.names}
            bound |= names
            if isinstance(node, ast.Import):
                modules |= names
    return Names(frozenset(used), frozenset(bound), frozenset(modules))


def refuse_patches(tree: ast.Module, modules: frozenset[str]) -> None:
    """The program would not see what tests replace in their own process. Raises: Unsupported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            target = (node.value.id, node.attr)
            if node.value.id in modules and target not in _STREAMS:
                raise Unsupported(f"the tests replace {node.value.id}.{node.attr}")
        elif isinstance(node, ast.Call) and _called(node) in ("patch", "object", "dict", "multiple"):
            _refuse_mock(node)
        elif isinstance(node, ast.arg) and node.arg in ("monkeypatch", "mocker", "capsys", "tmp_path", "caplog"):
            raise Unsupported(f"the tests use the fixture {node.arg}")


def _refuse_mock(node: ast.Call) -> None:
    name = _called(node)
    if name == "patch":
        target = node.args[0] if node.args else None
        if not (isinstance(target, ast.Constant) and target.value in _PATCHED_STREAMS):
            raise Unsupported("the tests patch what the program would not see")
    elif isinstance(node.func, ast.Attribute) and _last_name(node.func.value) == "patch":
        raise Unsupported("the tests patch what the program would not see")


def _called(node: ast.Call) -> str | None:
    return _last_name(node.func)


def _last_name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def root_name(node: ast.expr) -> str | None:
    """The name at the start of a chain of calls, attributes and subscripts."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def judged_by_the_program(trees: Iterable[ast.Module], names: frozenset[str]) -> bool:
    """Whether a function of the program judges another of its answers: `assert isclose(f(1), 3.3)`.

    `names`: those of the program that the tests use and do not bind.
    """
    nodes = [node for tree in trees for node in ast.walk(tree)]
    parameters = {arg.arg for node in nodes if isinstance(node, ast.FunctionDef) for arg in node.args.args}
    answers: set[str] = set()

    def answered(expression: ast.expr) -> bool:
        return any(
            (isinstance(part, ast.Call) and root_name(part) in names | parameters)
            or (isinstance(part, ast.Name) and part.id in answers)
            for part in ast.walk(expression)
        )

    for node in nodes:
        if isinstance(node, ast.Assign) and answered(node.value):
            answers |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return any(_judges(expression, names, answered) for expression in _asserted(nodes))


def _asserted(nodes: Iterable[ast.AST]) -> Iterator[ast.expr]:
    for node in nodes:
        if isinstance(node, ast.Assert):
            yield node.test
        elif isinstance(node, ast.Call) and _called(node) in ("assertTrue", "assertFalse") and node.args:
            yield node.args[0]


def _judges(expression: ast.expr, names: frozenset[str], answered) -> bool:
    if isinstance(expression, ast.UnaryOp):
        return _judges(expression.operand, names, answered)
    if isinstance(expression, ast.BoolOp):
        return any(_judges(value, names, answered) for value in expression.values)
    if not isinstance(expression, ast.Call) or root_name(expression) not in names:
        return False
    return any(map(answered, [*expression.args, *(keyword.value for keyword in expression.keywords)]))


def n_checks(trees: Iterable[ast.Module]) -> int:
    """How many statements could fail: asserts, calls that assert, and errors that the tests raise."""
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return sum(
        isinstance(node, ast.Assert | ast.Raise) or (isinstance(node, ast.Call) and _checks(node)) for node in nodes
    )


def _checks(node: ast.Call) -> bool:
    name = _called(node) or ""
    return name.startswith("assert") or name in ("raises", "fail")


class Rewritten(ast.NodeTransformer):
    """Tests that say what they compare, that decide `is` by the rules of remote objects, and that say what ran."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Is | ast.IsNot):
            return node
        sides = (node.left, node.comparators[0])
        if any(isinstance(side, ast.Constant) and isinstance(side.value, _SINGLE) for side in sides):
            return node
        same = _call(IS, node.left, node.comparators[0])
        return same if isinstance(node.ops[0], ast.Is) else ast.UnaryOp(ast.Not(), same)

    def visit_Assert(self, node: ast.Assert) -> ast.Assert:
        self.generic_visit(node)
        if isinstance(node.test, ast.Compare):
            node.test.left = _call(SEEN, node.test.left)
        elif isinstance(node.test, ast.Call | ast.Name | ast.Attribute | ast.Subscript):
            node.test = _call(SEEN, node.test)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        self.generic_visit(node)
        if node.name == "check" or node.name.startswith("test"):
            node.body.insert(0, ast.Expr(_call(ENTERED, ast.Constant(node.name))))
        return node


def _call(name: str, *arguments: ast.expr) -> ast.Call:
    return ast.Call(ast.Name(name, ast.Load()), list(arguments), [])


def rewritten(tree: ast.Module) -> ast.Module:
    """The tree with its tests rewritten in place; every node has a line."""
    return ast.fix_missing_locations(Rewritten().visit(tree))
