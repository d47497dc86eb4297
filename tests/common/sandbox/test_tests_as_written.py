"""Covers tests that run as they are written, in the forms of HumanEval and EvalPlus, with setup and reference."""

import textwrap

import pytest

from common.sandbox import Program

# Name and parameters, the body of a right program, that of a wrong one, what check(candidate) does.
TASKS = {
    "negate": ("x: int", "return -x", "return x", "assert candidate(3) == -3\nassert candidate(0) == 0"),
    "half": ("x: float", "return x / 2", "return x // 2", "assert abs(candidate(3.0) - 1.5) < 1e-6"),
    "digits": (
        "n: int",
        "return [int(d) for d in str(n)]",
        "return [n]",
        "for n in range(30):\n    assert candidate(n) == list(map(int, str(n))), f'wrong for {n}'",
    ),
    "is_palindrome": (
        "text: str",
        "return text == text[::-1]",
        "return True",
        "assert candidate('aba')\nassert not candidate('ab')\nassert candidate('') is True",
    ),
    "first_or_none": (
        "xs: List[int]",
        "return xs[0] if xs else None",
        "return xs[0] if xs else 0",
        "assert candidate([]) is None\nassert candidate([4, 5]) == 4",
    ),
    "count_words": (
        "text: str",
        "counts: Dict[str, int] = {}\nfor word in text.split():\n    counts[word] = counts.get(word, 0) + 1\n"
        "return counts",
        "return {word: 1 for word in text.split()}",
        "result = candidate('b a b')\nassert result == {'a': 1, 'b': 2}\nassert list(result) == ['b', 'a']",
    ),
    "sort_in_place": (
        "xs: List[int]",
        "xs.sort()",
        "sorted(xs)",
        "given = [3, 1, 2]\nassert candidate(given) is None\nassert given == [1, 2, 3]",
    ),
    "same_list": (
        "xs: List[int]",
        "xs.append(0)\nreturn xs",
        "return xs + [0]",
        "given = [1]\nassert candidate(given) is given and given == [1, 0]",
    ),
    "zero_rows": (
        "rows: List[List[int]]",
        "for row in rows:\n    row[:] = [0] * len(row)\nreturn rows",
        "return [[0] * len(row) for row in rows]",
        "rows = [[1, 2], [3]]\nfirst = rows[0]\ncandidate(rows)\nassert first == [0, 0] and rows[0] is first",
    ),
    "apply_all": (
        "functions, x",
        "for function in functions:\n    x = function(x)\nreturn x",
        "return functions[0](x)",
        "assert candidate([lambda x: x + 1, str, lambda s: s * 2], 4) == '55'\nassert candidate([abs], -1) == 1",
    ),
    "adder": (
        "n: int",
        "return lambda x: x + n",
        "return lambda x: x",
        "add = candidate(2)\nassert callable(add) and add(5) == 7 and [add(n) for n in range(2)] == [2, 3]",
    ),
    "countdown": (
        "n: int",
        "while n:\n    yield n\n    n -= 1",
        "yield from range(n)",
        "import types\nsteps = candidate(3)\nassert isinstance(steps, types.GeneratorType)\n"
        "assert next(steps) == 3\nassert list(steps) == [2, 1]\nassert list(steps) == []",
    ),
    "safe_root": (
        "x: float",
        "if x < 0:\n    raise ValueError(f'{x} is negative')\nreturn x ** 0.5",
        "return abs(x) ** 0.5",
        "assert candidate(4) == 2\ntry:\n    candidate(-1)\nexcept ValueError as error:\n"
        "    assert str(error) == '-1 is negative'\nelse:\n    assert False, 'nothing was raised'",
    ),
    "pair": (
        "x: int",
        "return x, x + 1",
        "return [x, x + 1]",
        "assert type(candidate(1)) is tuple\nassert candidate(1) == (1, 2)\na, b = candidate(5)\nassert a + b == 11",
    ),
    "unique": (
        "xs: List[int]",
        "return sorted(set(xs))",
        "return xs",
        "import random\nfor _ in range(20):\n    xs = [random.randint(0, 9) for _ in range(9)]\n"
        "    assert candidate(list(xs)) == [x for x in range(10) if x in xs]",
    ),
    "power_of_two": (
        "n: int",
        "return 2 ** n",
        "return 2.0 ** n",
        "assert candidate(200) == 1 << 200\nassert str(candidate(70)) == '1180591620717411303424'",
    ),
    "not_a_number": (
        "x: float",
        "return float('nan')",
        "return 0.0",
        "import math\nresult = candidate(1)\nassert math.isnan(result) and result != result",
    ),
    "shout": (
        "text: str",
        "print(text.upper())\nreturn len(text)",
        "print(text)\nreturn len(text)",
        "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n"
        "    assert candidate('ab') == 2\nassert out.getvalue() == 'AB\\n'",
    ),
    "ring": (
        "x: int",
        "ring: list = [x]\nring.append(ring)\nreturn ring",
        "return [x, [x]]",
        "ring = candidate(1)\nassert ring[1] is ring and ring[1][1][0] == 1",
    ),
    "groups": (
        "xs: List[List[int]]",
        "return {frozenset(x) for x in xs}",
        "return {tuple(x) for x in xs}",
        "assert candidate([[1, 2], [2, 1], [3]]) == {frozenset({1, 2}), frozenset({3})}",
    ),
    "near": (
        "a: float, b: float",
        "return a / b",
        "return a // b",
        "assert is_near(candidate(1, 3), 0.33333333)\nassert all(is_near(candidate(n, 7), n / 7) for n in range(9))",
    ),
}
HELPER = "def is_near(a, b):\n    return abs(a - b) < 1e-6\n"


