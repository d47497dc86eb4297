"""The process that runs CrossHair on one program, confined before the program's first line. Started by symbolic.py.

It says what it finds in lines of JSON, [kind, text]: nothing (to look at), import (it cannot be imported), broken,
confirmed, searched, unclear, done.
"""

import ast
import builtins
import importlib
import json
import os
import re
import resource
import sys
from pathlib import Path
from typing import Any, NoReturn

from common.sandbox import namespaces, seccomp
from common.sandbox.confinement import MAX_DESCRIPTORS, NAMESPACES, SECCOMP, Confinement, Setup, make_undumpable
from common.sandbox.limits import lower
from common.sandbox.programs import Limits

MODULE = "candidate"
_MOST_FUNCTIONS = 20
_LEAST_S = 1.0  # for one function, however many there are
# Without their element types CrossHair would put in anything, and report what no caller does.
_VAGUE = frozenset(
    "Any object list List dict Dict set Set tuple Tuple frozenset FrozenSet Callable Iterable Iterator Sequence "
    "Mapping Collection Generator Hashable type Type".split()
)
# What a program cannot do here, it may well do elsewhere.
_OF_CONFINEMENT = (OSError, ModuleNotFoundError)
_NAMES_OF_CONFINEMENT = ("PermissionError", "FileNotFoundError", "OSError", "BlockingIOError", "ModuleNotFoundError")
_CONTRACT = re.compile(r"^\s*:?(pre|post)\s*(\[.*\])?\s*:", re.MULTILINE)


def main() -> NoReturn:
    """Read the request from standard input, confine this process, run CrossHair, and leave without exit hooks."""
    request = json.loads(sys.stdin.buffer.read())
    result = os.dup(1)
    source, names = prepare(request["code"])
    if not names:
        _say(result, "nothing", "no function whose parameters all have types")
        os._exit(0)
    _confine(request, source, result)
    _look(names, float(request["seconds"]), result)
    _say(result, "done", "")
    os._exit(0)


def prepare(code: str) -> tuple[str, list[str]]:
    """The program with a contract in every typed function that has none, and the names of the typed functions.

    Comments are gone afterwards, and with them whatever would switch CrossHair off.
    """
    tree = ast.parse(code)
    raises = [node for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    raised = sorted({_exception(node.exc) for node in raises} - {""})
    for node in raises:  # CrossHair 0.0.112 breaks on an expected exception that holds a symbolic value
        if isinstance(getattr(builtins, _exception(node.exc), None), type):
            node.exc = ast.Name(_exception(node.exc), ast.Load())
    names = []
    for function in [node for node in tree.body if isinstance(node, ast.FunctionDef)][:_MOST_FUNCTIONS]:
        if _is_typed(function):
            names.append(function.name)
            if not _has_contract(function):
                _add_contract(function, raised)
    return ast.unparse(ast.fix_missing_locations(tree)), list(dict.fromkeys(names))


def _exception(node: ast.expr | None) -> str:
    """Name of the class in `raise X` or `raise X(...)`."""
    node = node.func if isinstance(node, ast.Call) else node
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _is_typed(function: ast.FunctionDef) -> bool:
    """Whether it takes something, and each parameter has a type that says what its values hold."""
    given = function.args
    parameters = [*given.posonlyargs, *given.args, *given.kwonlyargs, *filter(None, (given.vararg, given.kwarg))]
    inner = [node for statement in function.body for node in ast.walk(statement)]
    generates = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in inner)
    return bool(parameters) and not generates and all(_is_concrete(parameter.annotation) for parameter in parameters)


def _is_concrete(annotation: ast.expr | None) -> bool:
    match annotation:
        case None:
            return False
        case ast.Constant(value=str(text)):
            try:
                return _is_concrete(ast.parse(text, mode="eval").body)
            except SyntaxError:
                return False
        case ast.Constant():
            return True  # None
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name not in _VAGUE
        case ast.Subscript(value=ast.Name(id=name) | ast.Attribute(attr=name), slice=inner):
            parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
            last = isinstance(parts[-1], ast.Constant) and parts[-1].value is Ellipsis if parts else False
            return name == "Literal" or (name != "Callable" and all(map(_is_concrete, parts[:-1] if last else parts)))
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _is_concrete(left) and _is_concrete(right)
    return False


