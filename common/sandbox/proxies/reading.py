"""What the text of the tests says before any of it runs: names, patches, and who judges whom."""

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import CodeType

from common.sandbox.entry_point import imported_names, parse_quietly
from common.sandbox.plain import is_single
from common.sandbox.proxies.channel import Unsupported
from common.sandbox.proxies.names import TESTS_MODULES

FILE = "<tests>"
IS, SEEN, ENTERED = "__is__", "__seen__", "__entered__"  # what rewritten tests call
# Attributes of modules that tests may replace: the program's own input and output go through them.
_STREAMS = {("sys", "stdout"), ("sys", "stdin"), ("sys", "stderr"), ("builtins", "input"), ("builtins", "print")}
_PATCHED_STREAMS = frozenset({"sys.stdout", "sys.stdin", "sys.stderr", "builtins.input"})


@dataclass(frozen=True)
class ReadTests:
    """What is known of tests before a program is. Read once: the same tests come again and again.

    `broken`: the first text that is no Python. `refused`: why they cannot be judged, whatever the program is.
    `judges`: names that decide an assert by themselves. `replaced`: (module's name, attribute) that they assign to.
    """

    sources: dict[str, str]  # by the file name of its code
    codes: list[CodeType]
    broken: str | None
    refused: str | None
    used: frozenset[str]
    bound: frozenset[str]
    imported_modules: frozenset[str]
    replaced: frozenset[tuple[str, str]]
    judges: frozenset[str]
    imports: str  # of standard modules, for the program too
    seeds: bool
    n_checks: int


@functools.lru_cache(maxsize=1024)
def read_tests(setup: str, tests: tuple[str, ...]) -> ReadTests:
    """Parse, inspect and compile the setup and the tests."""
    sources = {f"{FILE} setup": setup, **{f"{FILE} test {n}": text for n, text in enumerate(tests)}}
    trees: list[ast.Module] = []
    codes: list[CodeType] = []
    broken = None
    for file, source in sources.items():
        try:
            tree = ast.parse(source)
            codes.append(compile(rewritten(ast.parse(source)), file, "exec", dont_inherit=True))
            trees.append(tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            broken = broken or source
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = [node for node in nodes if isinstance(node, ast.Name)]
    imports: list[ast.stmt] = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    modules: list[ast.stmt] = [node for node in imports if isinstance(node, ast.Import)]
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return ReadTests(
        sources,
        codes,
        broken,
        _refused(nodes),
        used=frozenset({node.id for node in names} | _words_in_texts(nodes)),
        bound=frozenset(
            imported_names(ast.Module(imports, []))
            | {node.id for node in names if not isinstance(node.ctx, ast.Load)}
            | {node.name for node in nodes if isinstance(node, definitions)}
        ),
        imported_modules=frozenset(imported_names(ast.Module(modules, []))),
        replaced=frozenset(_replaced(nodes)),
        judges=frozenset(filter(None, (root_name(call) for call in _deciding_calls(nodes)))),
        imports="\n".join(ast.unparse(node) for tree in trees for node in tree.body if _is_standard_import(node)),
        seeds=any(isinstance(node, ast.Attribute) and node.attr == "seed" for node in nodes),
        n_checks=sum(map(_checks, nodes)),
    )


def _words_in_texts(nodes: Iterable[ast.AST]) -> set[str]:
    """Names that stand in texts, which tests may evaluate: `eval("f(1)")`."""
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {word for text in texts for word in re.findall(r"[^\W\d]\w*", text)}


def _is_standard_import(node: ast.stmt) -> bool:
    if isinstance(node, ast.Import):
        return all(alias.name.split(".")[0] in TESTS_MODULES for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in TESTS_MODULES


def _replaced(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name):
            yield node.value.id, node.attr


def refuse_patches(tests: ReadTests, modules: Iterable[str]) -> None:
    """The program would not see what tests replace in their own process. Raises: Unsupported.

    `modules`: names of modules that the program imported.
    """
    if tests.refused is not None:
        raise Unsupported(tests.refused)
    for name, attribute in tests.replaced - _STREAMS:
        if name in tests.imported_modules or name in modules:
            raise Unsupported(f"the tests replace {name}.{attribute}")


def _refused(nodes: Iterable[ast.AST]) -> str | None:
    for node in nodes:
        if isinstance(node, ast.arg) and node.arg in ("monkeypatch", "mocker", "capsys", "tmp_path", "caplog"):
            return f"the tests use the fixture {node.arg}"
        if isinstance(node, ast.Call) and _called(node) in ("getsource", "getsourcelines", "isfunction"):
            return "the tests inspect the program's functions"
        if isinstance(node, ast.Call) and _patches_what_the_program_would_not_see(node):
            return "the tests patch what the program would not see"
    return None


def _patches_what_the_program_would_not_see(node: ast.Call) -> bool:
    """`patch("target")`, `patch.object(...)`, `patch.dict(...)` of unittest.mock."""
    if _called(node) == "patch":
        target = node.args[0] if node.args else None
        return not (isinstance(target, ast.Constant) and target.value in _PATCHED_STREAMS)
    return isinstance(node.func, ast.Attribute) and _last_name(node.func.value) == "patch"


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


def judged_by_the_program(tests: ReadTests, names: frozenset[str]) -> bool:
    """Whether a function of the program judges another of its answers: `assert isclose(f(1), 3.3)`.

    `names`: those of the program that the tests use and do not bind.
    """
    if not names & tests.judges:
        return False
    # Parsed again, for the few that need it: kept trees would make every fork of their server dearer.
    nodes = [node for tree in map(parse_quietly, tests.sources.values()) if tree for node in ast.walk(tree)]
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
    return any(
        root_name(call) in names and any(map(answered, [*call.args, *(keyword.value for keyword in call.keywords)]))
        for call in _deciding_calls(nodes)
    )


def _deciding_calls(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    """Calls whose truth alone decides a check."""
    for node in nodes:
        if isinstance(node, ast.Assert):
            yield from _calls_in(node.test)
        elif isinstance(node, ast.Call) and _called(node) in ("assertTrue", "assertFalse") and node.args:
            yield from _calls_in(node.args[0])


def _calls_in(condition: ast.expr) -> Iterator[ast.Call]:
    if isinstance(condition, ast.UnaryOp):
        yield from _calls_in(condition.operand)
    elif isinstance(condition, ast.BoolOp):
        for value in condition.values:
            yield from _calls_in(value)
    elif isinstance(condition, ast.Call):
        yield condition


def _checks(node: ast.AST) -> bool:
    """Whether a statement or call could fail: an assert, a call that asserts, an error that the tests raise."""
    if not isinstance(node, ast.Call):
        return isinstance(node, ast.Assert | ast.Raise)
    name = _called(node) or ""
    return name.startswith("assert") or name in ("raises", "fail")


class Rewritten(ast.NodeTransformer):
    """Tests that say what they compare, that decide `is` by the rules of remote objects, and that say what ran."""

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        self.generic_visit(node)
        if len(node.ops) != 1 or not isinstance(node.ops[0], ast.Is | ast.IsNot):
            return node
        if is_single(node.left) or is_single(node.comparators[0]):
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
