"""Covers verification: each check alone, what it may not do, and the verdict."""

import importlib.util
import os
import signal
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.sandbox.levels import choose_isolation
from common.sandbox.programs import Limits
from phase4_anomaly_detection.verification import processes, symbolic, types
from phase4_anomaly_detection.verification.checks import ERROR, FAILED, PASSED, SKIPPED, Check
from phase4_anomaly_detection.verification.processes import Finished, Patience, run_limited
from phase4_anomaly_detection.verification.symbolic import check_symbolic
from phase4_anomaly_detection.verification.symbolic_child import prepare
from phase4_anomaly_detection.verification.syntax import check_syntax
from phase4_anomaly_detection.verification.types import check_types
from phase4_anomaly_detection.verification.verify import CHECKS, Verifier, verdict_of

SECONDS = 60.0  # of the processor, for mypy on a slow machine
LOOK_S = 30.0  # for CrossHair to find what there is
ENDLESS = Patience(1e6)
DOUBLE = "def double(n: int) -> int:\n    return n + n\n"
MEAN = "def mean(xs: list[int]) -> float:\n    return sum(xs) / len(xs)\n"
needs_crosshair = pytest.mark.skipif(
    importlib.util.find_spec("crosshair") is None, reason="pip install -r requirements-serve.txt"
)
needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="pip install -r requirements-serve.txt"
)


def verify(code: str, tests=(), **settings) -> dict:
    with Verifier(**settings) as verifier:
        return verifier.verify(code, tests)


def statuses(found: dict) -> dict[str, str]:
    return {check["name"]: check["status"] for check in found["checks"]}


@needs_crosshair
@needs_mypy
def test_a_right_program_passes_every_check():
    found = verify(DOUBLE, ["assert double(2) == 4", "assert double(-1) == -2"], seconds=SECONDS, total_s=3600)
    assert found["verdict"] == "passed" and statuses(found) == dict.fromkeys(CHECKS, PASSED)
    assert [{*check} for check in found["checks"]] == [{"name", "status", "detail", "seconds"}] * 4
    assert all(check["seconds"] > 0 and check["detail"] for check in found["checks"])


def test_a_program_that_fails_its_test_has_failed():
    found = verify(DOUBLE, ["assert double(2) == 5"], checks=["syntax", "tests"])
    assert found["verdict"] == "failed" and statuses(found) == {"syntax": PASSED, "tests": FAILED}
    assert "wrong_answer" in found["checks"][1]["detail"] and "double(2) == 5" in found["checks"][1]["detail"]


def test_tests_are_judged_by_value_so_that_a_pass_cannot_be_forged():
    forged = "class Yes:\n    def __eq__(self, other): return True\ndef double(n):\n    return Yes()"
    with Verifier(checks=["tests"]) as verifier:
        assert verifier.verify(forged, ["assert double(2) == 4"])["verdict"] == "failed"
        assert verifier.verify("import os\nos._exit(0)", ["assert double(2) == 4"])["verdict"] == "failed"
        setup = verifier.verify(DOUBLE, ["assert double(N) == 4"], setup="N = 2")
        assert setup["verdict"] == "passed"


def test_what_does_not_parse_is_looked_at_no_further():
    found = verify("def f(n:\n    return n", ["assert f(1) == 1"])
    assert found["verdict"] == "failed" and statuses(found) == {"syntax": FAILED} | dict.fromkeys(CHECKS[1:], SKIPPED)
    assert "line 1" in found["checks"][0]["detail"]


@pytest.mark.parametrize(
    "code",
    [
        "(" * 100_000,
        "x = " + "-" * 1_000_000 + "1",
        "\0",
        "\ud800",
        "x = " + "9" * 100_000,
        "def f(:",
        "\tx\n y",
        "é = '",
    ],
    ids=["brackets", "signs", "zero byte", "half a pair", "long number", "parameters", "indents", "quote"],
)
def test_source_that_hurts_a_parser_fails_and_hurts_nobody(code):
    check = check_syntax(code, ENDLESS)
    assert check.status == FAILED and check.detail


def test_a_coding_comment_does_not_change_what_is_parsed():
    assert check_syntax("# -*- coding: rot13 -*-\nqrs s(): cnff", ENDLESS).status == FAILED
    assert check_syntax("# coding: latin-1\nx = 'é'\n", ENDLESS).status == PASSED
    assert check_syntax("", ENDLESS).status == PASSED


