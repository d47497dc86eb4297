"""Covers which tests are plain, what of a setup the program needs, and which function the tests are about."""

import pytest

from common.sandbox import infer_entry_point
from common.sandbox.plain import VALUE_NAME, plain_tests
from common.sandbox.setup_code import split_setup


def planned(*tests: str, setup: str = "", entry_point: str | None = "f"):
    return plain_tests(tests, setup, entry_point)


@pytest.mark.parametrize(
    ("test", "call", "value"),
    [
        ("assert f(1) == 2", "f(1)", 2),
        ("assert 2 == f(1)", "f(1)", 2),
        ("assert f([1, (2,)], key={'a': {3}}) == {1}", "f([1, (2,)], key={'a': {3}})", {1}),
        ("assert sorted(f(3)) == [1, 2, 3]", "f(3)", [3, 1, 2]),
        ("assert abs(f(-1) - 0.5) < 1e-9", "f(-1)", 0.5),
        ("assert not f(2)", "f(2)", 0),
        ("assert 1 < f(1) <= 3", "f(1)", 3),
        ("assert f(2) is None", "f(2)", None),
        ("assert True is f(2) is not None", "f(2)", True),
        ("assert isinstance(f(2), int)", "f(2)", 1),
        ("assert 5 in f(2), 'a message'", "f(2)", [5]),
    ],
)
def test_an_assert_on_one_call_with_literals_is_plain(test, call, value):
    plan = planned(test)
    assert plan is not None
    (only,) = plan.tests
    assert (only.text, only.call) == (test, call) and eval(only.condition, {VALUE_NAME: value})


def test_several_asserts_in_one_test_are_named_one_by_one():
    plan = planned("import math\n'''doc'''\nassert f(1) == 2\nassert math.isclose(f(2), 3.0)")
    assert plan is not None and plan.imports == "import math"
    assert [test.text for test in plan.tests] == ["assert f(1) == 2", "assert math.isclose(f(2), 3.0)"]


def test_a_function_called_like_a_builtin_is_the_programs_only_as_the_entry_point():
    assert planned("assert sum(1, 2) == 3", entry_point="sum") is None
    plan = planned("assert sum(f(1)) == 3")
    assert plan is not None and plan.tests[0].call == "f(1)"


@pytest.mark.parametrize(
    "test",
    [
        "assert f(1) == f(2)",
        "assert f(f(1)) == 2",
        "assert f(x) == 2",
        "assert f(1) == expected",
        "assert f(*[1]) == 2",
        "assert f(**{'a': 1}) == 2",
        "assert f(1).upper() == 'A'",
        "assert f(1)[0] == 'A'",
        "assert f([1, 2] * 9) == 2",
        "assert ''.join(f(2)) == 'ab'",
        "assert f(lambda x: x) == 2",
        "assert [x for x in f(3)] == [4]",
        "assert (n := f(1)) == 2",
        "assert f'{f(1)}' == '2'",
        "assert f(1) == 2 and f(2) == 3",
        "assert print(f(1)) is None",
        "assert eval('1') == f(1)",
        "assert np.allclose(f(1), 2)",
        "assert math.isclose(f(1), 2)",
        "assert str == f(1).__class__",
        "assert f(1000) is 1000",
        "assert 1 < f(1) is not (1, 2)",
        "assert True",
        "f(1)",
        "x = f(1)\nassert x == 1",
        "for n in range(3):\n    assert f(n) == n",
        "def check(candidate):\n    assert candidate(1) == 2\ncheck(f)",
        "assert f(1) == (2",
        "",
    ],
)
def test_what_python_might_evaluate_in_another_way_is_not_plain(test):
    assert planned(test) is None


def test_one_test_that_is_not_plain_makes_all_run_as_they_are_written():
    assert planned("assert f(1) == 2", "x = 1") is None
    assert planned("assert f(1) == 2", setup="table = {1: 2}") is None
    assert planned("assert f(1) == 2", setup="import math") is not None


NODE = "class Node:\n\n    def __init__(self, value):\n        self.value = value"


def test_a_class_of_the_setup_goes_to_the_program_that_uses_it():
    given, kept, refused = split_setup(f"{NODE}\nroot = Node(1)", "def f(x):\n    return Node(x)")
    assert (given, kept, refused) == (NODE, "root = Node(1)", None)


def test_a_class_that_the_program_does_not_use_stays_with_the_tests():
    assert split_setup(NODE, "def f(node):\n    return node.value") == ("", NODE, None)
    own = "class Node:\n    pass\ndef f():\n    return Node()"
    assert split_setup(NODE, own) == ("", NODE, None)


def test_what_the_given_class_uses_itself_goes_with_it():
    setup = "class Leaf:\n    pass\n\ndef make():\n    return Leaf()\nother = 3"
    given, kept, refused = split_setup(setup, "def f():\n    return make()")
    assert ("class Leaf" in given, "def make" in given, kept, refused) == (True, True, "other = 3", None)
    given, _, refused = split_setup("limit = 3\ndef make():\n    return limit", "def f():\n    return make()")
    assert given == "" and refused is not None and "limit" in refused


def test_imports_of_the_setup_count_for_both_sides():
    setup = "import math\ntable = {1: 2}"
    assert split_setup(setup, "def f(x):\n    return math.pi") == ("import math", setup, None)


@pytest.mark.parametrize(
    "setup", ["table = {1: 2}", "table: dict = {1: 2}", "for table in [{1: 2}]:\n    pass", "a, *table = range(3)"]
)
def test_a_value_of_the_setup_never_reaches_the_program(setup):
    given, kept, refused = split_setup(setup, "def f(x):\n    return table[x]")
    assert (given, kept) == ("", "") and refused is not None and "table" in refused
    assert split_setup(setup, "def f(x):\n    return x") == ("", setup, None)


def test_a_setup_or_program_without_syntax_stays_whole():
    assert split_setup("table = (", "def f(): return table") == ("", "table = (", None)
    assert split_setup("table = 1", "def f(: return table") == ("", "table = 1", None)


@pytest.mark.parametrize(
    ("code", "tests", "name"),
    [
        ("def g(x): pass\ndef f(x): pass", ["assert f(1) == 2"], "f"),
        ("def g(x): pass", ["assert sorted(g(f(1))) == []"], "g"),
        ("def sum(a, b): pass", ["assert sum(10, 15) == 6"], "sum"),
        ("import math\ndef area(r): pass", ["assert math.isclose(area(1), 3.1)"], "area"),
        ("def f(x)\n broken", ["assert f(1) == 2"], "f"),
        ("f = lambda x: x", ["assert set(f(1)) == set()"], "f"),
        ("", ["assert f(1) == 2"], "f"),
        ("", ["from math import isclose", "assert isclose(1, 1)"], None),
        ("def f(x): pass", [], None),
    ],
)
def test_the_entry_point_is_the_name_the_tests_call(code, tests, name):
    assert infer_entry_point(code, tests) == name
