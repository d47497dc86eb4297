"""Generated programs about values. Each subject gives code, the name of its function, and a script of statements
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