@needs_mypy
def test_types_finds_what_no_run_would_excuse_and_passes_over_style():
    assert check_types(DOUBLE, SECONDS, ENDLESS).status == PASSED
    assert (
        check_types(
            "def f(xs):\n    found = {}\n    for x in xs: found[x] = 1\n    return found", SECONDS, ENDLESS
        ).status
        == PASSED
    )
    assert (
        check_types("import a_library_that_is_not_here\nx = a_library_that_is_not_here.f()", SECONDS, ENDLESS).status
        == PASSED
    )
    wrong = check_types("def f(s):\n    return undefined_name + s", SECONDS, ENDLESS)
    assert wrong.status == FAILED and "line 2" in wrong.detail and "undefined_name" in wrong.detail
    many = check_types("\n".join(f"x{i}: int = 'a'" for i in range(30)), SECONDS, ENDLESS)
    assert many.status == FAILED and "and 25 more" in many.detail


@needs_mypy
def test_types_does_not_run_the_program(tmp_path):
    there = tmp_path / "there"
    assert check_types(f"open({str(there)!r}, 'w').write('x')", SECONDS, ENDLESS).status == PASSED
    assert not there.exists()


def fake_pyright(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program called pyright in the place of any that is installed; what it prints was taken from pyright 1.1."""
    program = folder / "pyright"
    program.write_text(f"#!{sys.executable}\n{textwrap.dedent(body)}")
    program.chmod(0o755)
    monkeypatch.setattr(types, "_BESIDE_PYTHON", str(folder))


def test_pyright_is_asked_first_where_it_is_installed(tmp_path, monkeypatch):
    fake_pyright(
        tmp_path,
        monkeypatch,
        r"""
        import json, sys
        assert sys.argv[1:] == ["--outputjson", "candidate.py"] and "double" in open("candidate.py").read()
        place = {"start": {"line": 6, "character": 1}, "end": {"line": 6, "character": 9}}
        row = {"file": "candidate.py", "severity": "error", "message": "no", "range": place, "rule": "reportCallIssue"}
        print("installing ...")
        print(json.dumps({"version": "1.1.400", "generalDiagnostics": [row, {**row, "severity": "warning"}]}))
        sys.exit(1)""",
    )
    check = check_types(DOUBLE, SECONDS, ENDLESS)
    assert (check.status, check.detail) == (FAILED, "pyright: line 7: no [reportCallIssue]")


@needs_mypy
def test_mypy_is_asked_where_pyright_is_broken(tmp_path, monkeypatch):
    fake_pyright(tmp_path, monkeypatch, "print('no network')\nraise SystemExit(1)")
    assert check_types(DOUBLE, SECONDS, ENDLESS) == Check("types", PASSED, "mypy: nothing found")


@needs_crosshair
@pytest.mark.parametrize(
    "code, status, words",
    [
        (DOUBLE, PASSED, "double"),
        (MEAN, FAILED, "ZeroDivisionError"),
        ("def f(n: int) -> int:\n    assert n != 0\n    return 10 // n", PASSED, "f"),
        ("def f(n: int) -> int:\n    '''post: _ > n'''\n    return n if n == 12345 else n + 1", FAILED, "f(12345)"),
        ("def f(n: int) -> int:\n    if n < 0:\n        raise ValueError(n)\n    return n", PASSED, "f"),
        ("def f(n):\n    return 1 / n", SKIPPED, "types"),
        ("def f(xs: list):\n    return xs[0]", SKIPPED, "types"),
        ("def f():\n    return 1 / 0", SKIPPED, "types"),
        ("# crosshair: off\n" + MEAN, FAILED, "ZeroDivisionError"),
        ("x = 1 / 0\n" + DOUBLE, FAILED, "cannot be imported"),
        ("import sys\nsys.exit()\n" + DOUBLE, FAILED, "cannot be imported"),
        ("import os\nos._exit(0)\n" + DOUBLE, ERROR, "no answer"),
        ("import a_library_that_is_not_here\n" + DOUBLE, SKIPPED, "cannot be imported here"),
    ],
)
def test_crosshair_finds_inputs_that_break_a_typed_function(code, status, words):
    check = check_symbolic(code, LOOK_S if status == FAILED else 5.0, "auto", ENDLESS)
    assert check.status == status and words in check.detail, check


@needs_crosshair
def test_crosshair_runs_the_program_within_the_sandbox_and_nowhere_else(tmp_path):
    if choose_isolation("auto", Limits(), os.path.expanduser("~")).level < 2:
        pytest.skip("this machine's sandbox has no level 2, so that files can be read")
    secret, there = tmp_path / "secret", tmp_path / "there"
    secret.write_text("secret")
    system = "__import__('os')"
    acts = [f"open({str(there)!r}, 'w').write('x')", f"open({str(secret)!r}).read()", "open('new.txt', 'w')"]
    acts += [f"{system}.fork()", f"{system}.kill({system}.getppid(), 9)", f"{system}.execv('/bin/true', ['true'])"]
    acts += ["__import__('socket').socket()"]
    for act in acts:
        check = check_symbolic(f"{act}\n{DOUBLE}", 3.0, "auto", ENDLESS)
        assert check.status == SKIPPED and "Error" in check.detail, (act, check)
    assert not there.exists()


@needs_crosshair
def test_without_confinement_crosshair_is_not_started_unless_told_so(monkeypatch):
    from common.errors import SandboxError

    asked = []

    def no_layers(isolation, *_rest):
        asked.append(isolation)
        raise SandboxError("the sandbox finds no isolation on this machine\nTo run all the same: --sandbox none")

    monkeypatch.setattr(symbolic, "choose_isolation", no_layers)
    check = check_symbolic(DOUBLE, 3.0, "auto", ENDLESS)
    assert asked == ["auto"] and check.status == SKIPPED and "nothing here would confine it" in check.detail
    monkeypatch.undo()
    assert "level 0" in check_symbolic(DOUBLE, 3.0, "none", ENDLESS).detail


@needs_crosshair
def test_a_program_that_hangs_or_floods_ends(monkeypatch):
    monkeypatch.setattr(symbolic, "_START_S", 4)  # of the processor, which a program that hangs uses up
    check = check_symbolic(f"while True: pass\n{DOUBLE}", 1.0, "auto", ENDLESS)
    assert check.status == ERROR and "gave no answer" in check.detail
    check = check_symbolic(
        f"import os\nwhile True: [os.write(fd, b'x' * 65536) for fd in range(3, 9)]\n{DOUBLE}", 1.0, "auto", ENDLESS
    )
    assert check.status in (ERROR, SKIPPED)


def test_junk_from_the_child_breaks_nothing():
    junk = b'\xff\xfe\n[1, 2]\n["x"]\n' + b"[" * 100_000 + b'\n{"a": 1}\nnull\n["done", "", ""]\n'
    assert symbolic._verdict(Finished(0, junk, None), "level 3").status == ERROR
    assert symbolic._verdict(Finished(0, junk + b'["done", ""]\n', None), "level 3").status == SKIPPED
    assert symbolic._verdict(Finished(-9, junk + b'["broken", "f(1)"]\n', None), "level 3").status == FAILED


def test_contracts_are_added_to_typed_functions_alone():
    source, names = prepare(
        "def a(n: int): raise KeyError(n)\ndef b(n): pass\ndef c(n: 'list[int] | None' = None): 'Doc.'\n"
        "def d(n: int):\n    assert n > 1\n    return n\ndef e(*ns: dict[str, tuple[int, ...]], **kw: float): yield 1\n"
        "async def g(n: int): pass\ndef h(f: Callable[[int], int]): pass\n"
    )
    assert names == ["a", "c", "d"] and source.count("post: True") == 2 and "raises: KeyError" in source
    assert "Doc.\n" in source


def test_a_process_has_its_time_its_memory_and_its_output_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "ELAPSED", 300)  # so that a busy machine is no reason

    def run(code: str, elapsed_s: float = 300.0, cpu_s: float = 60.0):
        command = [sys.executable, "-c", code]
        return run_limited(command, str(tmp_path), Patience(elapsed_s), cpu_s=cpu_s, memory_bytes=1 << 30)

    assert run("print('out')").output == b"out\n" and run("raise SystemExit(3)").status == 3
    assert "within 1 s" in run("import time; time.sleep(600)", elapsed_s=1.0).reason()
    assert run("while True: pass", cpu_s=1.0).reason() == "ended by SIGKILL"
    assert "MiB" in run("while True: print('x' * 100000)").reason()
    assert b"MemoryError" in run("bytearray(2 << 30)").output
    codes = ["import os, time; os.close(1); os.close(2); time.sleep(600)"]
    sleeping = "import time; time.sleep(600)"
    codes += [f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {sleeping!r}]); print(1)"]
    with ThreadPoolExecutor(len(codes)) as threads:
        closed, left = threads.map(lambda code: run(code, elapsed_s=8.0), codes)
    assert "did not end within 8 s" in closed.reason()
    assert left.output == b"1\n" and "8 s" in left.reason()
    environment = run("import os; print(sorted(os.environ))").output.decode()
    assert "HOME" in environment and "TOKEN" not in environment and "HF_HUB_OFFLINE" not in environment


def test_of_every_signal_that_ended_a_process_something_is_said():
    names = [Finished(-number, b"", None).reason() for number in range(1, 65)]
    assert names[8] == "ended by SIGKILL" and f"ended by signal {signal.SIGRTMIN + 1}" in names


def test_a_process_that_nobody_waits_for_is_ended_and_none_follows_it(tmp_path):
    patience = Patience(3600)
    timer = threading.Timer(1.0, patience.stop)
    timer.start()
    limits = {"patience": patience, "cpu_s": 3600, "memory_bytes": None}
    command = [sys.executable, "-c", "import time; time.sleep(3600)"]
    assert "nobody waits" in run_limited(command, str(tmp_path), **limits).reason()
    timer.join()
    written = tmp_path / "written"
    late = run_limited([sys.executable, "-c", f"open({str(written)!r}, 'w')"], str(tmp_path), **limits)
    assert "nobody waits" in late.reason() and not written.exists()


HANGING = "import time\ndef f(n):\n    time.sleep(100000)\n    return n"


def test_one_deadline_is_shared_by_all_checks_of_a_program():
    """One deadline is shared by all checks and the next program has its own."""
    with Verifier(checks=["tests", "syntax", "symbolic"], seconds=3000, total_s=3600) as verifier:
        found = verifier.verify(HANGING, ["assert f(1) == 1"], patience=Patience(1.0))
        assert statuses(found) == {"tests": ERROR, "syntax": ERROR, "symbolic": ERROR}
        assert {check["detail"] for check in found["checks"]} == {"the verification's 1 s are over"}
        assert found["verdict"] == "inconclusive"
        assert statuses(verifier.verify("def f(n): return n", ["assert f(1) == 1"]))["tests"] == PASSED


def test_a_verification_may_be_stopped_while_it_runs_and_before():
    patience = Patience(3600)
    timer = threading.Timer(2.0, patience.stop)
    timer.start()
    with Verifier(checks=["tests"], seconds=3000, total_s=3600) as verifier:
        for _ in range(2):
            found = verifier.verify(HANGING, ["assert f(1) == 1"], patience=patience)
            assert statuses(found) == {"tests": ERROR} and "nobody waits" in found["checks"][0]["detail"]
            timer.join()


@pytest.mark.parametrize("error", [ValueError, RecursionError, MemoryError])
def test_a_check_that_breaks_is_an_error_and_the_others_go_on(error):
    class Hostile(str):
        def encode(self, *_arguments):
            raise error("too much")

    found = verify(Hostile("def f(n): return n"), ["assert f(1) == 1"], checks=["syntax", "tests"])
    assert statuses(found) == {"syntax": ERROR, "tests": PASSED}
    assert found["checks"][0]["detail"] == f"{error.__name__}: too much"


@pytest.mark.parametrize(
    "found, verdict",
    [
        ({"syntax": PASSED, "tests": PASSED}, "passed"),
        ({"syntax": PASSED, "types": SKIPPED, "tests": SKIPPED}, "inconclusive"),
        ({"syntax": PASSED, "types": FAILED, "tests": PASSED}, "doubtful"),
        ({"syntax": PASSED, "tests": PASSED, "symbolic": FAILED}, "doubtful"),
        ({"syntax": PASSED, "tests": FAILED, "symbolic": PASSED}, "failed"),
        ({"syntax": PASSED, "tests": ERROR, "symbolic": ERROR}, "inconclusive"),
        ({"syntax": FAILED}, "failed"),
        ({}, "inconclusive"),
    ],
)
def test_the_verdict_follows_from_the_checks(found, verdict):
    assert verdict_of([Check(name, status, "") for name, status in found.items()]) == verdict


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match=r"no check 'spelling'\n"):
        Verifier(checks=["spelling"])
    with pytest.raises(ConfigError, match="isolation is 'most'"):
        Verifier(isolation="most")
    with pytest.raises(ConfigError, match="more than 0"):
        Verifier(seconds=0)
    with pytest.raises(ConfigError, match="a verification is 0 s"):
        Verifier(total_s=0)
    with pytest.raises(ConfigError, match=r"list of texts: .*'assert double\(2\) == 4'\n"):
        verify(DOUBLE, "assert double(2) == 4")
