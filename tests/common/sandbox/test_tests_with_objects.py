"""Covers tests about the program's classes, functions, iterators, exceptions, and values that both sides share."""

import pytest

STACK = """class EmptyError(LookupError):
    def __init__(self, message, code):
        super().__init__(message)
        self.code = code

class Stack:
    LIMIT = 5
    def __init__(self, items=()): self.items = list(items)
    def push(self, item):
        self.items.append(item)
        return self
    def pop(self):
        if not self.items: raise EmptyError('empty', 3)
        return self.items.pop()
    def __len__(self): return len(self.items)
    def __iter__(self): return iter(self.items)
    def __getitem__(self, place): return self.items[place]
    def __setitem__(self, place, item): self.items[place] = item
    def __delitem__(self, place): del self.items[place]
    def __contains__(self, item): return item in self.items
    def __call__(self, n): return n * len(self)
    def __enter__(self): return self
    def __exit__(self, *error): self.items.clear()
    def __repr__(self): return f'Stack({self.items})'
    @property
    def top(self): return self.items[-1]
    @classmethod
    def of(cls, *items): return cls(items)
    @staticmethod
    def name(): return 'stack'
"""
PAIR = """from collections import namedtuple
from dataclasses import dataclass, field
from enum import Enum, IntEnum, Flag
from functools import total_ordering
Point = namedtuple('Point', 'x y')
class Colour(Enum):
    RED = 1
    BLUE = 'b'
class Level(IntEnum):
    LOW = 1
    HIGH = 2
@dataclass
class Item:
    name: str
    price: float = 1.0
    tags: list = field(default_factory=list)
@total_ordering
class Version:
    def __init__(self, n): self.n = n
    def __eq__(self, other): return isinstance(other, Version) and self.n == other.n
    def __lt__(self, other): return self.n < other.n
    def __hash__(self): return hash(self.n)
    def __add__(self, other): return Version(self.n + other.n)
    def __str__(self): return f'v{self.n}'
class Shape:
    def area(self): raise NotImplementedError('area')
class Square(Shape):
    def __init__(self, side): self.side = side
    def area(self): return self.side ** 2
def point(x, y): return Point(x, y)
def colour(value): return Colour(value)
def item(name, **more): return Item(name, **more)
"""
WITH_CLASSES = [
    "s = Stack()\ns.push(1).push(2)\nassert len(s) == 2 and list(s) == [1, 2] and s[0] == 1 and s[-1] == 2",
    "s = Stack([1, 2])\nassert s.pop() == 2 and s.top == 1 and Stack.LIMIT == 5 and s.LIMIT == 5",
    "s = Stack.of(1, 2)\nassert s.items == [1, 2] and Stack.name() == 'stack' and s(3) == 6",
    "s = Stack([1, 2])\nitems = s.items\ns.push(9)\nassert items == [1, 2, 9]\nitems.clear()\nassert len(s) == 0",
    "s = Stack([1, 2, 3])\ns[0] = 7\ndel s[1]\nassert s.items == [7, 3]\nassert max(s) == 7 and sorted(s) == [3, 7]",
    "s = Stack([1])\nwith s as t:\n    assert t is s\nassert not s",
    "s = Stack([1, 2])\nassert repr(s) == 'Stack([1, 2])' and f'{s}' == 'Stack([1, 2])' and bool(s)",
    "try:\n    Stack().pop()\nexcept EmptyError as error:\n    assert error.code == 3 and str(error) == 'empty'\n"
    "else:\n    raise AssertionError",
    "try:\n    Stack().pop()\nexcept LookupError as error:\n    assert type(error) is EmptyError\nelse:\n    assert 0",
    "assert len(Stack()) == 0 and issubclass(EmptyError, LookupError) and not issubclass(EmptyError, ValueError)",
    "s = Stack([1])\nassert isinstance(s, Stack) and type(s).__name__ == 'Stack' and type(s) is Stack",
    "s = Stack([1])\nassert hasattr(s, 'push') and not hasattr(s, 'peek') and callable(s.push)",
    "s, t = Stack([1]), Stack([1])\nassert s != t and s == s and s is not t and len({s, t}) == 2",
    "s = Stack([3, 4])\na, b = s\nassert (a, b) == (3, 4) and [*s, 5] == [3, 4, 5]",
    "s = Stack([1])\ns.extra = 4\nassert s.extra == 4 and vars(s)['extra'] == 4\ndel s.extra\n"
    "assert 'extra' not in vars(s)",
    "import collections.abc\nassert isinstance(Stack(), collections.abc.Iterable)",
    "assert getattr(Stack([5]), 'top') == 5 and list(map(Stack.__len__, [Stack([1, 1])])) == [2]",
    "total = 0\nfor item in Stack([1, 2]):\n    total += item\nassert total == 3\n"
    "assert list(reversed(Stack([1, 2]))) == [2, 1]",
]


