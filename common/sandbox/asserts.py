"""Split each assert into what the candidate computes and what the judge decides.

    assert sorted(f(3)) == [1, 2, 3]    the child evaluates    f(3)
                                        the judge evaluates    sorted(value_0) == [1, 2, 3]

Names of the tests are *trusted* (builtins, modules, imports of the tests or the setup, variables
of the tests that no candidate code touches) or *candidate* (all others). The longest chain of calls,
attributes and subscripts that starts at a candidate name is the child's to evaluate; the rest stays
here, so the expected values never enter the process that runs the candidate.
"""

import ast
import builtins
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

from common.sandbox.entry_point import imported_names, parse_quietly

VALUE_NAME = "value_{}"

# Modules that tests name without importing them: the candidate's own import counts, as it would in one
# process, but the judge uses its own copy, which nobody can have patched.
JUDGE_MODULES = frozenset(
    "bisect cmath collections datetime decimal fractions functools heapq itertools "
    "math operator re statistics string sys".split()
)
_BUILTIN_NAMES = frozenset(dir(builtins))
_CHAIN = ast.Call | ast.Attribute | ast.Subscript
_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)


class UnsupportedTest(Exception):
    """The test cannot be judged by comparing values."""


@dataclass(frozen=True)
class Step:
    """Statements for the child, then one assert: expressions for the child, a condition for the judge."""

    test: str
    statements: str = ""
    expressions: tuple[str, ...] = ()
    condition: CodeType | None = None
    unsupported: str | None = None


@dataclass(frozen=True)
class TestPlan:
    """All steps in order, with the trusted source that the judge's own namespace needs."""

    steps: tuple[Step, ...]
    judge_source: str
    required_names: tuple[str, ...]


def plan_tests(tests: Sequence[str], setup: str, entry_point: str | None) -> TestPlan:
    """The plan of a program's tests. A test that cannot be split becomes an unsupported step."""
    setup_tree = parse_quietly(setup) or ast.Module([], [])
    imports = [node for node in setup_tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    planner = _Planner(imports, entry_point)
    statements: list[tuple[str, ast.stmt | None]] = []
    for test in tests:
        tree = parse_quietly(test)
        body = [None] if tree is None else _inline_check(tree.body, entry_point)
        statements += [(test, node) for node in body]
    return planner.plan(statements)


def _inline_check(body: list[ast.stmt], entry_point: str | None) -> list[ast.stmt]:
    """HumanEval writes its asserts inside `def check(candidate)`: the same asserts, about the entry point."""
    check = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == "check"), None)
    if check is None or len(check.args.args) != 1 or entry_point is None:
        return body
    rename = _Rename(check.args.args[0].arg, entry_point)
    inlined: list[ast.stmt] = []
    for node in body:
        calls_check = (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "check"
        )
        if node is check:
            inlined += [rename.visit(inner) for inner in check.body]
        elif not calls_check:
            inlined.append(node)
    return inlined


class _Rename(ast.NodeTransformer):
    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = old, new

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.copy_location(ast.Name(self.new, node.ctx), node) if node.id == self.old else node


