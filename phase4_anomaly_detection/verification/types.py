"""What pyright or mypy says, whichever is installed. Neither executes the program.

Model-written programs seldom have annotations, so bodies of untyped functions are checked too, and complaints about
missing annotations or stubs are left out: they say nothing of whether the program is right. So set, mypy 2.4 complains
of 17 of the 974 reference solutions of MBPP, which are right, and pyright (as basedpyright) of 13.
"""

import importlib.util
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from phase4_anomaly_detection.verification.checks import ERROR, FAILED, PASSED, SKIPPED, Check
from phase4_anomaly_detection.verification.processes import MIB, OPTIONS, Finished, Patience, run_limited

NAME = "types"
_FILE = "candidate.py"
_MOST_SHOWN = 5
_BESIDE_PYTHON = os.path.dirname(sys.executable)  # where what is installed in its virtual environment lies
_STYLE = ("var-annotated", "no-redef", "import-untyped", "import-not-found", "annotation-unchecked")
_MYPY_PLAIN = "--no-pretty --no-color-output --no-error-summary --show-error-codes --output=json".split()
_MYPY_LOOKS = "--config-file= --cache-dir=/dev/null --no-site-packages --ignore-missing-imports".split()
_MYPY = (*_MYPY_LOOKS, "--check-untyped-defs", *_MYPY_PLAIN, *(f"--disable-error-code={code}" for code in _STYLE))
_PYRIGHT = dict.fromkeys(("reportMissingImports", "reportMissingModuleSource", "reportRedeclaration"), "none")
_PYRIGHT |= {"typeCheckingMode": "basic", "reportAttributeAccessIssue": "error", "analyzeUnannotatedFunctions": True}


def check_types(code: str, seconds: float, patience: Patience) -> Check:
    """failed, with the first complaints; skipped where neither checker is installed. `seconds` are of the processor."""
    pyright = shutil.which("pyright", path=os.pathsep.join([_BESIDE_PYTHON, os.environ.get("PATH", "")]))
    with tempfile.TemporaryDirectory(prefix="pva-verify-") as folder:
        Path(folder, _FILE).write_bytes(code.encode("utf-8", "surrogatepass"))
        check = None
        if pyright is not None:
            check = _by_pyright(pyright, folder, seconds, patience)
        if (check is None or check.status == ERROR) and importlib.util.find_spec("mypy") is not None:
            check = _by_mypy(folder, seconds, patience)
    return check or Check(NAME, SKIPPED, "neither pyright nor mypy is installed; to have one: pip install mypy")


def _by_mypy(folder: str, seconds: float, patience: Patience) -> Check:
    command = [sys.executable, *OPTIONS, "-m", "mypy", *_MYPY, _FILE]
    finished = run_limited(command, folder, patience, cpu_s=seconds, memory_bytes=2048 * MIB)
    if finished.stopped_for is not None or finished.status not in (0, 1):
        return Check(NAME, ERROR, f"mypy: {finished.reason()}{_last_line(finished)}")
    complaints = []
    for line in finished.output.decode("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("severity") == "error":
            complaints.append(f"line {entry['line']}: {entry['message']} [{entry['code']}]")
    return _verdict("mypy", complaints)


def _by_pyright(program: str, folder: str, seconds: float, patience: Patience) -> Check:
    Path(folder, "pyrightconfig.json").write_text(json.dumps(_PYRIGHT))
    # No limit on address space: node reserves far more than it uses.
    finished = run_limited([program, "--outputjson", _FILE], folder, patience, cpu_s=seconds, memory_bytes=None)
    if finished.stopped_for is not None or finished.status not in (0, 1):
        return Check(NAME, ERROR, f"pyright: {finished.reason()}{_last_line(finished)}")
    text = finished.output.decode("utf-8", "replace")
    try:
        report = json.loads(text[text.index("{") :])  # some installations talk before they answer
        complaints = [
            f"line {entry['range']['start']['line'] + 1}: {_first_line(entry['message'])} "
            f"[{entry.get('rule', 'other')}]"
            for entry in report["generalDiagnostics"]
            if entry["severity"] == "error"
        ]
    except (ValueError, KeyError, TypeError) as error:
        return Check(NAME, ERROR, f"pyright: no report in its output ({error}){_last_line(finished)}")
    return _verdict("pyright", complaints)


def _verdict(program: str, complaints: list[str]) -> Check:
    if not complaints:
        return Check(NAME, PASSED, f"{program}: nothing found")
    more = len(complaints) - _MOST_SHOWN
    rest = [f"and {more} more"] if more > 0 else []
    return Check(NAME, FAILED, "; ".join([f"{program}: {complaints[0]}", *complaints[1:_MOST_SHOWN], *rest]))


def _first_line(text: str) -> str:
    return text.partition("\n")[0]


def _last_line(finished: Finished) -> str:
    lines = finished.output.decode("utf-8", "replace").strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""