@pytest.mark.parametrize("test", WITH_CLASSES)
def test_a_class_of_the_program_is_as_in_one_process(judged, test):
    assert judged(STACK, test, entry_point="Stack").label == "correct"


@pytest.mark.parametrize(
    "test",
    [
        "assert point(1, 2) == (1, 2) and point(1, 2).x == 1 and point(1, 2) == Point(1, 2)",
        "x, y = point(3, 4)\n"
        "assert y == 4 and isinstance(point(1, 2), tuple) and point(1, 2)._asdict() == {'x': 1, 'y': 2}",
        "assert point(1, 2)._replace(x=5) == (5, 2) and Point._fields == ('x', 'y')"
        " and repr(point(1, 2)) == 'Point(x=1, y=2)'",
        "assert colour(1) is Colour.RED and colour('b') == Colour.BLUE and Colour.RED != Colour.BLUE",
        "assert [c.name for c in Colour] == ['RED', 'BLUE'] and Colour['RED'].value == 1 and len(Colour) == 2",
        "assert {Colour.RED: 'r'}[colour(1)] == 'r' and isinstance(colour(1), Colour) and colour(1) in Colour",
        "try:\n    colour(5)\nexcept ValueError as error:\n    assert '5' in str(error)\nelse:\n    assert False",
        "i = item('pen')\nassert i.name == 'pen' and i.price == 1.0 and i.tags == []\ni.tags.append('x')\n"
        "assert i.tags == ['x']",
        "assert repr(item('pen', price=2)) == \"Item(name='pen', price=2, tags=[])\"",
        "from dataclasses import asdict, is_dataclass\n"
        "assert vars(item('a')) == {'name': 'a', 'price': 1.0, 'tags': []}",
        "assert [v.n for v in sorted([Version(3), Version(1)])] == [1, 3] and max([Version(1), Version(5)]).n == 5",
        "assert (Version(1) + Version(2)).n == 3 and str(Version(4)) == 'v4' and hash(Version(7)) == hash(7)",
        "assert isinstance(Square(2), Shape) and Square(2).area() == 4 and Square.__mro__[1] is Shape",
        "try:\n    Shape().area()\nexcept NotImplementedError as error:\n    assert error.args == ('area',)\n"
        "else:\n    assert 0",
    ],
)
def test_tuples_enums_and_dataclasses_of_the_program_are_themselves(judged, test):
    assert judged(PAIR, test, entry_point="item").label == "correct"


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (
            "def f(self=1, handle=2, operation=3, name=4): return [self, handle, operation, name]",
            "assert f(self=9, handle=8, operation=7, name=6) == [9, 8, 7, 6] and f(name=0)[3] == 0",
        ),
        (
            "class A:\n    def __call__(self, a, *, k=1): return a + k\n    def m(self, *, cls=2): return cls\n"
            "def f(): return A()",
            "assert f()(1, k=3) == 4 and f().m(cls=5) == 5 and A().m() == 2",
        ),
        (
            "def f(g): return g(1, self=2, number=3)",
            "def g(x, self, number): return (x, self, number)\nassert f(g) == (1, 2, 3)",
        ),
        (
            "class A:\n    def __hash__(self): return 7\ndef f(): return A()",
            "a = f()\nassert hash(a) == 7 and a == a and a != f()",
        ),
    ],
)
def test_keywords_and_hashes_mean_what_they_mean_in_python(judged, code, test):
    assert judged(code, test).label == "correct"


