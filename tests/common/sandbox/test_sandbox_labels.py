"""Covers labels and error classes: what passes, what fails and why, and that no program can forge a pass."""

import pytest

RIGHT = "def f(n):\n    return n + 1\n"
WRONG = "def f(n):\n    return n + 2\n"
TESTS = ("assert f(1) == 2", "assert f(2) == 3")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("def f(n):\n    return [n", "syntax_error"),
        ("def f(n):\n    return n  # \ud800", "syntax_error"),
        ("\0", "syntax_error"),
        ("return 1", "syntax_error"),
        ("", "name_error"),
        ("def g(n): return n", "name_error"),
        ("def f(n):\n    if n > 5: x = 1\n    return x", "name_error"),
        ("def f(n): return n + 'a'", "type_error"),
        ("def f(n): return int('a')", "value_error"),
        ("def f(n): return [n][n]", "index_error"),
        ("def f(n): return {}[n]", "key_error"),
        ("def f(n): return n.a", "attribute_error"),
        ("import no_such_module", "import_error"),
        ("import common.sandbox", "import_error"),
        ("def f(n): return n / 0", "zero_division"),
        ("def f(n): return f(n)", "recursion"),
        ("def f(n): return bytearray(20 << 30)", "memory"),
        ("n = int(input())", "other_exception"),
        ("def f(n): raise SystemExit", "other_exception"),
        ("def f(n): return eval('(')", "other_exception"),
        ("class Stop(BaseException): pass\ndef f(n): raise Stop", "other_exception"),
        ("import os\ndef f(n): os.abort()", "killed"),
        ("import os\ndef f(n): os.kill(os.getpid(), 9)", "killed"),
        ("def f(n): return 3", "wrong_answer"),
        ("def f(n): return list(range(10**6))", "wrong_answer"),
    ],
)
def test_a_failing_program_has_the_class_of_its_error(judged, code, error):
    verdict = judged(code, *TESTS)
    assert (verdict.label, verdict.error) == ("incorrect", error)


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        (RIGHT, TESTS),
        (RIGHT.replace("\n", "\r\n"), TESTS),
        ("def f(n): return 0 if n == 0 else 1 + f(n - 1)", ["assert f(980) == 980"]),
        ("from __future__ import annotations\n" + RIGHT, TESTS),
        (RIGHT + "if __name__ == '__main__': raise SystemExit", TESTS),
        ("def f(n, seen=[]):\n    seen.append(n)\n    return len(seen)", ["assert f(1) == 1", "assert f(1) == 2"]),
        ("def f(n):\n    for i in range(n): yield i", ["assert list(f(3)) == [0, 1, 2]"]),
        ("import sys\n" + RIGHT.replace("n + 1", "n + 1 + len(sys.stdin.read())"), TESTS),
        ("import threading, time\nthreading.Thread(target=time.sleep, args=(30,)).start()\n" + RIGHT, TESTS),
        ("import atexit, time\natexit.register(time.sleep, 30)\n" + RIGHT, TESTS),
        ("import asyncio\nasync def g(n): return n + 1\ndef f(n): return asyncio.run(g(n))", TESTS),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(n): return P(n).x",
            ["assert f(1) == 1"],
        ),
        ("import sys\nsys.setrecursionlimit(60)\ndef f(n): return [[[[[[n]]]]]]", ["assert f(1) == [[[[[[1]]]]]]"]),
        ("print('x' * 10**6)\n" + RIGHT, TESTS),
    ],
)
def test_a_right_program_is_correct(judged, code, tests):
    verdict = judged(code, *tests)
    assert (verdict.label, verdict.error, verdict.failed_test, verdict.message) == ("correct", None, None, "")


LIAR = """class A(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __lt__
    def __sub__(self, other): return 0
    def __abs__(self): return 0
    __hash__ = None
def f(n): return A()
"""
FORGER = """import os, json, struct
def frame(message):
    body = json.dumps(message).encode()
    return struct.pack('<I', len(body)) + body
for fd in range(3, 64):
    try:
        for i in range(2): os.write(fd, frame(['values', i, [True]]))
    except OSError: pass
os._exit(0)
"""
GC_PATCHER = """import gc, types
for o in gc.get_objects():
    if isinstance(o, types.FunctionType):
        try: o.__code__ = (lambda *a, **k: True).__code__
        except Exception: pass
"""
FRAMES = """import sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()):
        if isinstance(value, dict): value.clear()
    frame = frame.f_back
"""


