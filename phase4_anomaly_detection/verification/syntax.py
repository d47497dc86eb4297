"""Does the program parse? Asked in a process of its own: towers of brackets must end that one, not ours."""

import json
import sys
import tempfile

from phase4_anomaly_detection.verification.checks import ERROR, FAILED, PASSED, Check
from phase4_anomaly_detection.verification.processes import MIB, OPTIONS, Patience, run_limited

NAME = "syntax"
_CPU_S = 10
_PARSE = """import ast, json, sys
try:
    ast.parse(sys.stdin.buffer.read())
    found = None
except SyntaxError as error:
    found = [error.msg, error.lineno, error.offset]
except (ValueError, RecursionError, MemoryError) as error:
    found = [f"{type(error).__name__}: {error}".rstrip(": "), None, None]
print(json.dumps({"found": found}))
"""


def check_syntax(code: str, patience: Patience) -> Check:
    """failed, with line and column, for what Python's parser refuses."""
    source = b"# coding: utf-8\n" + code.encode("utf-8", "surrogatepass")  # whatever the program's own comment says
    with tempfile.TemporaryDirectory(prefix="pva-verify-") as folder:
        command = [sys.executable, *OPTIONS, "-S", "-c", _PARSE]
        finished = run_limited(command, folder, patience, cpu_s=_CPU_S, memory_bytes=1024 * MIB, stdin=source)
    if finished.stopped_for is None and finished.status < 0:
        return Check(NAME, FAILED, f"Python's parser does not survive it: {finished.reason()}")
    if finished.stopped_for is not None or finished.status != 0:
        return Check(NAME, ERROR, finished.reason())
    refusal = json.loads(finished.output)["found"]
    if refusal is None:
        return Check(NAME, PASSED, "it parses")
    message, line, column = refusal
    return Check(NAME, FAILED, f"{_place(line, column)}{message}")


def _place(line: int | None, column: int | None) -> str:
    if line is None:
        return ""
    return f"line {max(1, line - 1)}{f', column {column}' if column else ''}: "
