"""What the top-level statements of a program are there for: to define it, to test it, to show it, to talk about it."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence

from common.problems.syntax import module_names

NEW_PROBLEM = re.compile(
    r"\W*(?:solutions?|problem|tasks?|exercise|question|write an? (?!helper)|write (?:python|code)|given an? )\b",
    re.IGNORECASE,
)
TESTS = re.compile(
    r"\W*(?:test(?:s|ing)?|examples?|usage|sample|expected output|driver (?:code|program)|output|explanation)\b",
    re.IGNORECASE,
)
_STDIN = {"sys.stdin", "stdin"}
_INPUT = {"input", "raw_input", *_STDIN}
_LEAVING = {"exit", "quit", "sys.exit", "os._exit", "unittest.main", "doctest.testmod", "pytest.main"}
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_NEVER_IDLE = (*_DEFINITIONS, ast.Import, ast.ImportFrom)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def ends_solution(statement: ast.stmt, entry_point: str) -> bool:
    """A top-level statement that no solution has after its function."""
    match statement:
        case ast.Assert() | ast.AnnAssign(value=None):
            return True
        case ast.If():
            return is_main_guard(statement)
        case ast.Expr(value=ast.Constant(value=str() as text)):
            return bool(NEW_PROBLEM.match(text) or TESTS.match(text))
        case ast.Expr():
            calls = [node for node in ast.walk(statement) if isinstance(node, ast.Call)]
            return not calls or any(_dotted(call.func) in {"print", entry_point} - {""} for call in calls)
    return False


def is_main_guard(statement: ast.stmt) -> bool:
    """Whether this is `if __name__ == ...`."""
    if not isinstance(statement, ast.If):
        return False
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test))


def is_overload(statement: ast.stmt) -> bool:
    """Whether this declares a signature for type checkers only."""
    decorators = statement.decorator_list if isinstance(statement, _DEFINITIONS) else []
    return any(_dotted(decorator).split(".")[-1] == "overload" for decorator in decorators)


def really_defines(statement: ast.stmt, name: str) -> bool:
    """Whether this binds the name to something that can be called: no import, stub, signature or constant."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return statement.name == name and not is_overload(statement) and not all(map(_is_empty, statement.body))
        case ast.Import() | ast.ImportFrom() | ast.Assign(value=ast.Constant()):
            return False
    return module_names([statement]).get(name, "import") != "import"


def idle_statements(body: Sequence[ast.stmt], entry_point: str) -> set[int]:
    """Statements, by index, that only test, show or talk, and those that wait for a user who types.

    `entry_point` is the tested function, which `body` defines. What sets a name that a definition looks up stays, and
    so do, before the last statement that is kept, strings and constants that are computed with the function.
    """
    definers = [index for index, item in enumerate(body) if entry_point in module_names([item])]
    others = [i for i, item in enumerate(body) if i not in definers and not isinstance(item, _NEVER_IDLE)]
    if not others:
        return set()
    idle = _asking(body, others) | {i for i in others if _leaves(body[i])}
    testers = _functions_reaching(body, {entry_point}) - {entry_point}
    later = [i for i in others if i > definers[0] and i not in idle]
    tests = {i for i in later if _only_tests(body[i], entry_point, testers)}
    imported = _imported(body)
    kept = (item for i, item in enumerate(body) if tests and i not in idle | tests)
    needed = {name for item in kept for name in _looked_up(item)}
    for i in sorted(tests, reverse=True):
        if not needed.isdisjoint(_stored(body[i]) - imported):
            tests.remove(i)
            needed |= _looked_up(body[i])
    end = _talk_at_the_end(body, idle | tests, definers[-1], entry_point)
    return idle | end | {i for i in tests if not isinstance(body[i], ast.Assign | ast.AnnAssign)}


def definitions_only(body: Sequence[ast.stmt], tested: str) -> set[int]:
    """Statements, by index, that no helper of the tested function needs: those that run it, that ask, show or talk."""
    others = [i for i, item in enumerate(body) if not isinstance(item, _NEVER_IDLE)]
    idle = _asking(body, others)
    idle |= {i for i in others if _leaves(body[i]) or tested in _looked_up(body[i])}
    idle |= {i for i in others if _only_tests(body[i], tested, set())}
    return idle | _talk_at_the_end(body, idle, -1, tested)


def _talk_at_the_end(body: Sequence[ast.stmt], idle: set[int], needed: int, entry_point: str) -> set[int]:
    """The last statements, as far as each is idle or talks."""
    talk = set()
    for i in range(len(body) - 1, needed, -1):
        if not (i in idle or _talks(body[i], entry_point)):
            break
        talk.add(i)
    return talk


