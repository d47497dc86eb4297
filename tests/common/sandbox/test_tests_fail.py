"""Covers what is said of a program that fails tests as they are written: test, class, message, whose time it was."""

import pytest

from common.sandbox import Limits, Program

LOOP = "for n in range(3):\n    assert f(n) == n + 1"


@pytest.mark.parametrize(
    ("code", "test", "error", "failed_test", "message"),
    [
        ("def f(n): return n", LOOP, "wrong_answer", "assert f(n) == n + 1", "got 0"),
        ("def f(n): return n or 1", LOOP, "wrong_answer", "assert f(n) == n + 1", "got 1"),
        (
            "def f(n): return n",
            "x = f(1)\nassert x > 1, f'{x} is small'",
            "wrong_answer",
            "assert x > 1, f'{x} is small'",
            "1 is small",
        ),
        (
            "def f(n): return n",
            "for n in [1]:\n    if f(n) != 2: raise AssertionError('no')",
            "wrong_answer",
            "raise AssertionError('no')",
            "no",
        ),
        ("def f(n): return [n", LOOP, "syntax_error", None, "SyntaxError: '[' was never closed (<code>, line 1)"),
        ("import no_such_module", LOOP, "import_error", None, "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise ValueError('at once')", LOOP, "value_error", None, "ValueError: at once"),
        ("def g(n): return n", LOOP, "name_error", "assert f(n) == n + 1", "NameError: name 'f' is not defined"),
        ("def f(n): return x", LOOP, "name_error", "assert f(n) == n + 1", "NameError: name 'x' is not defined"),
        (
            "def f(): return 1",
            LOOP,
            "type_error",
            "assert f(n) == n + 1",
            "TypeError: f() takes 0 positional arguments but 1 was given",
        ),
        (
            "def f(n): return n + 'a'",
            LOOP,
            "type_error",
            "assert f(n) == n + 1",
            "TypeError: unsupported operand type(s) for +: 'int' and 'str'",
        ),
        (
            "def f(n): return None",
            "for n in [1]: assert f(n)[0] == 1",
            "type_error",
            "assert f(n)[0] == 1",
            "TypeError: 'NoneType' object is not subscriptable",
        ),
        ("def f(n): return [][n]", LOOP, "index_error", "assert f(n) == n + 1", "IndexError: list index out of range"),
        ("def f(n): return {}[n]", LOOP, "key_error", "assert f(n) == n + 1", "KeyError: 0"),
        (
            "def f(n): return 1 // n",
            LOOP,
            "zero_division",
            "assert f(n) == n + 1",
            "ZeroDivisionError: integer division or modulo by zero",
        ),
        (
            "def f(n): return n.x",
            LOOP,
            "attribute_error",
            "assert f(n) == n + 1",
            "AttributeError: 'int' object has no attribute 'x'",
        ),
        (
            "def f(n): return f(n)",
            LOOP,
            "recursion",
            "assert f(n) == n + 1",
            "RecursionError: maximum recursion depth exceeded",
        ),
        ("def f(n): return bytearray(20 << 30)", LOOP, "memory", "assert f(n) == n + 1", "MemoryError: "),
        (
            "class Mine(KeyError): pass\ndef f(n): raise Mine('k')",
            LOOP,
            "key_error",
            "assert f(n) == n + 1",
            "Mine: 'k'",
        ),
        ("def f(n): raise SystemExit", LOOP, "other_exception", "assert f(n) == n + 1", "SystemExit: "),
        (
            "def f(n): raise AssertionError('mine')",
            LOOP,
            "other_exception",
            "assert f(n) == n + 1",
            "AssertionError: mine",
        ),
        (
            "import os\ndef f(n): os._exit(3)",
            LOOP,
            "other_exception",
            "assert f(n) == n + 1",
            "it left with exit status 3 before answering",
        ),
        ("import os\ndef f(n): os.abort()", LOOP, "killed", "assert f(n) == n + 1", "killed by SIGABRT"),
        ("import os\ndef f(n): os.kill(os.getpid(), 9)", LOOP, "killed", "assert f(n) == n + 1", "killed by SIGKILL"),
        ("import os\nos._exit(0)", LOOP, "other_exception", None, None),
        ("def f(n):\n    while True: pass", LOOP, "timeout", "assert f(n) == n + 1", "more than 1 s of CPU time"),
        ("import time\ndef f(n): time.sleep(60)", LOOP, "timeout", "assert f(n) == n + 1", "blocked for more than 1 s"),
        ("while True: pass", LOOP, "timeout", None, "more than 1 s of CPU time"),
    ],
)
def test_a_failure_is_named_with_its_test_class_and_message(judged, code, test, error, failed_test, message):
    verdict = judged(code, test)
    assert (verdict.label, verdict.error, verdict.failed_test) == ("incorrect", error, failed_test), verdict
    assert message is None or verdict.message == message