def in_humanevals_form(name: str, body: str, called: bool = True) -> Program:
    """A prompt with imports and docstring, its completion, METADATA and check(candidate)."""
    parameters, _, _, check = TASKS[name]
    code = (
        "from typing import Dict, List\n\n\n"
        f'def {name}({parameters}):\n    """ Do {name}.\n    >>> {name}(1)\n    """\n{textwrap.indent(body, "    ")}\n'
    )
    tests = f"\n\nMETADATA = {{\n    'author': 'us',\n    'dataset': 'test'\n}}\n\n{HELPER}\n\ndef check(candidate):\n"
    tests += textwrap.indent(check, "    ") + (f"\n\ncheck({name})\n" if called else "\n")
    return Program(code, (tests,), name)


@pytest.mark.parametrize("name", TASKS)
def test_a_task_in_humanevals_form_tells_right_from_wrong(sandbox, name):
    _, right, wrong, _ = TASKS[name]
    bodies = [right, wrong, "return []" if name == "sort_in_place" else "return None"]
    verdicts = sandbox.grade([in_humanevals_form(name, body) for body in bodies])
    assert [verdict.label for verdict in verdicts] == ["correct", "incorrect", "incorrect"], verdicts
    assert verdicts[1].failed_test is not None


@pytest.mark.parametrize("name", list(TASKS)[:5])
def test_a_check_that_nobody_calls_is_called(sandbox, name):
    _, right, wrong, _ = TASKS[name]
    verdicts = sandbox.grade([in_humanevals_form(name, body, called=False) for body in (right, wrong)])
    assert [verdict.label for verdict in verdicts] == ["correct", "incorrect"]


EVALPLUS = """import numpy as np

def is_floats(x) -> bool:
    if isinstance(x, float):
        return True
    if isinstance(x, (list, tuple)) and x:
        return all(isinstance(i, float) for i in x)
    if isinstance(x, np.ndarray):
        return x.dtype == np.float64 or x.dtype == np.float32
    return False

def assertion(out, exp, atol):
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if out != exp and atol != 0:
        assert np.allclose(out, exp, rtol=1e-07, atol=atol)
    else:
        assert out == exp, f"out: {out}, exp: {exp}"
"""
LOOPS = {
    "in check": "def check(candidate):\n    inputs = {inputs}\n    results = {results}\n"
    "    for i, (inp, exp) in enumerate(zip(inputs, results)):\n        assertion(candidate(*inp), exp, 0)\ncheck(f)\n",
    "flat": "inputs = {inputs}\nresults = {results}\nfor inp, exp in zip(inputs, results):\n"
    "    assertion(f(*inp), exp, 0)\n",
    "with a reference": "def check(candidate):\n    inputs = {inputs}\n    for i, inp in enumerate(inputs):\n"
    "        assertion(candidate(*inp), ref_func(*inp), 0)\n\n\ndef ref_func(*args):\n"
    "    return dict(zip(map(repr, {inputs}), {results}))[repr(list(args))]\n\ncheck(f)\n",
}


