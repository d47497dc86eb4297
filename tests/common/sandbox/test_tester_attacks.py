"""Covers what a program can do to the process of its tests: forge a pass, learn an answer, claim, hang, misreport."""

import pytest

from common.sandbox import Program

# The program's own end of the connection, found as a program finds it: through the frames below it.
IN_REACH = """
import sys as _sys
def _answerer():
    frame = _sys._getframe()
    while not hasattr(frame.f_locals.get("self"), "_channel"): frame = frame.f_back
    return frame.f_locals["self"]
A = _answerer()
CHANNEL = A._channel
def send(outcome, nodes, changed={}, classes={}):
    CHANNEL.send([outcome, nodes, changed, classes, "", []])
def claim(name, standard=None, ancestors=(), operators=(), equality="object", exception=False):
    return [name, name, standard, list(ancestors), list(operators), equality, False, exception, False]
def f(x): return "go"
_honest = A._reply
def _reply(outcome, result):
    answer() if result == "go" else _honest(outcome, result)
A._reply = _reply
"""
PLAIN = "for x, y in [(1, 2), (5, 6)]:\n    assert f(x) == y"
RIGHT = "def f(x): return x + 1"
CAUGHT = "try:\n    f(1)\nexcept:\n    pass\nelse:\n    assert False"
IN_TEXT = "import unittest\nclass T(unittest.TestCase):\n    def test_it(self): self.assertIn(3, f(1))"
CONTAINS_ALL = "    def __contains__(self, x): return True\n"
ALL_EQUAL = "    def __eq__(self, other): return True\n    __hash__ = object.__hash__\n"


def answering(act: str, before: str = "") -> str:
    """A program that does `act` in place of its answer to a call of f."""
    return f"{IN_REACH}\n{before}\ndef answer(): {act}\n"


