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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import CodeType

from common.sandbox.entry_point import imported_names, parse_quietly

VALUE_NAME = "value_{}"

# Modules that tests name without importing them: the candidate's own import counts, as it would in one
# process, but the judge uses its own copy, which nobody can have patched.
JUDGE_MODULES = frozenset(
    "bisect cmath collections datetime decimal fractions functools heapq itertools math operator re statistics string sys".split()
)
_BUILTIN_NAMES = frozenset(dir(builtins))
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
    is_equality: bool = False
    unsupported: str | None = None


@dataclass
class TestPlan:
    """All steps in order, with the trusted source that the judge's own namespace needs."""

    steps: list[Step] = field(default_factory=list)
    judge_source: str = ""
    required_names: tuple[str, ...] = ()


def plan_tests(tests: Sequence[str], setup: str, entry_point: str | None) -> TestPlan:
    """The plan of a program's tests. A test that cannot be split becomes an unsupported step."""
    setup_tree = parse_quietly(setup) or ast.Module([], [])
    imports = [node for node in setup_tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    planner = _Planner(imported_names(ast.Module(imports, [])), entry_point)
    planner.judge_statements.extend(imports)
    for test in tests:
        tree = parse_quietly(test)
        if tree is None:
            planner.steps.append(Step(test, unsupported="the test has a syntax error"))
        else:
            planner.plan(test, _inline_check(tree.body, entry_point))
    return planner.finish()


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

    def __init__(self, setup_imports: set[str], entry_point: str | None) -> None:
        self.steps: list[Step] = []
        self.judge_statements: list[ast.stmt] = []
        self.used_modules: set[str] = set()
        self.imported = set(setup_imports)
        self.test_variables: set[str] = set()
        self.entry_point = entry_point
        self.pending: list[str] = []  # statements the child runs before its next assert

    def is_trusted(self, name: str) -> bool:
        if name == self.entry_point:  # it may be called `sum`
            return False
        known = name in self.imported or name in self.test_variables
        return known or name in _BUILTIN_NAMES or name in JUDGE_MODULES

    def plan(self, test: str, body: list[ast.stmt]) -> None:
        touched = self.names_given_to_the_candidate(body)
        for node in body:
            try:
                self.plan_statement(test, node, touched)
            except UnsupportedTest as reason:
                self.steps.append(Step(test, self.take_pending(), unsupported=str(reason)))
        if self.pending and body and not isinstance(body[-1], ast.Assert):
            self.steps.append(Step(test, self.take_pending()))

    def names_given_to_the_candidate(self, body: list[ast.stmt]) -> set[str]:
        """Variables that the child must hold, because candidate code reads, and may change, them."""
        touched: set[str] = set()
        for node in body:
            if any(isinstance(part, ast.Name) and self.is_candidate(part.id, body) for part in ast.walk(node)):
                if isinstance(node, ast.Assert):
                    touched |= {name for source in _chains(node, lambda n: self.is_candidate(n, body)) for name in source}
                else:
                    touched |= _names(node)
        return touched

    def is_candidate(self, name: str, body: Iterable[ast.stmt]) -> bool:
        assigned = {bound for node in body for bound in _names(node, ast.Store)}
        return not self.is_trusted(name) and name not in assigned

    def plan_statement(self, test: str, node: ast.stmt, touched: set[str]) -> None:
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
            self.test_variables |= _names(node, ast.Store)
            self.judge_statements.append(node)
        else:
            self.test_variables -= _names(node, ast.Store)
            self.pending.append(ast.unparse(node))

    def stays_here(self, node: ast.Assign, touched: set[str]) -> bool:
        names = _names(node)
        targets = _names(node, ast.Store)
        return not names & touched and all(self.is_trusted(name) for name in names - targets)

    def plan_assert(self, test: str, node: ast.Assert) -> None:
        splitter = _Splitter(self.is_trusted)
        tree = ast.Expression(splitter.visit(node.test))
        self.used_modules |= _names(tree) & JUDGE_MODULES - self.imported - self.test_variables
        condition = compile(ast.fix_missing_locations(tree), "<assert>", "eval")
        is_equality = isinstance(node.test, ast.Compare)
        step = Step(test, self.take_pending(), tuple(splitter.expressions), condition, is_equality)
        self.steps.append(step)

    def take_pending(self) -> str:
        source, self.pending = "\n".join(self.pending), []
        return source

    def finish(self) -> TestPlan:
        source = "\n".join(ast.unparse(node) for node in self.judge_statements)
        return TestPlan(self.steps, source, tuple(sorted(self.used_modules)))


def _names(node: ast.AST, context: type[ast.expr_context] | None = None) -> set[str]:
    return {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and (context is None or isinstance(part.ctx, context))
    }


def _root(node: ast.expr) -> str | None:
    """The name at the start of a chain of calls, attributes and subscripts."""
    while isinstance(node, ast.Call | ast.Attribute | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _chains(node: ast.AST, is_candidate) -> list[set[str]]:
    """The names in each longest chain that starts at a candidate name."""
    if isinstance(node, ast.Call | ast.Attribute | ast.Subscript | ast.Name):
        root = _root(node)
        if root is not None and is_candidate(root):
            return [_names(node)]
    return [names for child in ast.iter_child_nodes(node) for names in _chains(child, is_candidate)]


class _Splitter(ast.NodeTransformer):
    """Replaces candidate expressions by value_0, value_1, ... and keeps their source."""

    def __init__(self, is_trusted) -> None:
        self.is_trusted = is_trusted
        self.expressions: list[str] = []

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, _SCOPES) and self.needs_candidate(node):
            return self.hoist_scope(node)
        if isinstance(node, ast.NamedExpr):
            raise UnsupportedTest("an assignment inside an assert")
        if isinstance(node, ast.Call | ast.Attribute | ast.Subscript | ast.Name):
            root = _root(node)
            if root is not None and not self.is_trusted(root):
                return self.hoist(node)
        if isinstance(node, _SCOPES):
            return node
        return self.generic_visit(node)

    def needs_candidate(self, scope: ast.AST) -> bool:
        bound = _names(scope, ast.Store) | {part.arg for part in ast.walk(scope) if isinstance(part, ast.arg)}
        return any(not self.is_trusted(name) for name in _names(scope) - bound)

    def hoist_scope(self, scope: ast.AST) -> ast.AST:
        """[f(x) for x in (1, 2)]: whole to the child, unless it would hand over what to compare with."""
        if any(isinstance(part, ast.Compare | ast.BoolOp | ast.Not) for part in ast.walk(scope)):
            raise UnsupportedTest("a comparison inside a comprehension or lambda")
        if isinstance(scope, ast.Lambda):
            raise UnsupportedTest("a lambda that calls the candidate")
        return self.hoist(scope)

    def hoist(self, node: ast.AST) -> ast.Name:
        name = VALUE_NAME.format(len(self.expressions))
        self.expressions.append(ast.unparse(node))
        return ast.copy_location(ast.Name(name, ast.Load()), node)