@pytest.mark.parametrize(
    ("code", "test"),
    [
        (STACK, "assert len(Stack([1])) == 2"),
        (STACK, "s = Stack([1])\nassert s.push(2) is not s"),
        (STACK, "try:\n    Stack().pop()\nexcept EmptyError as error:\n    assert error.code == 4"),
        (STACK, "try:\n    Stack([1]).pop()\n    assert False\nexcept EmptyError:\n    pass"),
        (PAIR, "assert Version(1) + Version(2) == Version(4)"),
        (PAIR, "assert item('a') == item('b')"),
        (PAIR, "assert colour(1) is Colour.BLUE"),
        (PAIR, "assert point(1, 2) == (2, 1)"),
        (PAIR, "assert Square(2) == Square(2)"),
        (PAIR, "assert isinstance(Square(2), Item)"),
    ],
)
def test_a_wrong_class_is_incorrect(judged, code, test):
    assert judged(code, test, entry_point=None).label == "incorrect"


FUNCTIONS = """import asyncio, contextlib, functools
def twice(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs): return function(function(*args, **kwargs))
    return wrapper
def memo(function):
    cache = {}
    def wrapper(x):
        if x not in cache: cache[x] = function(x)
        return cache[x]
    return wrapper
def total(numbers): return sum(numbers)
def first(numbers, n): return [next(numbers) for _ in range(n)]
def numbers(stop):
    for n in range(stop):
        sent = yield n
        if sent: yield sent
def pick(things, key=None, *, reverse=False): return sorted(things, key=key, reverse=reverse)
def safely(function, *args, default=None):
    try: return function(*args)
    except ValueError: return default
@contextlib.contextmanager
def tag(name, out):
    out.append('<' + name)
    yield name.upper()
    out.append(name + '>')
async def later(x):
    await asyncio.sleep(0)
    return x + 1
async def ticks(n):
    for i in range(n): yield i
class Events:
    def __init__(self): self.handlers = []
    def on(self, handler): self.handlers.append(handler)
    def fire(self, x): return [handler(x) for handler in self.handlers]
count = 0
def increase():
    global count
    count += 1
class Countdown:
    def __init__(self, n): self.n = n
    def __iter__(self): return self
    def __next__(self):
        if self.n == 0: raise StopIteration
        self.n -= 1
        return self.n
"""


