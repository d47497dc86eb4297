"""CrossHair on functions whose parameters have types: is there an input on which one breaks its contract, or crashes?

CrossHair calls the functions, with values that an SMT solver chooses, so the program runs. It runs in a process of
its own under the layers of common/sandbox: resource limits, no capabilities, no other process, no network, and from
level 2 none of the user's files; beyond what programs under test get, it may write no file at all. Where a machine
has none of these layers, this check is skipped; isolation "none" runs it with nothing but limits.

What is looked for: a function with asserts at its beginning, or `pre:` and `post:` lines in its docstring (PEP 316), is
held to them. Any other is looked at for an input of its types that raises what the program nowhere raises itself.

Unlike the tests' verdict this one can be forged by a program that attacks the checker: both are in one process.
"""

import importlib.util
import json
import os
import sys
import tempfile
from dataclasses import asdict

from common.errors import SandboxError
from common.provenance import ROOT
from common.sandbox.levels import choose_isolation
from common.sandbox.programs import Limits
from phase4_anomaly_detection.verification.checks import ERROR, FAILED, PASSED, SKIPPED, Check
from phase4_anomaly_detection.verification.processes import MIB, OPTIONS, Finished, Patience, run_limited

NAME = "symbolic"
_START_S = 20  # of the processor, for imports, on a slow machine
_MEMORY = 2048 * MIB
_MOST_SHOWN = 3
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from phase4_anomaly_detection.verification.symbolic_child import main; del sys.path[0]; main()"
)


def check_symbolic(code: str, seconds: float, isolation: str, patience: Patience) -> Check:
    """failed, with an input that shows it; passed says whether that is proved or only not found in `seconds`.

    The search gets less where half of what `patience` has left is less: the other half is for the start.
    """
    if importlib.util.find_spec("crosshair") is None:
        return Check(NAME, SKIPPED, "CrossHair is not installed; to have it: pip install crosshair-tool")
    cpu_s = seconds + _START_S  # not of `search_s`: a machine is probed once for each set of limits
    limits = Limits(cpu_s=cpu_s, memory_bytes=_MEMORY)
    home = os.path.expanduser("~")
    try:
        level = choose_isolation(isolation, limits, home).level
    except SandboxError as error:
        reason = str(error).partition("\n")[0]
        return Check(NAME, SKIPPED, f"CrossHair runs the program, and nothing here would confine it: {reason}")
    search_s = min(seconds, patience.left_s / 2)
    request = {"code": code, "seconds": search_s, "level": level, "home": home, "limits": asdict(limits)}
    with tempfile.TemporaryDirectory(prefix="pva-verify-") as folder:
        command, stdin = [sys.executable, *OPTIONS, "-c", _START, str(ROOT)], json.dumps(request).encode()
        finished = run_limited(command, folder, patience, cpu_s=cpu_s, memory_bytes=None, stdin=stdin)
    return _verdict(finished, f"level {level}")


def _verdict(finished: Finished, where: str) -> Check:
    """What the messages of the child say. They may be forged, so that nothing in them can break this."""
    messages = [message for line in finished.output.splitlines() if (message := _message(line)) is not None]
    kinds: dict[str, list[str]] = {}
    for kind, text in messages:
        kinds.setdefault(kind, []).append(text)
    against = [*kinds.get("import", []), *kinds.get("broken", [])]
    if against:
        more = [f"and {len(against) - _MOST_SHOWN} more"] if len(against) > _MOST_SHOWN else []
        return Check(NAME, FAILED, "; ".join([*against[:_MOST_SHOWN], *more]))
    if "nothing" in kinds:
        return Check(NAME, SKIPPED, kinds["nothing"][0])
    if "done" not in kinds:
        last = finished.output.decode("utf-8", "replace").strip().splitlines()[-1:]
        return Check(NAME, ERROR, "; ".join([f"CrossHair gave no answer: {finished.reason()}", *last]))
    if not {"confirmed", "searched"} & {*kinds}:
        return Check(NAME, SKIPPED, "; ".join(kinds.get("unclear", ["CrossHair could look at no function"])))
    said = {"confirmed": "holds for every input", "searched": "no counterexample found, which proves nothing"}
    parts = [f"{words}: {', '.join(kinds[kind])}" for kind, words in said.items() if kind in kinds]
    return Check(NAME, PASSED, "; ".join([*parts, *kinds.get("unclear", [])]) + f" (sandbox {where})")


def _message(line: bytes) -> tuple[str, str] | None:
    try:
        match json.loads(line):
            case [str(kind), str(text)]:
                return kind, text[:500]
    except (ValueError, RecursionError):
        pass
    return None
