"""The tests' side: run tests as ordinary Python, as they are written, about a program in another process.

A pass needs a check that could fail, a call of the program, no failure, and no operator of the program's own
that decided. Exit status and output prove nothing.
"""

import ast
import builtins
import io
import sys
import types
from dataclasses import asdict, dataclass
from typing import Any

from common.sandbox.proxies import unittests
from common.sandbox.proxies.binding import bind
from common.sandbox.proxies.channel import Gone, Stop, Unsupported
from common.sandbox.proxies.link import Connection
from common.sandbox.proxies.reading import ENTERED, IS, SEEN, ReadTests, read_tests
from common.sandbox.turns import TURNS
from common.sandbox.verdict import shown

PROGRAM, REFERENCE = TURNS["programs"], TURNS["references"]
_TEXT_CHARS = 500
_IMMUTABLE = (tuple, str, bytes, int, float, complex, frozenset)
# What tests might replace for the program to see, and it would not.
_BUILTINS = ("print", "open", "len", "sorted", "sum", "max", "min", "isinstance", "range", "abs", "round")


@dataclass(frozen=True)
class Report:
    """What the tests found. `ended`: the program's process was gone; its server knows why.

    `error`: (nearest builtin class, class, message) of what ended the tests, when that was no failed check.
    """

    label: str
    failed_test: str | None = None
    message: str = ""
    error: tuple[str, str, str] | None = None
    while_compiling: bool = False
    ended: bool = False


class Tests:
    """The tests of one program: parsed, bound to it, run."""

    def __init__(self, request: dict[str, Any], link: Connection, reference: Connection | None) -> None:
        self.entry_point, self.link, self.reference = request["entry_point"], link, reference
        self.read = read_ahead(request)
        self.entered: set[str] = set()
        self.outcome = unittests.Outcome()
        self.seen: list[Any] = []
        self.namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": builtins}
        self.namespace |= {IS: _same, SEEN: self.see, ENTERED: self.entered.add}

    def run(self) -> Report:
        """The report on this program. Raises nothing."""
        try:
            failure, names, modules = self.link.ready()
            if failure is not None:
                stage, nearest, name, text = failure
                return Report("incorrect", error=(nearest, name, text), while_compiling=stage == "compile")
            bind(self.namespace, self.read, self.entry_point, self.link, names, modules)
            self.bind_reference()
            start = self.link.n_calls
            self.execute()
            called = self.link.n_calls > start
        except BaseException as error:
            return self.failure(self.first_failure() or error)
        return self.verdict(called)

    def bind_reference(self) -> None:
        """The name `reference`. Raises: Unsupported when the reference solution does not run."""
        if self.reference is None:
            return
        failure, names, _ = self.reference.ready()
        if failure is not None or self.entry_point not in names:
            reason = " ".join(failure or [f"it defines no {self.entry_point}"])
            raise Unsupported(f"the reference solution does not run: {reason}")
        self.namespace["reference"] = self.reference.call("name", 0, self.entry_point)

    def execute(self) -> None:
        sys.stdin = io.StringIO("")
        sys.stdout = sys.__stdout__ = sys.stderr = io.StringIO()
        sys.argv = ["tests"]
        intact = {name: getattr(builtins, name) for name in _BUILTINS}
        try:
            unittests.record(self.outcome)
            for code in self.read.codes:
                exec(code, self.namespace)
            unittests.record(self.outcome)
            self.run_what_was_only_defined()
        finally:
            if any(getattr(builtins, name) is not value for name, value in intact.items()):
                raise Unsupported("the tests replace a builtin, which the program would not see")

    def run_what_was_only_defined(self) -> None:
        """TestCase classes, test functions and `check` that the tests define and leave to a runner."""
        unittests.run_left_over(self.namespace, self.entered)
        for name, value in list(self.namespace.items()):
            own = type(value) is types.FunctionType and value.__globals__ is self.namespace
            if not own or name in self.entered:
                continue
            if name.startswith("test"):
                if value.__code__.co_argcount > len(value.__defaults__ or ()):
                    raise Unsupported("the tests use fixtures")
                value()
            elif name == "check" and value.__code__.co_argcount == 1 and self.entry_point is not None:
                value(self.namespace[self.entry_point])

    def verdict(self, called: bool) -> Report:
        failure = self.first_failure()
        if failure is not None:
            return self.failure(failure)
        if self.outcome.skipped:
            return Report("unsupported", message="a test was skipped")
        if self.read.broken is not None:
            return Report("unsupported", self.read.broken, "the test has a syntax error")
        if not called:
            return Report("unsupported", message="the tests never call the program")
        if not self.read.n_checks:
            return Report("unsupported", message="the tests hold no check")
        if self.link.taints:
            return Report("unsupported", message=f"only the program's own code could judge: {self.link.taints[0]}")
        return Report("correct")

    def first_failure(self) -> BaseException | None:
        """What a runner of tests, or a test that catches everything, kept to itself."""
        return self.outcome.errors[0] if self.outcome.errors else next(iter(Stop.noted), None)

    def failure(self, error: BaseException) -> Report:
        """The report on an exception that ended a test."""
        if isinstance(error, Unsupported):
            return Report("unsupported", message=str(error))
        if isinstance(error, Gone):
            return Report("incorrect", self.failed_test(error), str(error), ended=True)
        test, own = self.failed_test(error), not self.link.raised_by_program(error)
        if isinstance(error, AssertionError) and own:
            reason = (
                "got " + shown(self.seen[0], Exception, Stop)
                if self.seen and not self.outcome.errors
                else "the check does not hold"
            )
            return Report("incorrect", test, text_of(error) or reason)
        if isinstance(error, ImportError) and own:
            return Report("unsupported", test, f"the tests need what is not here: {text_of(error)}")
        kind = type(error)
        if own and kind.__name__ in ("Skipped", "SkipTest"):
            return Report("unsupported", test, "a test was skipped")
        nearest = next(base.__name__ for base in kind.__mro__ if base.__module__ == "builtins")
        return Report("incorrect", test, error=(nearest, kind.__name__, text_of(error)))

    def failed_test(self, error: BaseException) -> str | None:
        """The innermost statement of the tests that the exception came through."""
        traceback, where = error.__traceback__, None
        while traceback is not None:
            if traceback.tb_frame.f_code.co_filename in self.read.sources:
                where = traceback.tb_frame.f_code.co_filename, traceback.tb_lineno
            traceback = traceback.tb_next
        if where is None:
            return None
        source = self.read.sources[where[0]]
        tree = ast.parse(source)
        if len(tree.body) == 1 and isinstance(tree.body[0], ast.Assert):
            return source
        return statement_at(tree, source, where[1]) or source

    def see(self, value: Any) -> Any:
        """Note what an assert is about, for the message of its failure."""
        self.seen[:] = [value]
        return value