@pytest.mark.parametrize(
    "code",
    [
        LIAR,
        FORGER,
        GC_PATCHER + WRONG,
        FRAMES + WRONG,
        "import sys\nsys.exit(0)",
        "import os\nos._exit(0)",
        "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\n" + WRONG,
        "import builtins\nbuiltins.AssertionError = ValueError\n" + WRONG,
        "import builtins\nbuiltins.isinstance = lambda *a: True\nbuiltins.len = lambda x: 1\n" + WRONG,
        "import sys, types\nfor m in list(sys.modules): sys.modules[m] = types.ModuleType(m)\n" + WRONG,
        "import json\njson.dumps = lambda *a, **k: '[\"values\", 0, [2]]'\n" + WRONG,
        "import os\nos.closerange(0, 256)\n" + WRONG,
    ],
    ids="liar forger gc frames exit _exit excepthook assertion builtins modules json descriptors".split(),
)
def test_no_trick_makes_a_wrong_program_pass(judged, code):
    verdict = judged(code, *TESTS)
    assert verdict.label == "incorrect"


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (
            "import builtins\nbuiltins.sorted = lambda *a, **k: [1, 2]\ndef f(n): return []",
            "assert sorted(f(1)) == [1, 2]",
        ),
        ("import math\nmath.isclose = lambda *a, **k: True\ndef f(n): return 0", "assert math.isclose(f(1), 3.5)"),
        ("def f(n): return [n, n]", "assert f(1) == (1, 1)"),
        ("def f(n): return (i for i in range(n))", "assert f(2) == [0, 1]"),
        ("def f(n): return n * 0.1 + 0.2", "assert f(1) == 0.3"),
        ("def f(n): return float('nan')", "assert f(1) == float('nan')"),
        ("class A:\n    def __bool__(self): return False\ndef f(n): return A()", "assert f(1)"),
        ("class A: pass\ndef f(n): return A()", "assert f(1) == f(1)"),
        ("class A: pass\ndef f(n): return A()", "assert str(f(1)) == 'a'"),
        ("def f(n): return None", "assert len(f(1)) == 0"),
    ],
)
def test_the_judge_compares_by_itself(judged, code, test):
    assert judged(code, test).label == "incorrect"


OWN = """class A:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return self.n == getattr(other, 'n', other)
    def __lt__(self, other): return self.n < getattr(other, 'n', other)
    def __add__(self, other): return A(self.n + other)
    def __contains__(self, item): return item == self.n
    def __enter__(self): return self
    def __exit__(self, *error): return True
def f(n): return A(n)
"""


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1) == 1",
        "assert A(1) == f(1)",
        "assert f(1) < f(2)",
        "assert f(1) < 2",
        "assert (f(1) + 2).n == 3",
        "assert 1 in f(1)",
        "assert f(1) in [f(1)]",
        "assert [f(1)] == [f(1)]",
        "with f(1):\n    assert f(1).n == 2",
    ],
)
def test_what_only_the_programs_own_code_could_judge_is_unsupported(judged, test):
    verdict = judged(OWN, test)
    assert (verdict.label, verdict.error) == ("unsupported", None)


@pytest.mark.parametrize("test", ["assert f(1) ==", "x = f(1)", "assert 1 == 1", "f(1)"])
def test_tests_that_check_nothing_are_unsupported(judged, test):
    verdict = judged("class A: pass\ndef f(n): return A()", test)
    assert (verdict.label, verdict.error) == ("unsupported", None)


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1)",
        "for i in (1, 2):\n    assert f(i).n == i",
        "assert sorted([f(2), f(1)])[0].n == 1",
        "with f(1) as a:\n    assert a.n == 1",
        "a = f(1)\nassert a is not f(1) and a is a",
    ],
)
def test_what_the_program_answers_as_a_value_is_judged(judged, test):
    assert judged(OWN, test).label == "correct"


def test_a_program_without_tests_is_not_correct(judged):
    assert judged(RIGHT).label == "unsupported"


def test_the_first_failing_test_is_named_in_order(judged):
    code = "def f(n):\n    if n == 3: raise ValueError('three')\n    return n"
    verdict = judged(code, "assert f(1) == 1", "assert f(2) == 1", "assert f(3) == 3")
    assert (verdict.failed_test, verdict.message) == ("assert f(2) == 1", "got 2")


def test_a_failure_outweighs_a_test_that_cannot_be_judged(judged):
    code = OWN + "def f(n): return A(n) if n else 1"
    assert judged(code, "assert f(1) == 1").label == "unsupported"
    assert judged(code, "assert f(1) == 1", "assert f(0) == 2").label == "incorrect"


def test_setup_runs_after_the_solution_and_before_the_tests(judged):
    code = "class Node:\n    def __init__(self, x): self.x = x\ndef f(node): return node.x"
    assert judged(code, "assert f(root) == 1", setup="root = Node(1)\r\nother = root").label == "correct"


def test_a_module_that_a_test_uses_must_be_imported_by_program_or_setup(judged):
    test = "assert math.isclose(f(1), 2.0)"
    assert judged(RIGHT, test).error == "name_error"
    assert judged("import math\n" + RIGHT, test).label == judged(RIGHT, test, setup="import math").label == "correct"


def test_messages_hold_nothing_that_differs_between_runs(sandbox, judged):
    verdict = judged("import os\ndef f(n): raise ValueError(object(), os.getcwd())", *TESTS)
    assert verdict.message == "ValueError: (<object object at 0x...>, '<scratch>')"


def test_nothing_leaks_from_one_program_to_the_next(judged):
    judged("import builtins, os, random\nbuiltins.leak = 1\nos.environ['LEAK'] = '1'\nrandom.seed(7)\n" + RIGHT, *TESTS)
    code = (
        "import builtins, os, random\ndef f(n): return hasattr(builtins, 'leak'), 'LEAK' in os.environ, random.random()"
    )
    assert judged(code, "assert f(1) == (False, False, 0.8444218515250481)").label == "correct"


def test_sets_are_in_the_same_order_every_time(judged):
    code = "def f(n): return list({'a', 'b', 'c', 'd'})"
    first, second = judged(code, "assert f(1) == 0"), judged(code + "\n", "assert f(1) == 0")
    assert first.message == second.message
