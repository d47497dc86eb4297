"""Covers common/problems/difficulty.py: complexity by hand and against radon, lines and nodes by hand."""

import warnings

import pytest
from support import SHARED_MBPP, needs_shared_mbpp

from common.problems.datasets import load_problems
from common.problems.difficulty import measure_difficulty

BY_HAND = {
    "def f(x):\n    return x\n": 1,
    "def f(x):\n    if x:\n        return 1\n    return 2\n": 2,
    "def f(x):\n    if x and x > 1 or x < 0:\n        return 1\n    elif x == 2:\n        return 3\n": 5,
    "def f(x):\n    for i in x:\n        while i:\n            i -= 1\n": 3,
    "def f(x):\n    return [i for i in x if i if i > 2]\n": 4,
    "try:\n    x = 1\nexcept ValueError:\n    x = 2\nexcept KeyError:\n    x = 3\n": 3,
    "def f(x):\n    return 1 if x else 2\n": 2,
    "f = lambda x: 1 if x else 2\n": 2,
    "x = 1\n": 1,
    "": 1,
    "if 1:\n    x = 2\nfor i in []:\n    pass\n": 3,
    "def f(x):\n    def g(y):\n        def h(z):\n            return 1 if z else 2\n"
    "        return h(y) if y else 2\n    return g(x) if x else 0\n": 4,
    "def f(x):\n    return g(x) if x else 0\n\ndef g(y):\n    return 1 if y else 2\n": 3,
    "class A:\n    limit = 1 if True else 2\n    def f(self):\n        return 1 if self else 2\n"
    "    def g(self):\n        def h():\n            return 1 if self else 2\n        return h\n": 4,
    "class A:\n    class B:\n        def f(self):\n            return 1 if self else 2\n": 2,
    "async def f(x):\n    async for i in x:\n        pass\n": 2,
}


@pytest.mark.parametrize(("code", "complexity"), BY_HAND.items())
def test_complexity_is_one_plus_the_decisions_counted_by_hand(code, complexity):
    assert measure_difficulty(code)["complexity"] == complexity


def test_moving_half_a_function_into_a_helper_or_a_method_leaves_complexity_unchanged():
    whole = "def f(x):\n    if x:\n        x = 1\n    return [i for i in x if i]\n"
    halves = "def g(x):\n    return [i for i in x if i]\n\ndef f(x):\n    if x:\n        x = 1\n    return g(x)\n"
    in_class = "class A:\n    def g(self, x):\n        return [i for i in x if i]\n\n"
    method = in_class + "def f(x):\n    if x:\n        x = 1\n    return A().g(x)\n"
    assert len({measure_difficulty(code)["complexity"] for code in (whole, halves, method)}) == 1


def test_lines_are_those_that_are_neither_blank_nor_only_a_comment():
    code = '# one\nimport math\n\n\t\ndef f(x):  # kept\n    """Doc."""\n    # two\n    return math.pi\n'
    assert measure_difficulty(code)["n_lines"] == 4


def test_nodes_are_counted_with_the_module_itself():
    # Module, Assign, Name, Store, Constant
    assert measure_difficulty("x = 1\n")["n_nodes"] == 5


def test_code_that_does_not_parse_is_a_syntax_error():
    with pytest.raises(SyntaxError):
        measure_difficulty("def f(:\n")


def test_programs_of_one_function_have_exactly_radons_number():
    _assert_radon_agrees([problem.code for problem in load_problems("organism").problems], at_least=900)


def test_the_organism_states_the_same_complexity():
    for problem in load_problems("organism").problems:
        assert measure_difficulty(problem.code)["complexity"] == problem.attributes["complexity"], problem.task_id


@needs_shared_mbpp
def test_all_974_reference_solutions_of_mbpp_are_measured():
    codes = [problem.code for problem in load_problems(str(SHARED_MBPP / "mbpp.jsonl")).problems]
    rows = [measure_difficulty(code) for code in codes]
    assert len(rows) == 974
    assert all(row["complexity"] >= 1 and row["n_lines"] >= 1 and row["n_nodes"] >= row["n_lines"] for row in rows)
    assert (min(row["complexity"] for row in rows), max(row["complexity"] for row in rows)) == (1, 16)
    _assert_radon_agrees(codes, at_least=900)


def _assert_radon_agrees(codes: list[str], at_least: int) -> None:
    """Programs that are one function without closures, where radon's number needs no interpretation."""
    from radon.complexity import cc_visit

    n_compared = 0
    for code in codes:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            blocks = cc_visit(code)
        if (
            len(blocks) == 1
            and blocks[0].letter == "F"
            and not blocks[0].closures
            and code.startswith(("def", "import", "from"))
        ):
            measured = measure_difficulty(code)["complexity"]
            if "class " not in code:
                assert measured >= blocks[0].complexity
                n_compared += measured == blocks[0].complexity
    assert n_compared >= at_least