def _same(first: Any, second: Any) -> bool:
    """`first is second` for objects of which either may stand for one of the program's. Raises: Unsupported."""
    if first is second:
        return True
    if isinstance(first, type) and isinstance(second, type):
        return first == second
    if type(first) is type(second) and type(first) in _IMMUTABLE and first == second:
        raise Unsupported("a test asks whether two equal values are one object")
    return False


def statement_at(tree: ast.Module, source: str, line: int) -> str | None:
    """The innermost statement that covers `line` (from 1), as it is written."""
    innermost: ast.stmt | None = None
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or node.lineno):
            innermost = node if innermost is None or node.lineno >= innermost.lineno else innermost
    return ast.get_source_segment(source, innermost) if innermost is not None else None


def text_of(error: BaseException) -> str:
    """The message of an exception whose own methods may raise."""
    try:
        return str(error)[:_TEXT_CHARS]
    except (Exception, Stop):
        return ""


def read_ahead(request: dict[str, Any]) -> ReadTests:
    """What can be known before the program is: done by the server, so that its children find it done."""
    return read_tests(request["setup"], tuple(request["tests"]))


def run_tests(request: dict[str, Any], sockets: list[int], page: Any) -> dict[str, Any]:
    """The report, as JSON, on the program at the other end of the first socket; a reference is at the second.

    `page`: whose turn it is.
    """
    link, *references = (Connection(fd, turn, page) for fd, turn in zip(sockets, (PROGRAM, REFERENCE), strict=False))
    return asdict(Tests(request, link, references[0] if references else None).run())