def _asking(body: Sequence[ast.stmt], others: Iterable[int]) -> set[int]:
    """Which of the statements read what a user types, or use what such a one has read."""
    askers = _INPUT | _functions_reaching(body, _INPUT)
    asking: set[int] = set()
    typed: set[str] = set()
    imported = _imported(body)
    for i in others:
        reads = not askers.isdisjoint(_called_at_once(body[i])) or not _STDIN.isdisjoint(_mentioned_at_once(body[i]))
        if reads or not typed.isdisjoint(_looked_up(body[i])):
            asking.add(i)
            typed |= _stored(body[i]) - imported
        else:
            typed -= _stored(body[i])
    return asking


def _only_tests(statement: ast.stmt, entry_point: str, testers: set[str]) -> bool:
    """Whether running this only tests the function or shows what it gives, directly or through one of `testers`."""
    match statement:
        case ast.Assign() | ast.AnnAssign(value=ast.expr()):
            return entry_point in _called_at_once(statement)
        case ast.Expr(value=ast.Constant()) | ast.AnnAssign():
            return False
        case ast.Expr() if not testers.isdisjoint(_mentioned_at_once(statement)):
            return any(isinstance(node, ast.Call) for node in ast.walk(statement))
    parts = _parts_of(statement)
    if parts and not is_main_guard(statement):
        return all(_only_tests(item, entry_point, testers) or isinstance(item, ast.Pass) for item in parts)
    return ends_solution(statement, entry_point)


def _talks(statement: ast.stmt, entry_point: str) -> bool:
    """Whether this is worth nothing at a program's end."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return True
    return ends_solution(statement, entry_point)


def _leaves(statement: ast.stmt) -> bool:
    """Whether this ends the process: then nothing can be called any more."""
    return isinstance(statement, ast.Expr) and not _LEAVING.isdisjoint(_called_at_once(statement))


def _functions_reaching(body: Sequence[ast.stmt], targets: set[str]) -> set[str]:
    """Functions of the module that look up one of the targets, themselves or through other functions."""
    functions: dict[str, ast.stmt] = {}
    for item in body:
        match item:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                functions[name] = item
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda()):
                functions[name] = item
    uses = {name: _looked_up(item) | (_mentioned(ast.walk(item)) & _STDIN) for name, item in functions.items()}
    reaching: set[str] = set()
    callers = set(targets)
    while callers:
        callers = {name for name, names in uses.items() if name not in reaching and not names.isdisjoint(callers)}
        reaching |= callers
    return reaching


def _parts_of(statement: ast.stmt) -> list[ast.stmt]:
    """The statements within a loop, a branch, a `with` or a `try`."""
    if isinstance(statement, _DEFINITIONS):
        return []
    parts = [item for field in ("body", "orelse", "finalbody") for item in getattr(statement, field, [])]
    return parts + [item for handler in getattr(statement, "handlers", []) for item in handler.body]


def _at_once(statement: ast.stmt) -> Iterator[ast.AST]:
    """The nodes that are run with the module, not when a function is called."""
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, _FUNCTIONS):
            waiting += ast.iter_child_nodes(node)


def _called_at_once(statement: ast.stmt) -> set[str]:
    return {_dotted(node.func) for node in _at_once(statement) if isinstance(node, ast.Call)} - {""}


def _mentioned_at_once(statement: ast.stmt) -> set[str]:
    return _mentioned(_at_once(statement))


def _mentioned(nodes: Iterable[ast.AST]) -> set[str]:
    return {_dotted(node) for node in nodes if isinstance(node, ast.Name | ast.Attribute)} - {""}


def _looked_up(statement: ast.stmt) -> set[str]:
    """Names that a statement takes from the module: of a definition, those that nothing within it sets."""
    names = [node for node in ast.walk(statement) if isinstance(node, ast.Name)]
    loaded = {node.id for node in names if isinstance(node.ctx, ast.Load)}
    if not isinstance(statement, _DEFINITIONS):
        return loaded
    arguments = {node.arg for node in ast.walk(statement) if isinstance(node, ast.arg)}
    return loaded - arguments - {node.id for node in names if isinstance(node.ctx, ast.Store)}


def _imported(body: Sequence[ast.stmt]) -> set[str]:
    return {name for name, kind in module_names(body).items() if kind == "import"}


def _stored(statement: ast.stmt) -> set[str]:
    """Names that are set, or whose items, attributes or methods may change what they stand for."""
    stored = set()
    for node in ast.walk(statement):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            node = node.func.value
        elif not isinstance(getattr(node, "ctx", None), ast.Store):
            continue
        while isinstance(node, ast.Subscript | ast.Attribute):
            node = node.value
        if isinstance(node, ast.Name):
            stored.add(node.id)
    return stored


def _dotted(node: ast.expr) -> str:
    """`sys.stdin` of its node; empty for what is not made of names."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else ""


def _is_empty(statement: ast.stmt) -> bool:
    """Whether this does nothing: `pass`, `...`, a docstring."""
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Constant)
    return isinstance(statement, ast.Pass)