FORGED = {
    "binds a name of the tests": (
        answering("send('value', [5, ['shared', '1']], {'1': ['dict', [[['s', 'expected'], 5]]]})", "expected = 0"),
        "expected = [2][0]\nr = f(1)\nassert r == expected",
    ),
    "binds a name that a star import gave": (
        "def isclose(a, b): return True\ndef f(x):\n    global isclose\n    isclose = lambda a, b: True\n    return 5",
        "from math import *\nr = [f(1)]\nassert [isclose(v, 2.0) for v in r] == [True]",
    ),
    "a class in the place of the function": (
        f"class f:\n    def __init__(self, x): pass\n{CONTAINS_ALL}",
        "r = f(3)\nassert 1 in r and 2 in r",
    ),
    "a class with the name of the function": (
        f"class C:\n{CONTAINS_ALL}C.__name__ = 'f'\ndef f(x): return C()",
        "r = f(3)\nassert 1 in r and 2 in r",
    ),
    "a class with a name of the tests": (f"class C:\n{CONTAINS_ALL}C.__name__ = 'self'\ndef f(x): return C()", IN_TEXT),
    "an end that the tests catch": ("import os\ndef f(x): os._exit(0)", CAUGHT),
    "junk that the tests catch": (answering("CHANNEL._write(CHANNEL.descriptor, b'junk' * 9)"), CAUGHT),
    "a hang that the tests catch": ("import time\ndef f(x): time.sleep(99)", CAUGHT),
    "a refusal that the tests catch": (answering("CHANNEL.send(['unsupported', 'x'])"), CAUGHT),
    "exec as a value": (
        answering("send('value', [['name', 'dataclasses', 'builtins.exec']])"),
        "g = f(1)\ng('mine = 3')\nassert mine == 3",
    ),
    "a module's modules as a value": (
        answering("send('value', [['name', 'enum', 'sys.modules']])"),
        "assert '__main__' in f(1)",
    ),
    "the insides of a callback": (
        "import operator\ndef f(g):\n    try: return g(g(operator.attrgetter, '__code__.co_consts'), g)\n"
        "    except Exception as error: return repr(error)",
        "def apply(g, x):\n    answer = 'xyzzy'\n    return g(x)\nassert 'xyzzy' in f(apply)",
    ),
    "the text of a callback": (
        "def f(g):\n    try: return g(str.format, '{0.__code__.co_consts}', g)\n"
        "    except Exception as error: return repr(error)",
        "def apply(g, *xs):\n    answer = 'xyzzy'\n    return g(*xs)\nassert 'xyzzy' in f(apply)",
    ),
    "a cancelled task": (
        "import asyncio\nasync def f(x): raise asyncio.CancelledError",
        "import asyncio\nasync def one(): assert await f(1) == 2\nasync def main():\n"
        "    async with asyncio.TaskGroup() as group: group.create_task(one())\nasyncio.run(main())",
    ),
    "a function of the setup": ("def f(n): return right(n)", "for i in (1, 2): assert f(i) == right(i)"),
    "random numbers of its choice": (
        "import random\nchosen = random.Random(1).getstate()\n"
        "def f(x):\n    random.setstate(chosen)\n    return 34 if x == 17 else 0",
        "import random\nrandom.seed(2)\nf(0)\nfor _ in range(3):\n"
        "    x = random.randint(0, 99)\n    assert f(x) == 2 * x",
    ),
    "equal to everything, from the right": (
        f"class S:\n{ALL_EQUAL}def f(x): return S()",
        "assert [1, 2] == [f(1), f(1)]",
    ),
    "arguments of an exception that equal everything": (
        f"class S:\n{ALL_EQUAL}def f(x): raise ValueError(S())",
        "try: f(1)\nexcept ValueError as e: assert e.args == ('bad',)\nelse: assert False",
    ),
    "the other side of a difference": (
        "class S(set):\n    def __rxor__(self, other): return set()\ndef f(x): return S()",
        "assert not ({1, 2} ^ f(1))",
    ),
    "an assertion swallowed": (
        "class W:\n    v = 1\n    def __enter__(self): return self\n    def __exit__(self, *a): return True\n"
        "def f(x): return W()",
        "with f(1) as w:\n    assert w.v == 2",
    ),
    "an assertion swallowed by a generator": (
        "def f(x):\n    try: yield 1\n    except AssertionError: pass",
        "import contextlib\nwith contextlib.contextmanager(f)(1) as v: assert v == 2",
    ),
}


@pytest.mark.parametrize(("code", "test"), FORGED.values(), ids=FORGED)
def test_no_program_forges_a_pass(judged, code, test):
    setup = "def right(n): return n * 2" if "right(" in test else ""
    verdict = judged(code, test, setup=setup)
    assert verdict.label in ("incorrect", "unsupported"), verdict


CLAIMED = {
    "a text as an int": "send('value', [['subclass', 7, 8, ['s', 'x'], 'int']], {}, {'8': claim('Q')})",
    "a subclass of type": "send('value', [['subclass', 7, 8, ['s', 'x'], 'type']], {}, {'8': claim('Q')})",
    "an exception that is exec": (
        "send('raise', [['exception', 7, 8, [['s', '1/0']], False, [], 'N']], {}, "
        "{'8': claim('Q', 'builtins.exec', exception=True)})"
    ),
    "an exception that is an int": (
        "send('raise', [['exception', 7, 8, [], False, [], 'N']], {}, "
        "{'8': claim('Q', 'builtins.int', exception=True)})"
    ),
    "an exception of an ordinary class": (
        "send('raise', [['exception', 7, 8, [], False, [], 'N']], {}, {'8': claim('Q')})"
    ),
    "an exception caused by a number": (
        "send('raise', [['exception', 7, 8, [], False, [], 5]], {}, "
        "{'8': claim('V', 'builtins.ValueError', exception=True)})"
    ),
    "a number raised": "send('raise', [5])",
    "a class above itself": "send('value', [['class', 8]], {}, {'8': claim('A', None, [8])})",
    "two classes above each other": (
        "send('value', [['class', 8]], {}, {'8': claim('A', None, [9]), '9': claim('B', None, [8])})"
    ),
    "an operator of numpy's": (
        "send('value', [['object', 7, 8]], {}, {'8': claim('A', None, [], ['__array_function__'])})"
    ),
    "a list of the tests as a dict": "send('value', [['shared', '2']], {'2': ['dict', []]})",
    "a list of the tests as an array": "send('value', [['shared', '2']], {'2': ['array', [1], '', '<f8']})",
    "an array of objects in bytes": "send('value', [['scalar', 'O', '00' * 8]])",
    "bindings that are none": "send('value', [5, ['s', 'x']])",
    "a frame of another shape": "CHANNEL.send([1, 2])",
}


