"""Covers programs that try to pass tests as they are written without being right: none may be correct."""

import pytest

LIAR = """class L:
    def __init__(self, *a, **k): pass
    def yes(self, *a, **k): return True
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __exit__ = __bool__ = __instancecheck__ = yes
    def __ne__(self, other): return False
    def __hash__(self): return 1
    def zero(self, *a): return 0
    __sub__ = __rsub__ = __abs__ = __len__ = __int__ = __index__ = __mod__ = __rmod__ = __round__ = __floordiv__ = zero
    def __float__(self): return 0.0
    def me(self, *a, **k): return self
    __enter__ = __call__ = __getitem__ = __add__ = __radd__ = __mul__ = __iter__ = me
    def __next__(self): raise StopIteration
    def __getattr__(self, name):
        if name[:2] == '__': raise AttributeError(name)
        return L()
    __array_function__ = __array_ufunc__ = yes
def f(*a, **k): return L()
"""
# Each test holds for no right program that returns a plain value of 7, and L() lies wherever it can.
FOR_A_LIAR = [
    "for n in [1]: assert f(n) == 7",
    "for n in [1]: assert 7 == f(n)",
    "for n in [1]: assert not f(n) != 7",
    "def check(candidate):\n    assert candidate(1) == 7\n    assert candidate(2) == [7]\ncheck(f)",
    "x = L()\nassert x == 7",
    "x = f(1)\nassert abs(x - 0.5) < 1e-6",
    "x = f(1)\nassert 3 <= x <= 3",
    "x = f(1)\nassert 7 in x",
    "x = f(1)\nassert x in [7]",
    "x = f(1)\nassert [x] == [7] and (x, 1) == (7, 1)",
    "x = f(1)\nassert {'a': x} == {'a': 7}",
    "x = f(1)\nassert {x} == {7}",
    "x = f(1)\nassert [7].count(x) == 1",
    "x = f(1)\nassert [7].index(x) == 0",
    "x = f(1)\nassert x.value == 7",
    "x = f(1)\nassert (x + 1) == 8",
    "x = f(1)\nassert x % 7 == 0 and x * 2 == 14",
    "x = f(1)\nassert all(a == b for a, b in zip([x, x], [7, 8]))",
    "x = f(1)\nassert sorted([x, 7])[1] == 7 and max(x, 7) == 7 and x == 7",
    "with f(1):\n    assert 1 == 2",
    "with L() as x:\n    assert x == 9 and 1 == 2",
    "import contextlib\nwith f(1), contextlib.suppress(KeyError):\n    raise ValueError",
    "x = f(1)\nassert isinstance(x, int) and x == 7",
    "import math\nassert math.isclose(f(1), 7, abs_tol=7.5) and f(1) == 7",
    "import numpy as np\nassert np.allclose(f(1), [1.0, 2.0])",
    "import numpy as np\nassert np.array_equal(f(1), [1.0, 2.0])\nassert (np.array([1]) == f(1)).tolist() == [True]",
    "import pytest\nassert f(1) == pytest.approx(7)",
    "import pytest\nassert pytest.approx(7) == f(1)",
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        self.assertEqual(f(1), 7)",
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        self.assertAlmostEqual(f(1), 7)",
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        self.assertIn(7, f(1))",
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n        self.assertCountEqual([f(1)], [7])",
    "import operator\nassert operator.eq(f(1), 7)",
    "import collections\nassert collections.Counter([f(1)]) == collections.Counter([7])",
    "match f(1):\n    case 7: pass\n    case _: raise AssertionError",
]


@pytest.mark.parametrize("test", FOR_A_LIAR)
def test_an_object_that_says_yes_to_everything_passes_nothing(judged, test):
    verdict = judged(LIAR, test)
    assert verdict.label in ("incorrect", "unsupported"), verdict


CHECK = "def check(candidate):\n    assert candidate(1) == [5017]\n    assert candidate(2) == 'abcd'\ncheck(f)"
LOOK = """import gc, sys
def f(n):
    seen = []
    frame = sys._getframe()
    while frame:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    seen += gc.get_objects()
    for value in seen:
        text = value if isinstance(value, str) else ''
        if '5017' in text and 'candidate(' in text and 'LOOK' not in text:
            return eval(text.split(f'candidate({n}) == ')[1].splitlines()[0])
    return None
"""
SEND = """import json, os, struct
def f(n):
    for fd in range(3, 64):
        for message in MESSAGES:
            body = json.dumps(message).encode()
            try: os.write(fd, struct.pack('<I', len(body)) + body)
            except OSError: pass
    END
"""


