"""Covers common/problems/extraction.py on chat answers: fences of every kind, helpers in other fences than the
function's.
"""

import pytest

from common.problems.extraction import extract_program, solution_end

ADD = "def add(a, b):\n    return a + b\n"
HELPER = "def double(a):\n    return 2 * a\n"
USER = "def add(a, b):\n    return double(a) // 2 + b\n"


def fenced(code: str, mark: str = "```", info: str = "python", indent: str = "") -> str:
    return "".join(f"{indent}{line}\n" for line in [mark + info, *code.splitlines(), mark])


def runs(program: str) -> bool:
    """Whether the program's `add` adds."""
    scope: dict = {}
    exec(program, scope)
    return scope["add"](2, 3) == 5


@pytest.mark.parametrize(
    "helper", [HELPER, f"import math\n\n{HELPER}\nprint(double(2))\n", "class A:\n    pass\n\n\n" + HELPER]
)
def test_a_helper_in_an_earlier_fence_is_kept(helper):
    answer = f"First, a helper:\n\n{fenced(helper)}\nIt doubles. Then:\n\n{fenced(USER)}\nThat's it.\n"
    program = extract_program(answer, "add")
    assert runs(program) and "print" not in program
    assert extract_program(answer[: solution_end(answer, "add")], "add") == program


def test_helpers_of_several_earlier_fences_come_in_order():
    twice = "from operator import mul\n"
    double = "def double(a):\n    return mul(a, TWO)\n"
    answer = "\nand\n".join(map(fenced, ["pip install operator", twice, "TWO = 2\n", double, USER]))
    assert runs(extract_program(answer, "add"))


def test_an_earlier_fence_that_imports_whatever_a_module_has_is_kept():
    user = "def add(a, b):\n    return iadd(a, b)\n"
    answer = f"{fenced('from operator import *')}So:\n{fenced(user)}"
    assert runs(extract_program(answer, "add"))
    assert extract_program(f"{fenced('from operator import *')}So:\n{fenced(ADD)}", "add") == ADD


@pytest.mark.parametrize(
    "other",
    [
        "add(1, 2)\n",
        "double = add(1, 2)\n",
        "double = list(map(add, [1], [2]))\n",
        "double = int(input())\nprint(double)\n",
        ">>> add(1, 2)\n3\n",
        "def plus(a, b):\n    return a + b\n",
        "import math\n",
        "assert add(1, 2) == 3\n",
        "3\n",
        "pip install numpy\n",
    ],
)
def test_an_earlier_fence_that_is_no_helper_is_left_out(other):
    answer = f"Like this:\n{fenced(other, info='')}\nSo:\n{fenced(ADD)}"
    assert extract_program(answer, "add") == ADD


@pytest.mark.parametrize("later", ["def add(a, b): ...\n", "add = None\n", "import math\nadd(1, 2)\n", "3\n"])
def test_a_later_fence_without_another_version_changes_nothing(later):
    answer = f"{fenced(HELPER)}\nSo:\n{fenced(USER)}\nOr:\n{fenced(later)}"
    assert runs(extract_program(answer, "add"))


@pytest.mark.parametrize("mark", ["```", "~~~", "````", "~~~~~"])
@pytest.mark.parametrize("info", ["", "python", " python", "python {.numberLines}", "py title='add.py'"])
@pytest.mark.parametrize("indent", ["", "  ", "    ", "\t", "      "])
def test_a_fence_of_any_kind_gives_the_program(mark, info, indent):
    answer = f"1. Write it:\n\n{fenced(ADD, mark, info, indent)}\n2. Done (or not).\n"
    assert extract_program(answer, "add") == ADD
    assert extract_program(answer[: solution_end(answer, "add")], "add") == ADD


def test_a_fence_behind_the_mark_of_a_list_gives_the_program():
    for item in ("- ", "* ", "1. ", "12) "):
        assert extract_program(f"So:\n{item}" + fenced(ADD, indent=" " * len(item)).lstrip() + "Done.\n", "add") == ADD


def test_nested_and_unclosed_fences_give_the_program():
    assert extract_program(fenced(f"# Title\n{fenced(ADD)}text", "````", "markdown"), "add") == ADD
    unclosed = f"```python\n{HELPER}\nand\n\n```python\n{USER}"
    assert runs(extract_program(unclosed, "add"))