@pytest.mark.parametrize("act", CLAIMED.values(), ids=CLAIMED)
def test_no_claim_is_believed_against_its_kind(judged, act):
    verdict = judged(answering(act), "r = f([1])\nassert r == 2")
    assert verdict.label == "incorrect", verdict


ENDLESS = {
    "stays when its tests are over": (
        f"{IN_REACH}\nimport time\nread = CHANNEL._read\ndef patient(descriptor, size):\n"
        f"    data = read(descriptor, size)\n    while not data: time.sleep(1)\n    return data\n"
        f"CHANNEL._read = patient\n{RIGHT}",
        PLAIN,
        "correct",
    ),
    "half a message": (answering("CHANNEL._write(CHANNEL.descriptor, b'\\x10\\0\\0\\0abc')"), PLAIN, "incorrect"),
    "closes and sleeps": (
        f"{IN_REACH}\nimport os, time\ndef f(x):\n    os.close(CHANNEL.descriptor)\n    time.sleep(99)",
        PLAIN,
        "incorrect",
    ),
    "writes from a thread": (
        f"{IN_REACH}\nimport threading\ndef write():\n    while True: CHANNEL._write(CHANNEL.descriptor, b'x' * 9999)\n"
        f"threading.Thread(target=write, daemon=True).start()\n{RIGHT}",
        PLAIN,
        "incorrect",
    ),
    "brackets without end": (
        f"{IN_REACH}\ndef f(x):\n    body = memoryview((60 << 20).to_bytes(4, 'little') + b'[' * (60 << 20))\n"
        "    while body: body = body[CHANNEL._write(CHANNEL.descriptor, body):]",
        PLAIN,
        "incorrect",
    ),
    "a generator without end": ("def f(x):\n    while True: yield 1", "assert list(f(1)) == [1]", "incorrect"),
    "a range too long": ("def f(x): return range(10**18)", "r = f(1)\nassert list(r) == [1]", "incorrect"),
    "a number too large": (
        "from decimal import Decimal\ndef f(x): return Decimal('1e99999999')",
        "r = f(1)\nassert int(r) == 1",
        "incorrect",
    ),
    "a length too large": (
        "class L:\n    def __len__(self): return 10**9\n    def __getitem__(self, i): return 1\ndef f(x): return L()",
        "assert list(f(1)) == [1]",
        "incorrect",
    ),
    "calls the tests for ever": ("def f(g):\n    while True: g(1)", "f(lambda x: x)\nassert True", "incorrect"),
    "ends in a callback": ("import os\ndef f(g):\n    g(1)\n    os._exit(0)", "assert f(abs) == 1", "incorrect"),
    "stops itself": (
        "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP)",
        PLAIN,
        "incorrect",
    ),
    "tests that wait": (RIGHT, "import time\ntime.sleep(99)\nassert f(1) == 2", "incorrect"),
}


@pytest.mark.parametrize(("code", "test", "label"), ENDLESS.values(), ids=ENDLESS)
def test_every_run_ends_and_the_next_has_its_verdict(sandbox, program, code, test, label):
    this, following = sandbox.grade([program(code, test), program(f"{RIGHT}  # after {hash(code)}", PLAIN)])
    assert (this.label, following.label) == (label, "correct"), this
    assert this.wall_s < 30


