"""Generated programs about generators, exceptions, closures, callbacks and globals; see generated_programs.py."""

import random

from generated_values import Subject, small, text

GENERATORS = [
    "for i in range(n): yield i * K",
    "yield from (str(i) for i in range(n + K))",
    "for i in range(n):\n        got = yield i\n        if got: yield got + K",
    "yield n\n    raise ValueError('end', K)",
    "total = 0\n    for i in range(n):\n        total += i + K\n        yield total",
    "for i in range(n): yield [i, K]\n    log.append(n)",
]
OF_A_GENERATOR = """? next(g)
? next(g, 'end')
? list(g)
? [x for x in f(2)]
? sum(1 for _ in f(3))
? iter(g) is g
? list(zip(f(2), f(3)))
? g.send(4)
? tuple(f(1))
? dict(enumerate(f(2)))
? sorted(f(3), key=str)
? isinstance(g, types.GeneratorType)
g.close()
? log
? max(f(2), default=None)
? list(map(str, f(2)))
? any(f(1))
? list(f(2)) == list(f(2))""".splitlines()


def yields(rng: random.Random) -> Subject:
    code = f"log = []\ndef f(n):\n    {rng.choice(GENERATORS).replace('K', small(rng))}\n"
    return code, "f", ["import types", f"g = f({rng.randint(0, 4)})", *rng.sample(OF_A_GENERATOR, 5)]


def errors(rng: random.Random) -> Subject:
    kind, base = rng.choice(["TooSmall", "Refused"]), rng.choice(["Exception", "ValueError", "LookupError", "KeyError"])
    code = (
        f"class {kind}({base}):\n    def __init__(self, message, n=0):\n        super().__init__(message)\n"
        f"        self.n = n\nclass Worse({kind}): pass\ndef f(x, log=None):\n    try:\n"
        f"        if x > {small(rng)}: raise {kind}('no %s' % x, x)\n"
        f"        if x == {small(rng)}: raise Worse('worse')\n        return [1, 2, 3][x]\n"
        "    except IndexError:\n        return 'index'\n    finally:\n        if log is not None: log.append(x)\n"
    )
    script = [f"? f({small(rng)})", f"? f({small(rng)})", "log = []", f"? f(-{rng.randint(1, 9)}, log)", "? log"]
    script += [f"try:\n    n = f({small(rng)})\nexcept {kind} as error:\n    n = error.n", "? n"]
    return code, "f", [*script, f"? f({small(rng)}, log)", f"? issubclass(Worse, {base})"]


CLOSURES = """def f(start=S):
    total = start
    def add(n=1):
        nonlocal total
        total += n
        return total
    add.start = start
    return add
def compose(*functions):
    def run(x):
        for function in functions: x = function(x)
        return x + S
    return run
def memo(function):
    seen = {}
    def run(*args):
        if args not in seen: seen[args] = function(*args)
        return seen[args]
    return run
"""
OF_A_CLOSURE = """? a()
? a(5)
? a(n=2)
? f(3)()
? a.start
? callable(a)
? compose(abs, lambda x: x * 2)(-3)
? [g() for g in (f(1), f(2))]
? compose(float, compose(int))(2)
? a is a
? a.__name__
? list(map(f(), [1, 2]))
? memo(abs)(-2)
square = memo(lambda x: calls.append(x) or x * x)
? a == a
? compose()('x')""".splitlines()


def closures(rng: random.Random) -> Subject:
    script = ["calls = []", f"a = f({small(rng)})", *rng.sample(OF_A_CLOSURE, 6)]
    square = ["square = memo(lambda x: calls.append(x) or x * x)", "? square(3) + square(3)", "? calls"]
    return CLOSURES.replace("S", small(rng), 1).replace("S", small(rng)), "f", script + square


CALLBACKS = """def f(function, xs, key=None):
    out = [function(x) for x in xs]
    return sorted(out, key=key)[:3]
def each(xs, function):
    for i, x in enumerate(xs): function(i, x)
def attempt(function, *args, default=S):
    try: return function(*args)
    except (ValueError, ZeroDivisionError): return default
def fold(function, xs, start=S):
    for x in xs: start = function(start, x)
    return start
"""
WITH_CALLBACKS = """? f(lambda x: x * x, [3, 1])
? f(str, (1, 2), key=len)
? f(abs, iter([-1, 2]), key=lambda x: -x)
? attempt(int, 'x')
? attempt(lambda a: 1 / a, 0)
? attempt(max, 1, 5)
? attempt([].pop)
? fold(lambda a, b: a + b, [1, 2])
? fold(max, (n for n in [4, 5]))
each('ab', lambda i, x: seen.append((i, x)))
? seen
? f(seen.append, [1])
? f(len, ['a', ''])
? f(lambda x: {'k': x}, [1])
? f(lambda x: [x], range(3))
? attempt(fold, max, [1, 2], default=7)""".splitlines()


def callbacks(rng: random.Random) -> Subject:
    return CALLBACKS.replace("S", small(rng)), "f", ["seen = []", *rng.sample(WITH_CALLBACKS, 6), "? seen"]


STATES = """count, names = S, []
TABLE = {'a': S, 'b': [S]}
def f(n=1):
    global count
    count += n
    names.append(count)
    return count
def reset():
    global count, names
    count, names = 0, []
def show(*things, sep=' '): print(*things, sep=sep)
"""
OF_STATES = """? f()
? count
? names
? f(5)
? TABLE
? len(names)
reset()
names.append(3)
? f(n=2) - count
TABLE['a'] = 4
? list(TABLE)""".splitlines()
SHOWN = """import io
from contextlib import redirect_stdout
out = io.StringIO()
with redirect_stdout(out):
    show('a', 1, sep=T)"""


def states(rng: random.Random) -> Subject:
    script = [*rng.sample(OF_STATES, 6), SHOWN.replace("T", text(rng)), "? out.getvalue()"]
    return STATES.replace("S", small(rng)), "f", script