class _Planner:
    """Collects the steps of one program; knows which names are trusted so far."""

    def __init__(self, setup_imports: Sequence[ast.stmt], entry_point: str | None) -> None:
        self.judge_statements = list(setup_imports)
        self.imported = imported_names(ast.Module(self.judge_statements, []))
        self.entry_point = entry_point
        self.steps: list[Step] = []
        self.required_names: set[str] = set()
        self.judge_variables: set[str] = set()
        self.child_variables: set[str] = set()
        self.pending: list[str] = []  # statements that the child runs before its next assert

    def is_trusted(self, name: str) -> bool:
        if name == self.entry_point or name in self.child_variables:  # either may be called `sum`
            return False
        known = name in self.imported or name in self.judge_variables
        return known or name in _BUILTIN_NAMES or name in JUDGE_MODULES

    def plan(self, statements: list[tuple[str, ast.stmt | None]]) -> TestPlan:
        touched = self.variables_of_the_child([node for _, node in statements if node is not None])
        for test, node in statements:
            try:
                self.plan_statement(test, node, touched)
            except (UnsupportedTest, RecursionError) as reason:
                self.steps.append(Step(test, self.take_pending(), unsupported=str(reason)))
        if self.pending:
            self.steps.append(Step(statements[-1][0], self.take_pending()))
        source = "\n".join(ast.unparse(node) for node in self.judge_statements)
        return TestPlan(tuple(self.steps), source, tuple(sorted(self.required_names)))

    def variables_of_the_child(self, nodes: list[ast.stmt]) -> set[str]:
        """Variables of the tests that candidate code reads, and may therefore change."""
        assigned = {name for node in nodes for name in _names(node, ast.Store)}

        def starts_at_candidate(name: str) -> bool:
            return name not in assigned and not self.is_trusted(name)

        touched: set[str] = set()
        for node in nodes:
            if isinstance(node, ast.Assert):
                touched |= _names_in_chains(node, starts_at_candidate) & assigned
            elif any(map(starts_at_candidate, _names(node))):
                touched |= _names(node) & assigned
        while True:  # what such a variable was made from must be there too
            sources = [_names(node) for node in nodes if not isinstance(node, ast.Assert)]
            wider = touched.union(*(names & assigned for names in sources if names & touched))
            if wider == touched:
                return touched
            touched = wider

    def plan_statement(self, test: str, node: ast.stmt | None, touched: set[str]) -> None:
        if node is None:
            raise UnsupportedTest("the test has a syntax error")
        if isinstance(node, ast.Assert):
            self.plan_assert(test, node)
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            pass  # a docstring
        elif isinstance(node, ast.Import | ast.ImportFrom):
            self.imported |= imported_names(node)
            self.judge_statements.append(node)
            self.pending.append(ast.unparse(node))
        elif any(isinstance(part, ast.Assert) for part in ast.walk(node)):
            raise UnsupportedTest("an assert inside another statement")
        elif isinstance(node, ast.Assign) and self.stays_here(node, touched):
            self.judge_variables |= _names(node, ast.Store)
            self.judge_statements.append(node)
        else:
            self.judge_variables -= _names(node, ast.Store)
            self.child_variables |= _names(node, ast.Store)
            self.pending.append(ast.unparse(node))

    def stays_here(self, node: ast.Assign, touched: set[str]) -> bool:
        targets = _names(node, ast.Store)
        read = _names(node) - targets
        # Assigned twice, a variable would have its last value in every assert of the judge.
        return not _names(node) & (touched | self.judge_variables & targets) and all(map(self.is_trusted, read))

    def plan_assert(self, test: str, node: ast.Assert) -> None:
        splitter = _Splitter(self.is_trusted)
        tree = ast.Expression(splitter.visit(node.test))
        self.required_names |= _names(tree) & JUDGE_MODULES - self.imported - self.judge_variables
        condition = compile(ast.fix_missing_locations(tree), "<assert>", "eval")
        self.steps.append(Step(test, self.take_pending(), tuple(splitter.expressions), condition))

    def take_pending(self) -> str:
        source, self.pending = "\n".join(self.pending), []
        return source


def _names(node: ast.AST, context: type[ast.expr_context] | None = None) -> set[str]:
    return {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and (context is None or isinstance(part.ctx, context))
    }


def _root(node: ast.expr) -> str | None:
    """The name at the start of a chain of calls, attributes and subscripts."""
    while isinstance(node, _CHAIN):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _names_in_chains(node: ast.AST, is_candidate: Callable[[str], bool]) -> set[str]:
    """All names in the chains below `node` that start at a candidate name."""
    if isinstance(node, _CHAIN | ast.Name):
        root = _root(node)
        if root is not None and is_candidate(root):
            return _names(node)
    return set().union(*(_names_in_chains(child, is_candidate) for child in ast.iter_child_nodes(node)))


class _NeedsScope(Exception):
    """A candidate expression uses a variable of the comprehension or lambda around it."""


class _Splitter(ast.NodeTransformer):
    """Replaces candidate expressions by value_0, value_1, ... and keeps their source."""

    def __init__(self, is_trusted: Callable[[str], bool]) -> None:
        self.is_trusted = is_trusted
        self.bound: frozenset[str] = frozenset()
        self.expressions: list[str] = []

    def visit(self, node: ast.AST) -> Any:
        if isinstance(node, ast.NamedExpr):
            raise UnsupportedTest("an assignment inside an assert")
        if isinstance(node, _SCOPES):
            return self.visit_scope(node)
        if isinstance(node, _CHAIN | ast.Name):
            root = _root(node)
            if root is not None and root not in self.bound and not self.is_trusted(root):
                if _names(node) & self.bound:
                    raise _NeedsScope
                return self.hoist(node)
        return self.generic_visit(node)

    def visit_scope(self, scope: ast.AST) -> ast.AST:
        """A comprehension or lambda: sorted(f(3), key=lambda x: -x), or [f(x) for x in (1, 2)]."""
        outer, kept = self.bound, len(self.expressions)
        parameters = {part.arg for part in ast.walk(scope) if isinstance(part, ast.arg)}
        self.bound = outer | _names(scope, ast.Store) | parameters
        try:
            return self.generic_visit(copy.deepcopy(scope))
        except _NeedsScope:
            if _names(scope) & outer:
                raise
            del self.expressions[kept:]
            return self.hoist_scope(scope)
        finally:
            self.bound = outer

    def hoist_scope(self, scope: ast.AST) -> ast.AST:
        """The whole comprehension to the child, unless that would hand over what to compare with."""
        decides = any(isinstance(part, ast.Compare | ast.BoolOp | ast.Not) for part in ast.walk(scope))
        if decides or isinstance(scope, ast.Lambda):
            raise UnsupportedTest("a comparison or lambda around a call with its own variable")
        return self.hoist(scope)

    def hoist(self, node: ast.AST) -> ast.Name:
        name = VALUE_NAME.format(len(self.expressions))
        self.expressions.append(ast.unparse(node))
        return ast.copy_location(ast.Name(name, ast.Load()), node)