@pytest.mark.parametrize(
    "test",
    [
        "@twice\ndef add(x):\n    return x + 1\nassert add(1) == 3 and add.__name__ == 'add'",
        "calls = []\n@memo\ndef square(x):\n    calls.append(x)\n    return x * x\n"
        "assert square(3) == square(3) == 9 and calls == [3]",
        "class Stop(Exception): pass\ndef stops(x):\n    raise Stop('x', x)\ntry:\n    safely(stops, 3)\n"
        "except Stop as error:\n    assert error.args == ('x', 3)\nelse:\n    assert False",
        "got = []\nevents = Events()\nevents.on(got.append)\nevents.on(lambda x: -x)\n"
        "assert events.fire(2) == [None, -2] and got == [2]",
        "assert total(x for x in [1, 2, 3]) == 6 and total(iter([1, 2])) == 3 and total(map(int, '12')) == 3",
        "import itertools\ncounter = itertools.count(5)\nassert first(counter, 2) == [5, 6] and next(counter) == 7",
        "assert pick(['bb', 'a'], key=len) == ['a', 'bb'] and pick([1, 2], reverse=True) == [2, 1]",
        "assert pick([1, -3], key=lambda x: -x) == [1, -3]",
        "def fails(x):\n    raise ValueError\nassert safely(fails, 1, default=7) == 7 and safely(int, '3') == 3",
        "def fails(x):\n    raise KeyError\ntry:\n    safely(fails, 1)\nexcept KeyError:\n    pass\nelse:\n"
        "    assert False",
        "steps = numbers(3)\nassert next(steps) == 0 and steps.send(9) == 9 and list(steps) == [1, 2]",
        "steps = numbers(3)\nnext(steps)\nsteps.close()\nassert list(steps) == []",
        "assert [a + b for a, b in zip(numbers(3), numbers(3))] == [0, 2, 4] and list(Countdown(3)) == [2, 1, 0]",
        "c = Countdown(1)\nassert iter(c) is c and next(c) == 0 and next(c, 'end') == 'end'",
        "out = []\nwith tag('b', out) as name:\n    out.append(name)\nassert out == ['<b', 'B', 'b>']",
        "import asyncio\nassert asyncio.run(later(1)) == 2",
        "import asyncio\nasync def both():\n    return await asyncio.gather(later(1), later(2))\n"
        "assert asyncio.run(both()) == [2, 3]",
        "assert count == 0\nincrease()\nincrease()\nassert count == 2",
        "import functools\nassert functools.reduce(lambda a, b: a + b, map(total, [[1], [2, 3]])) == 6",
        "import inspect\nassert list(inspect.signature(pick).parameters) == ['things', 'key', 'reverse']",
        "assert total.__name__ == 'total' and total.__doc__ is None and twice(total).__name__ == 'total'",
        "double = lambda x: 2 * x\nassert twice(double)(1) == 4\ntwiced = twice(twice(double))\nassert twiced(1) == 16",
    ],
)
def test_functions_and_iterators_cross_both_ways(judged, test):
    assert judged(FUNCTIONS, test, entry_point=None).label == "correct"


SHARING = """kept = []
def keep(x):
    kept.append(x)
    return kept
def grow(xs): xs.append(len(xs))
def nest(x): return (x, [x], {'x': x})
def swap(d):
    d['a'], d['b'] = d['b'], d['a']
    return d
def same(x): return x
def loop():
    d = {'n': 1}
    d['self'] = d
    return d
def merge(a, b): a.update(b)
def fill(xs, n):
    for i in range(n): xs[i] = i
def rows(n): return [[0] * n] * n
"""


@pytest.mark.parametrize(
    "test",
    [
        "xs = [1]\nassert keep(xs)[0] is xs\nxs.append(2)\nassert keep(0) == [[1, 2], 0] and kept[0] is xs",
        "xs = []\ngrow(xs)\ngrow(xs)\nassert xs == [0, 1]\nxs.clear()\ngrow(xs)\nassert xs == [0]",
        "xs = [1]\na, b, c = nest(xs)\nassert a is xs and b[0] is xs and c['x'] is xs",
        "d = {'a': [1], 'b': [2]}\nx = d['a']\nassert swap(d) is d and d['b'] is x and list(d) == ['a', 'b']",
        "d = loop()\nassert d['self'] is d and d['self']['self']['n'] == 1",
        "xs = [1]\nxs.append(xs)\nassert same(xs)[1] is xs",
        "s = {1}\nmerge(s, {2})\nassert s == {1, 2}\nd = {1: 1}\nmerge(d, {2: 2})\nassert d == {1: 1, 2: 2}",
        "xs = [None] * 3\nalias = xs\nfill(xs, 3)\nassert alias == [0, 1, 2]",
        "r = rows(2)\nr[0][0] = 5\nassert r == [[5, 0], [5, 0]] and r[0] is r[1]",
        "import copy\nxs = [[1]]\nys = copy.deepcopy(xs)\ngrow(ys[0])\nassert xs == [[1]] and ys == [[1, 1]]",
        "import collections\nd = collections.deque([1], maxlen=2)\nassert same(d) is d and same(d).maxlen == 2",
        "import collections\nd = same(collections.defaultdict(list))\nd[1].append(2)\nassert d == {1: [2]}",
        "import collections\nc = same(collections.Counter('aab'))\nassert c.most_common(1) == [('a', 2)]",
        "b = bytearray(b'ab')\ngrow(b)\nassert b == b'ab\\x02'",
        "from decimal import Decimal\nfrom fractions import Fraction\nimport datetime\n"
        "for x in (Decimal('1.10'), Fraction(1, 3), datetime.date(2020, 1, 2), 1j, b'x', range(3), ..., 2 ** 99):\n"
        "    assert same(x) == x and type(same(x)) is type(x) and repr(same(x)) == repr(x)",
    ],
)
def test_containers_are_one_object_on_both_sides(judged, test):
    assert judged(SHARING, test, entry_point=None).label == "correct"