def sending(messages: str, end: str = "return 0") -> str:
    return SEND.replace("MESSAGES", messages).replace("END", end)


PATCHED = """import gc, types
for o in gc.get_objects():
    if isinstance(o, types.FunctionType) and o.__module__ and o.__module__.startswith('common'):
        o.__code__ = (lambda *a, **k: ["name", "unittest.mock", "ANY"]).__code__
def f(n): return 0
"""
SWAPPED = """import sys
frame = sys._getframe()
while frame:
    for value in list(frame.f_locals.values()):
        if type(value).__name__ in ('Answerer', 'Heap', 'Handles', 'Channel'):
            for name in dir(value):
                try: setattr(value, name, lambda *a, **k: [7])
                except Exception: pass
    frame = frame.f_back
def f(n): return 0
"""
ANSWERER = """import sys
def answerer():
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            if type(value).__name__ == 'Answerer': return value
        frame = frame.f_back
"""
TRICKS = {
    "reads the tests": LOOK,
    "leaves with status 0": "import os\ndef f(n): os._exit(0)",
    "raises SystemExit": "def f(n): raise SystemExit(0)",
    "raises KeyboardInterrupt": "def f(n): raise KeyboardInterrupt",
    "exits at its start": "import sys\nsys.exit(0)",
    "raises SkipTest": "import unittest\ndef f(n): raise unittest.SkipTest('x')",
    "raises GeneratorExit": "def f(n): raise GeneratorExit",
    "passes by name": "def check(candidate): pass\ndef f(n): return 0",
    "defines assert's error": "class AssertionError(Exception): pass\ndef f(n): return 0",
    "sends a value": sending("[['value', [['s', 'x']], {}, {}, '', []]] * 9"),
    "sends a report": sending("[{'label': 'correct', 'failed_test': None, 'message': '', 'ended': False}] * 3"),
    "sends a report and leaves": sending(
        "[{'label': 'correct', 'failed_test': None, 'message': '', 'ended': False}] * 3", "os._exit(0)"
    ),
    "claims exec": sending("[['value', [['name', 'builtins', 'exec']], {}, {}, '', []]] * 4"),
    "claims eval as a class": sending(
        "[['value', [['object', 1, 1]], {}, {'1': ['A', 'A', 'builtins.eval', [], [], 'own', False, True,"
        " False]}, '', []]] * 4"
    ),
    "raises a claimed class": sending(
        "[['raise', [['exception', 1, 1, [['s', 'import os; os._exit(0)']], False, [], 'N']], {},"
        " {'1': ['A', 'A', 'builtins.exec', [], [], 'own', False, True, False]}, '', []]] * 4"
    ),
    "claims mock.ANY": sending("[['value', [['name', 'unittest.mock', 'ANY']], {}, {}, '', []]] * 4"),
    "claims a module": sending("[['value', [['module', 'os']], {}, {}, '', []]] * 4"),
    "rebinds names of the tests": sending(
        "[['value', [0, ['shared', '1']], {'1': ['dict', [[['s', 'check'], 0]]]}, {}, '', []]] * 4"
    ),
    "overwrites shared containers": sending(
        "[['value', [0], {str(i): ['list', []] for i in range(40)}, {}, '', []]] * 4"
    ),
    "drops what is shared": sending("[['value', [0], {}, {}, '', [str(i) for i in range(99)]]] * 4"),
    "claims strange operators": sending(
        "[['value', [['object', 5, 5]], {}, {'5': ['A', 'A', None, [], ['__array_function__', '__getattribute__',"
        " '__class__', '__del__'], 'own', False, False, False]}, '', []]] * 4"
    ),
    "claims a name with a dot": sending(
        "[['value', [['name', 'builtins', 'str.__class__.__base__']], {}, {}, '', []]] * 4"
    ),
    "claims a class of the numbers": sending("[['value', [['name', 'numbers', 'Number']], {}, {}, '', []]] * 4"),
    "sends tags that are none": sending("[['value', [['zzz']], {}, {}, '', []], ['value', [[]]], 7, None, {}]"),
    "asks for strange things": sending("[['ask', [['tuple', [['s', 'callback'], 99, 0, 0]]], {}, {}, '', []]] * 4"),
    "sends an unfinished frame": "import os\ndef f(n):\n    for fd in range(3, 64):\n        try:\n"
    "            os.write(fd, b'\\xff\\xff\\x00\\x00')\n        except OSError: pass\n    return 0",
    "sends a huge frame": "import os\ndef f(n):\n    for fd in range(3, 64):\n        try:\n"
    "            os.write(fd, b'\\xff' * 64)\n        except OSError: pass\n    return 0",
    "closes everything": "import os\ndef f(n): os.closerange(3, 64)",
    "closes everything at its start": "import os\nos.closerange(0, 64)\ndef f(n): return 0",
    "takes blocking away": "import os\ndef f(n):\n    for fd in range(3, 64):\n"
    "        try: os.set_blocking(fd, False)\n"
    "        except OSError: pass\n    return 0",
    "patches the harness": PATCHED,
    "swaps the harness's methods": SWAPPED,
    "packs another value": ANSWERER + "def f(n):\n    a = answerer()\n    a._heap.pack = lambda *v: ([['name', "
    "'unittest.mock', 'ANY']], {})\n    return 0",
    "describes nothing": ANSWERER + "class L: __eq__ = lambda s, o: True\ndef f(n):\n    a = answerer()\n"
    "    a._handles.describe = lambda kind: 77\n    return L()",
    "calls its tests' names": ANSWERER + "def f(n):\n    a = answerer()\n    return a._ask('callback', 0, (), ())",
    "asks for input as an answer": ANSWERER + "def f(n): return answerer()._ask('input', '')",
    "patches json": "import json\njson.dumps = json.JSONEncoder.encode = lambda *a, **k: '[5017]'\ndef f(n): return 0",
    "patches builtins": "import builtins\nfor n in ('len', 'isinstance', 'type', 'id', 'repr'):\n"
    "    setattr(builtins, n, lambda *a, **k: True)\ndef f(n): return 0",
    "a str that equals all": "class S(str):\n    __eq__ = lambda s, o: True\n    __hash__ = str.__hash__\n"
    "def f(n): return S('x')",
    "an int that equals all": "class I(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\n"
    "def f(n): return I(3)",
    "a list that equals all": "class X(list):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n"
    "def f(n): return X()",
    "a dict that has all": "class D(dict):\n    __eq__ = lambda s, o: True\n    __missing__ = lambda s, k: 5017\n"
    "def f(n): return D()",
    "a tuple that equals all": "class T(tuple):\n    __eq__ = lambda s, o: True\n    __hash__ = tuple.__hash__\n"
    "def f(n): return T()",
    "a class that lies about itself": "class X:\n    __class__ = property(lambda s: list)\n"
    "    __eq__ = lambda s, o: True\n"
    "def f(n): return X()",
    "a metaclass that equals all": "class M(type):\n    __eq__ = lambda s, o: True\n    __hash__ = type.__hash__\n"
    "class X(metaclass=M): pass\ndef f(n): return X",
    "an enum that equals all": "import enum\nclass E(enum.Enum):\n    A = 1\n    __eq__ = lambda s, o: True\n"
    "    __hash__ = None\ndef f(n): return E.A",
    "a dataclass that equals all": "from dataclasses import dataclass\n@dataclass(eq=False)\nclass D:\n    x: int = 1\n"
    "    def __eq__(self, other): return True\ndef f(n): return D()",
    "mock.ANY itself": "from unittest.mock import ANY\ndef f(n): return ANY",
    "a MagicMock": "from unittest.mock import MagicMock\nm = MagicMock()\nm.__eq__.return_value = True\n"
    "def f(n): return m",
    "equals all but strangers": "class L:\n    def __eq__(self, other): return isinstance(other, (list, str)) and "
    "'no test' not in other\n    __hash__ = None\ndef f(n): return L()",
    "an exception that equals all": "class E(Exception):\n    __eq__ = lambda s, o: True\n    __hash__ = None\n"
    "def f(n): return E()",
}


