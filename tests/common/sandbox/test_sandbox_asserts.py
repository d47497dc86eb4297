"""Covers how asserts are split between the program and the judge, and which function they are about."""

import pytest

from common.sandbox import infer_entry_point
from common.sandbox.asserts import plan_tests


def expressions(*tests: str, setup: str = "", entry_point: str = "f") -> list[tuple[str, ...]]:
    return [step.expressions for step in plan_tests(tests, setup, entry_point).steps]


@pytest.mark.parametrize(
    ("test", "sent"),
    [
        ("assert f(1) == 2", ("f(1)",)),
        ("assert sorted(f(3), key=lambda x: -x) == [3, 2, 1]", ("f(3)",)),
        ("assert f(2)[0].upper() == 'A'", ("f(2)[0].upper()",)),
        ("assert abs(f(1) - 0.5) < 1e-9", ("f(1)",)),
        ("assert f(1) == f(2)", ("f(1)", "f(2)")),
        ("assert 1 < f(1) <= 3 and not f(0)", ("f(1)", "f(0)")),
        ("assert [2 * x for x in f(3) if x > 1] == [4]", ("f(3)",)),
        ("assert [f(x) for x in (1, 2)] == [2, 3]", ("[f(x) for x in (1, 2)]",)),
        ("assert math.isclose(f(1), 0.5, rel_tol=1e-3)", ("f(1)",)),
        ("assert f(1) == sys.getsizeof((1, 2))", ("f(1)",)),
        ("assert P(4).area() == 16", ("P(4).area()",)),
        ("assert ''.join(f(2)) == 'ab', 'a message'", ("f(2)",)),
    ],
)
def test_only_the_candidates_part_of_an_assert_is_sent(test, sent):
    assert expressions(test) == [sent]


def test_the_expected_value_is_never_sent():
    plan = plan_tests(["expected = 5017", "assert f(1) == expected"], "", "f")
    assert "5017" not in str([(step.statements, step.expressions) for step in plan.steps])
    assert "5017" in plan.judge_source


def test_variables_that_the_candidate_reads_are_kept_by_the_child():
    plan = plan_tests(["first = [3, 1]\nxs = first\nf(xs)\nassert xs == [1, 3]"], "", "f")
    (step,) = plan.steps
    assert step.statements == "first = [3, 1]\nxs = first\nf(xs)" and step.expressions == ("xs",)


def test_a_variable_of_the_tests_may_be_called_like_a_builtin():
    assert expressions("list = f(3)", "assert list == [1, 2, 3]") == [("list",)]


def test_a_function_may_be_called_like_a_builtin():
    assert expressions("assert sum(1, 2) == 3", entry_point="sum") == [("sum(1, 2)",)]
    assert expressions("assert sum(f(1)) == 3") == [("f(1)",)]


def test_modules_that_the_program_must_have_imported_are_listed():
    assert plan_tests(["assert math.isclose(f(1), 1)"], "", "f").required_names == ("math",)
    assert plan_tests(["assert math.isclose(f(1), 1)"], "import math", "f").required_names == ()


def test_humanevals_check_function_is_read_as_its_asserts():
    check = (
        "def check(candidate):\n    '''doc'''\n    want = 3\n    assert candidate(1) == want\n"
        "    assert candidate(2) == 4\n"
    )
    assert expressions(check + "\ncheck(f)") == [("f(1)",), ("f(2)",)]


@pytest.mark.parametrize(
    "test",
    [
        "for n in range(3):\n    assert f(n) == n",
        "assert f(1) == (2",
        "assert (n := f(1)) == 2",
        "assert all(f(n) == n for n in (1, 2))",
        "try:\n    f(1)\n    assert False\nexcept ValueError:\n    pass",
    ],
)
def test_what_cannot_be_split_is_unsupported(test):
    (step,) = plan_tests([test], "", "f").steps
    assert step.unsupported


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