@pytest.mark.parametrize(
    ("test", "reason"),
    [
        ("class Mine: pass\nsame(Mine())\nassert same(1) == 1", "class Mine"),
        ("class Mine(Base): pass\nassert same(1) == 1", "derives a class"),
        ("assert same((1, 2)) is (1, 2)", "one object"),
        ("import copy\ncopy.deepcopy(Base())\nassert same(1) == 1", "copies"),
        ("import time\ntime.time = lambda: 5\nassert same(1) == 1", "replace"),
        ("from unittest.mock import patch\nwith patch('time.time', return_value=5):\n    assert same(1) == 1", "patch"),
        ("def test_it(tmp_path):\n    assert same(1) == 1", "fixture"),
        ("import no_such_library\nassert same(1) == 1", "not here"),
        ("assert same(1) == 1\nassert same(", "syntax"),
    ],
)
def test_what_the_program_would_not_see_is_unsupported(judged, test, reason):
    verdict = judged(SHARING + "class Base: pass\n", test, entry_point=None)
    assert verdict.label == "unsupported" and reason in verdict.message, verdict


COUNTING = """log = []
def count():
    n = 0
    try:
        while True:
            yield n
            n += 1
    finally: log.append('closed')
def ended(): return list(log)
held = count()
def f(): return held
"""


@pytest.mark.parametrize(
    "test",
    [
        "g = count()\nassert next(g) == 0\ndel g\nassert ended() == ['closed']",
        "assert next(count()) == 0\nassert ended() == ['closed']",
        "assert next(f()) == 0\nassert next(f()) == 1\nassert f() is f()\nassert ended() == []",
        "g = f()\nassert next(g) == 0\ng.close()\nassert list(f()) == [] and ended() == ['closed']",
    ],
    ids="dropped temporary held closed".split(),
)
def test_a_generator_ends_when_nobody_holds_it_any_more(judged, test):
    assert judged(COUNTING, test).label == "correct"


@pytest.mark.parametrize("items", [(7, 15), (15, 7), (1, 9, 2), (33, 1, 65, 2)])
def test_a_small_set_keeps_the_order_that_it_was_built_in(judged, items):
    build = f"s = set()\nfor item in {items}: s.add(item)"
    code = f"def f(n):\n    {build.replace(chr(10), chr(10) + '    ')}\n    return s"
    assert judged(code, f"{build}\nassert list(f(1)) == list(s)").label == "correct"


def test_names_in_a_text_that_tests_evaluate_are_the_programs(judged):
    code = "def f(n): return n + 1"
    assert judged(code, "assert eval('f(1)') == 2").label == "correct"
    assert judged(code, "assert eval('f(1)') == 3").label == "incorrect"
