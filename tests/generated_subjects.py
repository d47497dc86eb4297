"""What generated programs are about. Each subject gives code, the name of its function, and a script of statements
and observations ("? expression"); see generated_programs.py."""

import random
from collections.abc import Callable

Subject = tuple[str, str, list[str]]


def number(rng: random.Random) -> str:
    return repr(rng.choice([rng.randint(-9, 9), rng.randint(-999, 10**6), round(rng.uniform(-5, 5), 2), 2**70]))


def small(rng: random.Random) -> str:
    return repr(rng.randint(-5, 9))


def text(rng: random.Random) -> str:
    return repr("".join(rng.choice("abcXY z1,é") for _ in range(rng.randint(0, 8))))


def many(rng: random.Random, one: Callable[[random.Random], str], least: int = 0) -> list[str]:
    return [one(rng) for _ in range(rng.randint(least, 5))]


def numbers(rng: random.Random, least: int = 0) -> str:
    return f"[{', '.join(many(rng, small, least))}]"


def table(rng: random.Random) -> str:
    return "{" + ", ".join(f"{text(rng)}: {rng.choice([small, numbers])(rng)}" for _ in range(rng.randint(1, 4))) + "}"


def constant(rng: random.Random) -> str:
    return rng.choice(["None", "True", "False", "b'ab'", "()", "1j", "float('inf')"])


def anything(rng: random.Random, depth: int = 2) -> str:
    if depth == 0 or rng.random() < 0.4:
        return rng.choice([small, text, number, constant])(rng)
    inside = [anything(rng, depth - 1) for _ in range(rng.randint(1, 3))]
    form = rng.randrange(4)
    if form == 0:
        return f"({', '.join(inside)},)"
    if form == 1:
        return "{" + ", ".join(f"{text(rng)}: {item}" for item in inside) + "}"
    return f"[{', '.join(inside)}]" if form == 2 else "{" + str(rng.randrange(8)) + ", 3}"


def arithmetic(rng: random.Random) -> Subject:
    expression = rng.choice(["a", "b", small(rng)])
    for _ in range(rng.randint(1, 4)):
        expression = (
            f"({expression} {rng.choice(['+', '-', '*', '%', '//', '/'])} {rng.choice(['a', 'b', small(rng)])})"
        )
    code = (
        f"def f(a, b={small(rng)}, *rest, scale=1, **more):\n    if a > {small(rng)}: return {expression} * scale\n"
        f"    return sum(rest, b) + len(more) * {small(rng)}\n"
    )
    calls = [f"f({small(rng)})", f"f({small(rng)}, {small(rng)}, scale={small(rng)})", f"f(b={small(rng)}, a=3)"]
    calls += [f"f(*{numbers(rng, 2)})", f"f({number(rng)}, 1, 2, x=1, **{{'y': 2, 'self': 3, 'name': 4}})"]
    return code, "f", [f"? {call}" for call in calls]


OF_A_STRING = """s[::-1]
s.upper()
s.split()
s.strip() + s
s.replace('a', 'b')
list(s)
s * 2
s.title().swapcase()
''.join(sorted(s))
s.encode()
s.partition('a')
s.find('X')
f'{s:>10}|{len(s)}'
{c: s.count(c) for c in s}
set(s)
s.isalpha()
max(s, default='')
tuple(enumerate(s))
s and s[0]
len(s) > 3
None if not s else s[-1]
int(s)""".splitlines()


def strings(rng: random.Random) -> Subject:
    return f"def f(s):\n    return {rng.choice(OF_A_STRING)}\n", "f", [f"? f({text(rng)})" for _ in range(3)]


OF_A_LIST = """sorted(xs)
xs[::2]
[x * k for x in xs if x > k]
sum(xs) + k
xs + [k]
[xs, xs]
list(zip(xs, xs[1:]))
max(xs)
{x: xs.count(x) for x in xs}
tuple(xs)
set(xs)
[(x, [x] * 2) for x in xs]
[[j for j in range(x)] for x in xs]
xs.index(k)
frozenset(xs)
[x / k for x in xs]
k in xs
min(xs, key=lambda x: (x - k) ** 2)
map(str, xs)
dict(zip(xs, map(str, xs)))""".splitlines()