def test_a_program_holds_two_descriptors_and_no_page(confined, program):
    code = (
        "import os, stat\ndef f(x):\n    kinds = []\n    for descriptor in range(3, 1024):\n"
        "        try: kinds.append(stat.S_IFMT(os.fstat(descriptor).st_mode))\n        except OSError: pass\n"
        "    return sorted(kinds) == sorted([stat.S_IFSOCK, stat.S_IFIFO])"
    )
    assert confined.submit(program(code, "for x in [1]: assert f(x) is True")).result().label == "correct"
    code = (
        "import sys\ndef f(x):\n    frame = sys._getframe()\n"
        "    while 'page' not in frame.f_locals: frame = frame.f_back\n    return frame.f_locals['page'][0]"
    )
    assert confined.submit(program(code, "for x in [1]: assert f(x) == 1")).result().error == "killed"


ENUMS = (
    "from enum import Enum\nclass C(Enum):\n    R = 1\nclass D(dict): pass\ndef f(x): return C(x)\ndef g(): return D()"
)
TWO = "class A(Exception): pass\nclass E(A, ValueError): pass\nclass P: pass\nclass Q: pass\nclass R(P, Q): pass\n"
CODED = (
    "class E(Exception):\n    def __init__(self, n): self.n = n\n"
    "    def __str__(self): return f'code {self.n}'\ndef f(x): raise E(x)"
)
CAUSED = (
    "def f(x):\n    try: {}[x]\n    except KeyError as e:\n        v = ValueError('no')\n"
    "        v.add_note('n')\n        raise v from e"
)
CURRY = (
    "def f(g):\n    n = g.__code__.co_argcount\n"
    "    def c(*a): return g(*a) if len(a) >= n else lambda *b: c(*a, *b)\n    return c"
)
WRAPS = "import functools\ndef f(g):\n    @functools.wraps(g)\n    def w(*a, **k): return g(*a, **k)\n    return w"
HONEST = {
    "struct.error": (
        "import struct\ndef f(b): return struct.unpack('<I', b)",
        "import pytest, struct\nwith pytest.raises(struct.error): f(b'')",
    ),
    "an error of a module's inner module": (
        "import json\ndef f(s): return json.loads(s)",
        "import json\ntry: f('{')\nexcept json.JSONDecodeError as e: assert e.pos == 1\nelse: assert False",
    ),
    "an error that the tests cannot name": (
        "import configparser\ndef f(s): configparser.ConfigParser().read_string(s)",
        "try:\n    f('x')\nexcept Exception as e: found = type(e).__name__\nassert found[:14] == 'MissingSection'",
    ),
    "an error's own text": (
        CODED,
        "import pytest\nwith pytest.raises(Exception, match='code 5') as e: f(5)\nassert e.value.n == 5",
    ),
    "an error's cause and notes": (
        CAUSED,
        "try: f(1)\nexcept ValueError as e: found = type(e.__cause__), e.__notes__\nassert found == (KeyError, ['n'])",
    ),
    "a missing file's name": (
        "def f(p): return open(p)",
        "try: f('/none')\nexcept OSError as e: assert e.filename == '/none'\nelse: assert False",
    ),
    "an error of two kinds": (
        f"{TWO}def f(x): raise E(x)",
        "import pytest\nwith pytest.raises(ValueError): f(1)\nwith pytest.raises(A): f(1)",
    ),
    "a class of two kinds": (f"{TWO}def f(x): return R()", "assert isinstance(f(1), P) and isinstance(f(1), Q)"),
    "an Enum": (ENUMS, "from enum import Enum\nassert isinstance(f(1), Enum) and f(1).__class__ is C and f(1) is C.R"),
    "a dict's class": (ENUMS, "f\nassert isinstance(g(), dict) and g().__class__ is D and type(g()) is D"),
    "a function's kind and words": (
        "def f(x):\n    'doc'\n    def g(y): return x + y\n    return g",
        "import types\nassert isinstance(f(1), types.FunctionType)\n"
        "assert (f.__doc__, f.__code__.co_argcount) == ('doc', 1)",
    ),
    "a decorator that keeps the name": (
        WRAPS,
        "@f\ndef g(x, *, y=2):\n    'doc'\n    return x + y\n"
        "assert (g.__name__, g.__doc__, g(1), g(1, y=3)) == ('g', 'doc', 3, 4)",
    ),
    "names of arguments": (
        "def f(x, y=1, handle=2, operation=3, self=4): return x + y + handle",
        "for x in [1]: assert f(x, y=2, handle=3, operation=1, self=2) == 6",
    ),
    "curry": (CURRY, "assert f(lambda a, b, c: a + b + c)(1)(2)(3) == 6"),
    "parameters that are left out": (
        "def f(g): return [g(1), g(1, c=5), g(1, 2), g(1, 2, 3, 4, k=6, z=7)]",
        "def g(a, b=20, c=30, *d, k=40, **e): return [a, b, c, d, k, e]\n"
        "assert f(g) == [[1, 20, 30, (), 40, {}], [1, 20, 5, (), 40, {}], [1, 2, 30, (), 40, {}], "
        "[1, 2, 3, (4,), 6, {'z': 7}]]",
    ),
    "a container of the program's class": (
        "class Stack:\n    items = [3]\n    def __contains__(self, x): return x in self.items\n"
        "def f(x): return Stack()",
        "f\ns = Stack()\nassert 3 in s and 4 not in s",
    ),
    "a global that the program binds again": (
        "count = 0\ndef f(x):\n    global count\n    count += 1",
        "f(1)\nf(2)\nassert count == 2",
    ),
    "random numbers of one stream": (
        "import random\ndef f(n): return [random.random() for _ in range(n)]",
        "import random\nrandom.seed(3)\nmine = f(2000)\nrandom.seed(3)\n"
        "assert mine == [random.random() for _ in range(2000)]",
    ),
    "threads of the tests": (
        "def f(x): return x * x",
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: assert list(pool.map(f, range(9))) == [i * i for i in range(9)]",
    ),
    "standard functions as values": (
        "import math, json\ndef f(x): return [math.sqrt, json.loads, str.upper][x]",
        "import math\nassert f(0) is math.sqrt and f(1)('[1]') == [1] and f(2)('a') == 'A'",
    ),
}