def test_the_innermost_statement_of_nested_tests_is_named(judged):
    test = "def is_right(n):\n    x = f(n)\n    return x == n\n\ndef check(candidate):\n    for n in [1]:\n"
    test += "        assert is_right(n), 'not right'\ncheck(f)"
    verdict = judged("def f(n): return 0", test)
    assert (verdict.failed_test, verdict.message) == ("assert is_right(n), 'not right'", "not right")
    assert judged("def f(n): return 1 / 0", test).failed_test == "x = f(n)"


CASE = "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        "


@pytest.mark.parametrize(
    ("code", "error"),
    [("import os\ndef f(n): os._exit(0)", "other_exception"), ("def f(n):\n    while True: pass", "timeout")],
)
@pytest.mark.parametrize(
    "test", [CASE + "self.assertEqual(f(1), 2)", "try:\n    f(1)\nexcept:\n    pass\nassert 1 == 1"]
)
def test_no_runner_of_tests_gets_past_the_end_of_the_program(judged, code, error, test):
    verdict = judged(code, test)
    assert (verdict.label, verdict.error) == ("incorrect", error)


def test_a_runner_that_catches_everything_cannot_fail_what_is_unsupported(judged):
    run = "\nresult = unittest.TestResult()\nunittest.defaultTestLoader.loadTestsFromTestCase(T).run(result)\n"
    run += "assert result.wasSuccessful()"
    assert judged("def f(n): return n", CASE + "assert f((1,)) is (1,)" + run).label == "unsupported"
    verdict = judged("def f(n): return n", CASE + "assert f(1) == 2" + run)
    assert (verdict.label, verdict.failed_test) == ("incorrect", "assert f(1) == 2")


def test_the_first_of_several_texts_that_fails_is_named(judged):
    verdict = judged("def f(n): return n", "x = 1", "assert f(x) == 1", "assert f(x) == 2", "assert f(x) == 3")
    assert verdict.failed_test == "assert f(x) == 2"


def spin(seconds: float) -> str:
    return f"end = time.process_time() + {seconds}\nwhile time.process_time() < end: pass\n"


def test_a_program_that_waits_for_slow_tests_is_not_blocked(judged):
    """One second is the limit of both, and each works for less than that while the other waits."""
    test = "import time\n" + spin(0.6) + "assert f(1) == 1\ntime.sleep(0.6)\nassert f(2) == 2"
    assert judged("def f(n): return n", test).label == "correct"


def test_tests_that_wait_for_a_slow_program_are_not_blocked(judged):
    code = "import time\ndef f(n):\n    end = time.process_time() + 0.4\n    while time.process_time() < end: pass\n"
    verdict = judged(code + "    return n", "for n in (1, 2):\n    assert f(n) == n")
    assert verdict.label == "correct", verdict
    sleepy = "import time\ndef f(n):\n    time.sleep(0.4)\n    return n"
    assert judged(sleepy, "for n in (1, 2):\n    assert f(n) == n").label == "correct"
    assert judged(sleepy, "for n in (1, 2, 3, 4):\n    assert f(n) == n").error == "timeout"


@pytest.mark.parametrize(
    ("work", "message"),
    [
        ("while True: pass", "the tests took more than 1 s of CPU time"),
        ("import time\ntime.sleep(60)", "the tests took blocked for more than 1 s"),
    ],
)
def test_tests_without_an_end_are_stopped(judged, work, message):
    verdict = judged("def f(n): return n", f"x = f(1)\n{work}\nassert x == 1")
    assert (verdict.label, verdict.error, verdict.message) == ("incorrect", "timeout", message)


def test_tests_that_take_all_memory_are_stopped(open_at, best_level):
    with open_at(best_level, Limits(memory_bytes=256 << 20), workers=1) as sandbox:
        program = Program("def f(n): return n", ("x = [f(1)] * 10 ** 9\nassert x",), "f")
        verdict = sandbox.submit(program).result()
        assert (verdict.label, verdict.error) == ("incorrect", "memory")
        assert sandbox.submit(Program("def f(n): return n", (LOOP + " - 1",), "f")).result().label == "correct"


@pytest.mark.parametrize(
    "code",
    [
        "def f(n): return [0] * 10 ** 7",
        "def f(n): return 'x' * (100 << 20)",
        "def f(n): return {i: str(i) for i in range(10 ** 6)}",
        "def f(n):\n    x = []\n    for _ in range(10 ** 5): x = [x]\n    return x",
        "def f(n): return 10 ** 10 ** 6",
    ],
)
def test_a_huge_value_is_no_pass_and_harms_nobody(judged, code):
    test = "for n in [1]:\n    assert f(n) == 1"
    assert judged(code, test).label in ("incorrect", "unsupported")
    assert judged("def f(n): return n", test).label == "correct"


def test_a_flood_of_output_reaches_the_tests_and_does_no_harm(judged):
    code = "def f(n):\n    for _ in range(2000): print('x' * 999)\n    return n"
    assert judged(code, "for n in [1]:\n    assert f(n) == 1").label == "correct"