def lists(rng: random.Random) -> Subject:
    code = f"def f(xs, k={small(rng)}):\n    return {rng.choice(OF_A_LIST)}\n"
    return code, "f", [f"? f({numbers(rng)})", f"? f({numbers(rng, 1)}, k={small(rng)})", f"? f({numbers(rng, 2)}, 1)"]


CHANGES_A_LIST = """xs.append(k)
xs.sort()
xs.reverse()
xs.pop()
del xs[:1]
xs.insert(0, k)
xs *= 2
xs.clear()
xs.extend(range(k % 4))
xs[:] = [x + k for x in xs]
xs += [k]
xs.remove(xs[0])
xs = list(xs)""".splitlines()


def mutating(rng: random.Random) -> Subject:
    body = "\n".join(f"    {step}" for step in rng.sample(CHANGES_A_LIST, rng.randint(1, 3)))
    code = f"kept = []\ndef f(xs, k={small(rng)}):\n{body}\n    kept.append(xs)\n    return xs\n"
    script = [f"xs = {numbers(rng, 2)}", "same = xs", "result = f(xs)", "? xs", "? result", "? result is xs"]
    script += ["? same is xs", "xs.append(7)", "? kept", "? kept[0] is xs", "other = f(xs, 2)", "? len(kept)", "? xs"]
    return code, "f", [*script[: rng.randint(5, len(script))], "? same"]


OF_ANYTHING = """v
[v, v]
{'v': v}
(v, [v])
copy.deepcopy(v)
[copy.copy(v)]
str(v)
type(v) is list
isinstance(v, (list, tuple))
bool(v)
repr(v)
[v] * 2
{'a': {'b': (v, 1)}}
type(v).__name__
len(v)""".splitlines()


def nested(rng: random.Random) -> Subject:
    code = f"import copy\ndef f(v):\n    return {rng.choice(OF_ANYTHING)}\n"
    script = [f"? f({anything(rng)})", f"v = {anything(rng)}", "? f(v)", f"? f({anything(rng, 3)})"]
    return code, "f", script + (["? f(v) is v"] if rng.random() < 0.2 else ["v = [v]", "? f(v) is v", "? f(v)"])


CHANGES_A_TABLE = """d.update(z=k)
d['new'] = [k]
d.pop(next(iter(d)))
d.setdefault('q', k)
d |= {'w': 1}
d = dict(sorted(d.items()))
d = {key: [v] for key, v in d.items()}
d = {v: key for key, v in d.items()}""".splitlines()
OF_A_TABLE = "d|list(d)|list(d.items())|len(d)|d.get('a', k)|sorted(d)|set(d)|d['nothing']|d.keys()|d.values()".split(
    "|"
)


def tables(rng: random.Random) -> Subject:
    body = "\n".join(f"    {step}" for step in rng.sample(CHANGES_A_TABLE, rng.randint(1, 2)))
    code = f"def f(d, k={small(rng)}):\n{body}\n    return {rng.choice(OF_A_TABLE)}\n"
    return code, "f", [f"d = {table(rng)}", "? f(d)", "? d", "? list(d)", f"? f({table(rng)}, k=0)", "? len(f(d))"]


def collected(rng: random.Random) -> Subject:
    kinds = "Counter(s)|OrderedDict((c, i) for i, c in enumerate(s))|deque(s, maxlen=3)|defaultdict(int)".split("|")
    kind = rng.choice(kinds)
    code = f"from collections import Counter, OrderedDict, deque, defaultdict\ndef f(s):\n    return {kind}\n"
    script = [f"c = f({text(rng)})", "? list(c)", "? len(c)", "? type(c).__name__", f"? 'a' in f({text(rng)})"]
    if "Counter" in kind or "int" in kind:
        script += ["? c['nowhere']", "c['a'] += 2", "? c['a']", "? dict(c)", "? sum(c.values())"]
    return code, "f", [*script, "? bool(c)", "? sorted(map(str, c))"]