@pytest.mark.parametrize("form", LOOPS)
@pytest.mark.parametrize(
    ("right", "wrong", "inputs", "results"),
    [
        ("n * n", "n + n", [[n] for n in range(200)], [n * n for n in range(200)]),
        ("n / 3", "n // 3", [[1], [2]], [1 / 3 + 1e-9, 2 / 3]),
        ("[x / 3 for x in n]", "n", [[[1.0, 2.0]], [[3.0]]], [[1 / 3, 2 / 3 + 1e-9], [1.0]]),
        ("tuple(sorted(n))", "sorted(n)", [[[3, 1]], [[]]], [(1, 3), ()]),
    ],
)
def test_evalpluss_loops_tell_right_from_wrong(judged, form, right, wrong, inputs, results):
    tests = EVALPLUS + LOOPS[form].format(inputs=inputs, results=results)
    assert judged(f"def f(n): return {right}", tests).label == "correct"
    assert judged(f"def f(n): return {wrong}", tests).label == "incorrect"


NODE = "class Node:\n    def __init__(self, value, next=None):\n        self.value, self.next = value, next\n"
TO_NODES = "def f(xs):\n    head = None\n    for x in reversed(xs): head = Node(x, head)\n    return head"


def test_a_class_of_the_setup_is_there_for_the_program(judged):
    walk = "node, found = f([1, 2]), []\nwhile node:\n    found.append(node.value)\n    node = node.next\n"
    assert judged(TO_NODES, walk + "assert found == [1, 2]", setup=NODE).label == "correct"
    assert judged(TO_NODES, walk + "assert found == [2, 1]", setup=NODE).label == "incorrect"
    assert judged(TO_NODES, "assert isinstance(f([1]), Node)", setup=NODE).label == "correct"


def test_a_table_of_the_setup_never_reaches_the_program(judged):
    setup, test = "table = {1: 5017}", "assert f(1) == table[1]"
    assert judged("def f(n): return 5017", test, setup=setup).label == "correct"
    verdict = judged("def f(n): return table[n]", test, setup=setup)
    assert verdict.label == "unsupported" and "table" in verdict.message
    search = "import gc, sys\ndef f(n):\n    for module in list(sys.modules.values()):\n"
    search += "        if hasattr(module, 'table'): return module.table[n]\n    return globals().get('table')"
    assert judged(search, test, setup=setup).label == "incorrect"


def test_tests_may_compare_with_a_reference_solution(sandbox):
    test = "import random\nfor _ in range(9):\n    n = random.randint(0, 99)\n    assert f(n) == reference(n)"

    def verdict(code: str, reference: str):
        return sandbox.submit(Program(code, (test,), "f", reference=reference)).result()

    right = "def f(n): return n + 1"
    assert verdict("def f(n): return 1 + n", right).label == "correct"
    assert verdict("def f(n): return n", right).label == "incorrect"
    assert verdict("def f(n): return reference(n)", right).error == "name_error"
    assert verdict(right, "def f(n)").label == verdict(right, "def g(n): return 1").label == "unsupported"


def test_labels_are_the_same_at_every_level(open_at, sandbox):
    programs = [in_humanevals_form(name, body) for name in list(TASKS)[::3] for body in TASKS[name][1:3]]
    with open_at(1, workers=1) as one, open_at(2, workers=1) as two:
        found = [each.grade(programs) for each in (one, two, sandbox)]
    texts = [[(v.label, v.error, v.failed_test, v.message) for v in verdicts] for verdicts in found]
    assert texts[0] == texts[1] == texts[2]