def _has_contract(function: ast.FunctionDef) -> bool:
    """By decorators (icontract, deal), by its docstring, or by an assert before anything else."""
    text = ast.get_docstring(function)
    body = function.body[1:] if text is not None else function.body
    begins_with_assert = bool(body) and isinstance(body[0], ast.Assert)
    return bool(function.decorator_list) or begins_with_assert or bool(text and _CONTRACT.search(text))


def _add_contract(function: ast.FunctionDef, raised: list[str]) -> None:
    """`post: True`: it returns, or raises what the program itself raises."""
    text = ast.get_docstring(function)
    lines = [text or "", "", "post: True", *([f"raises: {', '.join(raised)}"] if raised else [])]
    contract = ast.Expr(ast.Constant("\n".join(lines).strip()))
    function.body[: 0 if text is None else 1] = [contract]


def _confine(request: dict[str, Any], source: str, result: int) -> None:
    """Load CrossHair, leave the program where it can be read, and enter the layers of the sandbox for good."""
    folder = os.getcwd()
    lower(resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)
    setup = Setup(request["level"], Limits(**request["limits"]), request["home"], folder)
    if NAMESPACES in setup.layers:  # before CrossHair, whose solver may start threads, since this forks
        folder = namespaces.SCRATCH
        namespaces.enter(setup.home, folder)
        setup = Setup(setup.level, setup.limits, setup.home, folder)
    importlib.import_module("crosshair.core_and_libs")
    Path(folder, f"{MODULE}.py").write_text(source, encoding="utf-8", errors="surrogatepass")
    make_undumpable()
    confinement = Confinement(setup)
    if SECCOMP in setup.layers:
        confinement.filter = seccomp.build_filter(file_changes=True)  # nobody measures what it would write
    confinement.enter(result)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("common", "phase4_anomaly_detection")]:
        del sys.modules[name]
    sys.path.insert(0, folder)


def _look(names: list[str], seconds: float, result: int) -> None:
    """Import the program and let CrossHair search, in each function for its share of the time."""
    from crosshair.core_and_libs import MessageType, analyze_function, run_checkables
    from crosshair.options import AnalysisKind, AnalysisOptionSet

    try:
        module = importlib.import_module(MODULE)
    except BaseException as error:  # the program's own
        kind = "unclear" if isinstance(error, _OF_CONFINEMENT) else "import"
        return _say(result, kind, f"it cannot be imported here: {type(error).__name__}: {error}")
    share = max(_LEAST_S, seconds / len(names))
    options = AnalysisOptionSet(per_condition_timeout=share, report_all=True, analysis_kind=list(AnalysisKind))
    against = (MessageType.POST_FAIL, MessageType.POST_ERR, MessageType.EXEC_ERR)
    for name in names:
        try:
            messages = run_checkables(analyze_function(getattr(module, name), options))
        except BaseException as error:  # CrossHair's own are no Exceptions: it meets what it cannot model
            _say(result, "unclear", f"{name}: CrossHair cannot look at it: {type(error).__name__}: {error}")
            continue
        states = {message.state for message in messages}
        broken = [m for m in messages if m.state in against and not m.message.startswith(_NAMES_OF_CONFINEMENT)]
        for message in broken:
            _say(result, "broken", f"{name}: {message.message}")
        if broken:
            continue
        if states == {MessageType.CONFIRMED}:
            _say(result, "confirmed", name)
        elif MessageType.CANNOT_CONFIRM in states:
            _say(result, "searched", name)
        else:
            _say(result, "unclear", f"{name}: {'; '.join(m.message for m in messages) or 'nothing to hold it to'}")
    return None


def _say(result: int, kind: str, text: str) -> None:
    os.write(result, (json.dumps([kind, text]) + "\n").encode())