GENERATORS = [
    "for i in range(n): yield i * K",
    "yield from (str(i) for i in range(n + K))",
    "for i in range(n):\n        got = yield i\n        if got: yield got + K",
    "yield n\n    raise ValueError('end', K)",
    "total = 0\n    for i in range(n):\n        total += i + K\n        yield total",
    "try:\n        for i in range(n): yield [i, K]\n    finally:\n        log.append(n)",
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


VALUES = """from functools import total_ordering
@total_ordering
class V:
    def __init__(self, x, y=0): self.x, self.y = x, y
    def __add__(self, other): return V(self.x + other.x, self.y + other.y + S)
    def __mul__(self, k): return V(self.x * k, self.y * k)
    def __eq__(self, other): return isinstance(other, V) and self.x == other.x
    def __lt__(self, other): return self.x < other.x
    def __hash__(self): return hash(self.x)
    def __abs__(self): return abs(self.x) + S
    def __repr__(self): return f'V({self.x}, {self.y})'
"""
OF_VALUES = """? (A + B).x
? repr(A + B)
? abs(A)
? [v.x for v in sorted([A, B, C])]
? max([A, B]).x
? hash(A) == hash(B)
? sum([B, C], A).x
? min(A, B).y
? [A, B][0].x
? sorted([A, B], reverse=True)[0].x
? str(A)
? A.x + B.x""".splitlines()
JUDGED_BY_VALUES = ["? A == B", "? A < B", "? (A * 2).x", "? len({A, B})", "? {A: 1}.get(B)"]


def values(rng: random.Random) -> Subject:
    """A class with operators of its own. Their answers are observed; that they judge themselves is rare."""
    script = rng.sample(JUDGED_BY_VALUES if rng.random() < 0.06 else OF_VALUES, 3)
    for name in "ABC":
        script = [step.replace(name, f"V({small(rng)}, {small(rng)})") for step in script]
    return VALUES.replace("S", small(rng)), "V", script


RECORDS = """from collections import namedtuple
from dataclasses import dataclass, field
from enum import Enum
Point = namedtuple('Point', 'x y')
class Kind(Enum):
    A = 1
    B = 'b'
    @property
    def low(self): return self.name.lower()
@dataclass
class Item:
    name: str
    price: float = 1.5
    tags: list = field(default_factory=list)
    def total(self, n=S): return self.price * n
def point(x, y=S): return Point(x, y)
def item(*args, **more): return Item(*args, **more)
def kind(v): return Kind(v)
"""
OF_RECORDS = """? point(1)
? point(1, 2).y
? point(3)._asdict()
? tuple(point(1))
? point(1) == (1, 2)
? point(1)[0]
? len(point(1))
? isinstance(point(1), tuple)
? point(1)._replace(x=9).x
? [a + b for a, b in [point(1, 2)]]
? repr(point(1))
? Point(1, 2).x
? kind(1).name
? kind('b') is Kind.B
? kind(1) == Kind.B
? [k.name for k in Kind]
? Kind['A'].value
? kind(5)
? kind(1).low
? {Kind.A: 1}[kind(1)]
? kind(1) in (Kind.A, Kind.B)
? len(Kind)
? item('a').price
? item('a', tags=[1]).tags
? repr(item('a'))
? item('a').total()
? item('a', 2.0).total(n=3)
? vars(item('b'))
? item()
? hasattr(item('a'), 'cost')""".splitlines()


def records(rng: random.Random) -> Subject:
    return RECORDS.replace("S", small(rng)), "point", rng.sample(OF_RECORDS, 5)


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


TREES = """def f(n, acc=None):
    acc = [] if acc is None else acc
    if n <= 1: return acc
    acc.append(n)
    return f(n - P, acc)
class Node:
    def __init__(self, value, left=None, right=None): self.value, self.left, self.right = value, left, right
def build(xs):
    root = None
    for x in xs: root = insert(root, x)
    return root
def insert(root, x):
    if root is None: return Node(x)
    if x < root.value: root.left = insert(root.left, x)
    else: root.right = insert(root.right, x)
    return root
def walk(node): return [] if node is None else walk(node.left) + [node.value + P] + walk(node.right)
def ring(n):
    d = {'n': n, 'all': []}
    d['all'].append(d)
    return d
"""
OF_TREES = """? f(6)
? f(1, [0])
? root.value
? walk(root)
? root.left is None
node = Node(1, Node(0))
? walk(node)
? node.left
node.right = Node(5)
? walk(insert(node, 2))
r = ring(2)
? r['all'][0] is r
? r['all'][0]['n']
? isinstance(root, Node)
? [n.value for n in (root, node)]""".splitlines()


def trees(rng: random.Random) -> Subject:
    first = [f"root = build({numbers(rng, 1)})", "node = Node(3)", "r = ring(1)"]
    return TREES.replace("P", str(rng.randint(1, 2))), "f", [*first, *rng.sample(OF_TREES, 6)]