@pytest.mark.parametrize(("code", "test"), HONEST.values(), ids=HONEST)
def test_an_honest_program_gets_the_label_of_one_process(patient, program, code, test):
    verdict = patient.submit(program(code, test)).result()
    assert verdict.label == "correct", verdict


UNSUPPORTED = {
    "a tuple too deep": ("def f(t): return 1", "t = ()\nfor i in range(900): t = (t,)\nassert f(t) == 1"),
    "a function with attributes": ("def f(g): return g.tag", "def g(): pass\ng.tag = 3\nassert f(g) == 3"),
    "asynchronous iteration": (
        "async def f(n):\n    for i in range(n): yield i",
        "import asyncio\nasync def main(): return [x async for x in f(3)]\nassert asyncio.run(main()) == [0, 1, 2]",
    ),
    "the fields of a dataclass": (
        "import dataclasses\n@dataclasses.dataclass\nclass P:\n    x: int\ndef f(x): return P(x)",
        "import dataclasses\nassert dataclasses.asdict(f(1)) == {'x': 1}",
    ),
}


@pytest.mark.parametrize(("code", "test"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_cannot_cross_is_unsupported_not_wrong(judged, code, test):
    verdict = judged(code, test)
    assert verdict.label == "unsupported", verdict


def test_a_reference_that_hangs_is_no_fault_of_the_program(sandbox):
    slow = "import time\ndef f(x): time.sleep(99)"
    verdict = sandbox.submit(Program("def f(x): return x", ("assert f(1) == reference(1)",), "f", "", slow)).result()
    assert verdict.label == "unsupported" and "reference" in verdict.message, verdict
