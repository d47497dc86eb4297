"""Generated programs about operators, records and trees of objects; see generated_programs.py."""

import random

from generated_values import Subject, numbers, small

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
