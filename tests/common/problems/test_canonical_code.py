"""Covers common/problems/canonical_code.py: what two copies of one program may differ in, and what they may not."""

import ast

import pytest

from common.problems.canonical_code import canonical_code

SAME = {
    "arguments and variables": (
        "def f(a, b):\n    c = a + b\n    return c\n",
        "def g(x, y):\n    total = x + y\n    return total\n",
    ),
    "docstrings, comments, layout": (
        "def f(a):\n    return [1, a]\n",
        "def f(a):\n    '''Doc.'''\n    # why\n    return [1,\n            (a)]\n",
    ),
    "annotations": (
        "def f(a, *b, c=1):\n    d = a\n    return d\n",
        "def f(a: int, *b: str, c: int = 1) -> int:\n    d: int = a\n    e: int\n    return d\n",
    ),
    "helpers": (
        "def f(a):\n    return h(a)\ndef h(a):\n    return a\n",
        "def g(x):\n    return k(x)\ndef k(y):\n    return y\n",
    ),
    "recursion and named arguments": (
        "def f(n, done=1):\n    return done if n == 0 else f(n - 1, done=done * n)\n",
        "def g(k, acc=1):\n    return acc if k == 0 else g(k - 1, acc=acc * k)\n",
    ),
    "a name used in two comprehensions": (
        "def f(a):\n    return [i for i in a] + [i * 2 for i in a]\n",
        "def f(a):\n    return [i for i in a] + [j * 2 for j in a]\n",
    ),
    "a target like what it runs over": (
        "def f(x):\n    return [x for x in x]\n",
        "def f(x):\n    return [y for y in x]\n",
    ),
    "lambdas, handlers, unpacking, walrus, with": (
        "def f(a):\n    try:\n        b, *c = sorted(a, key=lambda x: -x)\n    except ValueError as e:\n"
        "        raise e\n"
        "    with open(a) as h:\n        while line := h.read():\n            del b\n",
        "def f(p):\n    try:\n        q, *r = sorted(p, key=lambda p: -p)\n    except ValueError as error:\n"
        "        raise error\n    with open(p) as file:\n        while text := file.read():\n            del q\n",
    ),
    "global and nonlocal names": (
        "def f():\n    global n\n    n = a = 1\n    def h():\n        nonlocal a\n        a = n\n    return h\n",
        "def g():\n    global m\n    m = b = 1\n    def k():\n        nonlocal b\n        b = m\n    return k\n",
    ),
    "what an import is called": (
        "import heapq as hq\nfrom math import sqrt as root\ndef f(a):\n    return hq.nlargest(root(2), a)\n",
        "import heapq\nfrom math import sqrt\ndef f(a):\n    return heapq.nlargest(sqrt(2), a)\n",
    ),
    "a variable called like a builtin": (
        "def f(list):\n    sum = 0\n    for max in list:\n        sum += max\n    return sum\n",
        "def f(items):\n    total = 0\n    for item in items:\n        total += item\n    return total\n",
    ),
    "patterns": (
        "def f(a):\n    match a:\n        case [b, *c] | {'k': b, **c}:\n            return b, c\n",
        "def f(x):\n    match x:\n        case [y, *z] | {'k': y, **z}:\n            return y, z\n",
    ),
    "classes": (
        "class Node:\n    size = 0\n    def grow(self, n):\n        self.size += n\n",
        "class Leaf:\n    size = 0\n    def grow(this, by):\n        this.size += by\n",
    ),
    "a form of text, and pass": ("def f():\n    return u'a'\n", 'def f():\n    pass\n    return "a"\n'),
}

DIFFERENT = {
    "another function is tested": ("def f(a):\n    return g(a)\ndef g(a):\n    return a\n", "f", "g"),
    "two arguments change places": ("def f(a, b):\n    return a - b\n", "def f(a, b):\n    return b - a\n"),
    "another constant": ("def f():\n    return 1\n", "def f():\n    return True\n"),
    "another builtin": ("def f(a):\n    return max(a)\n", "def f(a):\n    return min(a)\n"),
    "another method": ("def f(a):\n    return list(a.keys())\n", "def keys(a):\n    return list(a.values())\n"),
    "another import": (
        "from math import sin as s\ndef f(a):\n    return s(a)\n",
        "from math import cos as s\ndef f(a):\n    return s(a)\n",
    ),
    "a variable that is another one": (
        "def f(a):\n    b = a\n    a = 1\n    return b\n",
        "def f(a):\n    b = a\n    a = 1\n    return a\n",
    ),
    "an argument by name, and another": (
        "def f(a=1, b=2):\n    return f(a=3)\n",
        "def f(a=1, b=2):\n    return f(b=3)\n",
    ),
    "a keyword of somebody else's function": (
        "def f(a):\n    return sorted(a, key=a)\n",
        "def f(a):\n    return sorted(a, reverse=a)\n",
    ),
    "a global and a local variable": ("n = 0\ndef f():\n    global n\n    n = 1\n", "n = 0\ndef f():\n    n = 1\n"),
}


def _tested(code: str) -> str:
    """The first function or class."""
    return next(node.name for node in ast.parse(code).body if isinstance(node, ast.FunctionDef | ast.ClassDef))


@pytest.mark.parametrize("what", SAME)
def test_copies_that_differ_in_names_and_notes_are_the_same(what):
    one, other = SAME[what]
    assert canonical_code(one, _tested(one)) == canonical_code(other, _tested(other))


@pytest.mark.parametrize("what", DIFFERENT)
def test_programs_that_do_something_else_are_not_the_same(what):
    one, *others = DIFFERENT[what]
    if len(others) == 2:
        assert canonical_code(one, others[0]) != canonical_code(one, others[1])
    else:
        assert canonical_code(one, _tested(one)) != canonical_code(others[0], _tested(others[0]))


def test_a_program_nested_too_deep_is_itself():
    code = "def f():\n    return " + "+".join(["1"] * 900) + "\n"
    assert canonical_code(code, "f") == code