@pytest.mark.parametrize("trick", TRICKS)
def test_no_trick_makes_a_wrong_program_pass_check(judged, trick):
    verdict = judged(TRICKS[trick], CHECK)
    assert verdict.label in ("incorrect", "unsupported"), verdict


ELSEWHERE = [
    ("def f(n): raise StopIteration", "assert all(map(f, [1, 2, 3]))"),
    ("def f(n): raise StopIteration", "assert [x for x in map(f, [1])] == []"),
    ("def f(n):\n    while True: yield 0", "for n in [1]: assert list(f(n)) == [1]"),
    ("def isclose(a, b): return True\ndef f(n): return 0", "assert isclose(f(1), 7)"),
    ("def isclose(a, b): return True\ndef f(n): return 0", "x = f(1)\nassert isclose(x, 7)"),
    ("def isclose(a, b): return True\ndef f(n): return 0", "from math import isclose\nassert isclose(f(1), 7)"),
    ("def all(x): return True\ndef f(n): return 0", "assert all(f(n) == n for n in [1, 2])"),
    ("def len(x): return 3\ndef f(n): return []", "x = f(1)\nassert len(x) == 3"),
    ("class np:\n    allclose = staticmethod(lambda *a: True)\ndef f(n): return 0", "assert np.allclose(f(1), 7)"),
    ("import unittest\nclass T(unittest.TestCase):\n    def test(self): pass\ndef f(n): return 0", "assert f(1) == 2"),
    ("def f(g):\n    try: g(0)\n    except BaseException: pass", "def g(x): assert x == 4\nf(g)"),
    (
        "def f(g):\n    try: g(0)\n    except BaseException as e: return eval(str(e) or '0')",
        "def g(x): assert x == 4, '[5017]'\nassert f(g) == [5017]",
    ),
    (
        "def f(g):\n    try: return g.__globals__['secret']\n    except Exception: return g.__closure__",
        "secret = [5017]\ndef g(): return len(secret)\nassert f(g) == secret",
    ),
    ("def f(x):\n    x[:] = [9]\n    return x", "xs = [1]\nexpected = [1, 2]\nassert f(xs) == expected"),
    ("kept = []\ndef f(x):\n    kept.append(x)\n    return 0", "expected = [5]\nassert f([1]) == expected[0]"),
    (
        "import contextlib\n@contextlib.contextmanager\ndef timer():\n    try: yield\n    except BaseException: pass\n"
        "def f(n): return 0",
        "with timer():\n    assert f(1) == 5",
    ),
    ("class D(dict):\n    def __missing__(self, key): return 7\ndef f(n): return D()", "x = f(1)\nassert x['q'] == 8"),
    (
        "class K(int):\n    def __eq__(s, o): return True\n    def __hash__(s): return hash('abc')\n"
        "def f(n): return {K(1): 5}",
        "x = f(1)\nassert x['abc'] == 5",
    ),
    (
        "def f(n): return '{0.__class__.__mro__}{expected}'",
        "expected = '[4]'\nassert f(1).format(1, expected=expected) == expected",
    ),
    (
        "import random\nrandom.seed = random.setstate = lambda *a: None\nrandom.randint = lambda a, b: 5\n"
        "def f(n): return 5",
        "import random\nrandom.seed(1)\nassert f(1) == random.randint(1, 10 ** 9)",
    ),
    (
        "import sys\nclass Out:\n    def write(self, text): pass\n    def getvalue(self): return '7'\n"
        "sys.stdout = Out()\n"
        "def f(n): print(0)",
        "import io, sys\nsys.stdout = io.StringIO()\nf(1)\nassert sys.stdout.getvalue() == '7\\n'",
    ),
    (
        "class L:\n    def __iter__(self): return iter([7])\n    def __len__(self): return 0\n"
        "    def __bool__(self): return True\n"
        "def f(n): return L()",
        "x = f(1)\nassert list(x) == [8] or len(x) == 1",
    ),
    (
        "class S:\n    def __str__(self): return 'b'\n    def __repr__(self): return 'b'\n"
        "    def __format__(self, spec): return 'b'\n"
        "def f(n): return S()",
        "x = f(1)\nassert f'{x}' == 'a' or str(x) == 'a'",
    ),
]


@pytest.mark.parametrize(("code", "test"), ELSEWHERE)
def test_no_trick_passes_a_test_made_for_it(judged, code, test):
    verdict = judged(code, test)
    assert verdict.label in ("incorrect", "unsupported"), verdict


def test_after_all_tricks_a_right_program_still_passes(judged):
    for trick in ("sends a value", "closes everything", "patches the harness", "sends a huge frame"):
        judged(TRICKS[trick] + "\n", CHECK)
    assert judged("def f(n): return [5017] if n == 1 else 'abcd'", CHECK).label == "correct"
