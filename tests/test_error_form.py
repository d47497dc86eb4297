"""Covers the form of every error that a user can mend: what is wrong, with the value; on a new line, what to type.

Read from the syntax trees, so that errors which no test raises are held to it too.
"""

import ast
import functools
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from support import ROOT

from common import errors

VALUE = "\0"  # stands for what an f-string fills in
FILES = sorted(
    path.relative_to(ROOT)
    for path in ROOT.rglob("*.py")
    if not any(part.startswith(".") or part in ("data", "tests") for part in path.relative_to(ROOT).parts)
)
ERRORS = {name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)}

VERBS = """Add Allow Build Change Check Choose Complete Convert Copy Fetch Finish Give Keep Label Leave Load Make Mend
Move Name Rebuild Remove Rename Restore Run Save Say Set Shorten Start Stop Submit Take Type Use Wait Write""".split()
WHAT_TO_DO = re.compile(  # a sentence that begins with a verb, a flag, or a command
    rf"(^|[.;:?!)\0] *)({'|'.join(VERBS)})\b|(^|[^\w-])--[a-z]|\b(python3|pip|git|hf|mv|rm|kill|scancel) \S"
)

# File and function -> why its errors lack a part of the form, or why it cannot be seen from here.
EXCEPTIONS = {
    "clean_data.py confirmed": "no value: there is nobody to ask",
    "common/runs/artifacts.py find_damage": "never shown: whoever asks mends it, or makes another error of it",
    "common/runs/held_out_log.py note": "its callers word it: refusal() of phase 3's and phase 4's readings",
    "common/saes/encoder.py _loading_errors": "its callers say how to get it",
    "common/sandbox/judge_client.py _check_open": "no value: the sandbox was closed from another thread",
    "common/sandbox/pool.py submit": "no value: the sandbox is closed",
    "phase0_1_split/splitting.py check_sizes": "fault_of, of another module, has both lines",
    "phase4_anomaly_detection/commands.py _texts": "no value: no text was given",
    "phase4_anomaly_detection/pipeline.py _with_its_monitor": "no value: there is no detector",
    "phase4_anomaly_detection/verification/tests.py _verdict": "never shown: verify() makes a failed check of it",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """All below a function or module, without the functions in it."""
    for node in ast.iter_child_nodes(scope):
        yield node
        if not isinstance(node, Function):
            yield from own_nodes(node)


class Module:
    """One source file, and what the errors that it makes can say."""

    def __init__(self, source: str):
        self.tree = ast.parse(source)
        nodes = list(ast.walk(self.tree))
        self.functions = [node for node in nodes if isinstance(node, Function)]
        self.errors = ERRORS | {
            node.name for node in nodes if isinstance(node, ast.ClassDef) and {*map(_last_name, node.bases)} & ERRORS
        }

    def messages(self) -> Iterator[tuple[str, int, str]]:
        """Function, line and one of the texts of every error."""
        for function in [self.tree, *self.functions]:
            for node in own_nodes(function):
                made = isinstance(node, ast.Call) and _last_name(node.func) in self.errors and node.args
                if made and not ast.unparse(node.args[0]).startswith("str(error)"):  # another error's message goes on
                    for text in self._texts(node.args[0], function):
                        yield getattr(function, "name", "module"), node.lineno, text

    def _texts(self, node: ast.expr, function: ast.AST | None) -> list[str]:
        """What an expression can be; in `function`, names and helpers are followed, one level deep."""
        if isinstance(node, ast.Constant):
            return [str(node.value)]
        if isinstance(node, ast.JoinedStr):
            return ["".join(parts) for parts in itertools.product(*(self._texts(v, function) for v in node.values))]
        if isinstance(node, ast.FormattedValue):
            return [text.rstrip(VALUE) + VALUE for text in self._texts(node.value, function)]
        if isinstance(node, ast.IfExp):
            return self._texts(node.body, function) + self._texts(node.orelse, function)
        found = []
        if function is not None and isinstance(node, ast.Name):
            values = _assigned(function, node.id) or _assigned(self.tree, node.id)
            found = [self._texts(value, None) for value in values]
        if function is not None and isinstance(node, ast.Call):
            called = ast.unparse(node.func).removeprefix("self.")
            helpers = [helper for helper in self.functions if helper.name == called]
            returns = [n for helper in helpers for n in own_nodes(helper) if isinstance(n, ast.Return)]
            found = [self._texts(n.value, None) for n in returns if n.value is not None]
        return [text for texts in found for text in texts] or [VALUE]


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


def _assigned(scope: ast.AST, name: str) -> list[ast.expr]:
    assigned = [node for node in own_nodes(scope) if isinstance(node, ast.Assign)]
    return [node.value for node in assigned if [ast.unparse(target) for target in node.targets] == [name]]


def fault_of(message: str) -> str | None:
    """What a message lacks of the form; None when it has all of it."""
    what, _, advice = message.partition("\n")
    if not advice:
        return "has no second line"
    if VALUE not in what:
        return "shows no value"
    return None if WHAT_TO_DO.search(advice) else "does not say what to type"


@functools.cache
def messages_of(path: Path) -> list[tuple[str, int, str]]:
    """Function, line and text of every error of a file, which is parsed once."""
    return list(Module((ROOT / path).read_text()).messages())


def faults_of(messages: Iterable[tuple[str, int, str]]) -> dict[str, set[str]]:
    """By function, what its errors lack."""
    found: dict[str, set[str]] = {}
    for function, line, message in messages:
        if fault := fault_of(message):
            found.setdefault(function, set()).add(f"line {line} {fault}: {message!r}")
    return found


def test_every_error_says_what_is_wrong_and_what_to_type():
    faults = {f"{path} {name}": found for path in FILES for name, found in faults_of(messages_of(path)).items()}
    assert not {place: found for place, found in faults.items() if place not in EXCEPTIONS}
    assert EXCEPTIONS.keys() <= faults.keys(), "each is still needed"


def test_errors_are_found():
    assert sum(len(messages_of(path)) for path in FILES) > 300


IN_A_FUNCTION = "class Own(ConfigError): pass\nLIKE = 'Give 1 or more'\ndef f(n):\n"


@pytest.mark.parametrize(
    "body",
    [
        r"raise ConfigError(f'--steps is {n}\nGive 1 to 5000')",
        r"raise Own(f'--steps is {n}' '\n' f'{LIKE}')",
        r"return errors.AssetError(f'{n} is missing\nIt is part of the repository: git checkout -- {n}')",
        r"raise ConfigError(f'{n} is in use\n{n}. Wait for it')",
        "advice = 'see --layers' if n else 'Leave it out'\n    raise ConfigError(f'{n} is wrong\\n{advice}')",
        "def _advice(): return f'Fetch it with: hf download {n}'\n    raise ConfigError(f'{n} is gone\\n{_advice()}')",
        "def _what(): return f'{n} is gone\\nFetch it'\n    raise ConfigError(_what())",
        "raise ConfigError(str(error).replace('--model', '--to'))",
        "raise ValueError('of no concern here')",
    ],
)
def test_a_good_message_passes(body):
    assert faults_of(Module(f"{IN_A_FUNCTION}    {body}\n").messages()) == {}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("raise ConfigError(f'--steps is {n}')", "has no second line"),
        ("raise ConfigError(f'--steps is {n}. Give 1 to 5000')", "has no second line"),
        (r"raise ConfigError('--steps is wrong\nGive 1 to 5000')", "shows no value"),
        (r"raise ConfigError(f'wrong\nGive {n}')", "shows no value"),
        (r"raise Own(f'--steps is {n}\nThat is not possible')", "does not say what to type"),
        (r"raise ConfigError(f'--steps is {n}\nExpected another number')", "does not say what to type"),
        (
            "more = '' if n else '. Give 1'\n    raise ConfigError(f'{n}\\nIt is wrong{more}')",
            "does not say what to type",
        ),
        ("def _what(): return f'{n} is gone'\n    raise ConfigError(_what())", "has no second line"),
        ("return errors.AssetError(n)", "has no second line"),
    ],
)
def test_a_bad_message_is_found(body, fault):
    (found,) = faults_of(Module(f"{IN_A_FUNCTION}    {body}\n").messages())["f"]
    assert fault in found
