"""Covers common/problems/extraction.py: what is kept of a text, where generation stops, and that stopping changes
nothing.
"""

import ast
import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import SHARED_MBPP, needs_shared_mbpp

from common.problems.datasets import load_problems
from common.problems.extraction import extract_program, solution_end
from common.problems.lines import lines_of
from common.problems.program import longest_prefix
from common.problems.syntax import parse_python

ADD = "def add(a, b):\n    return a + b\n"

# What small models write after a solution.
JUNK = {
    "asserts": "\n\nassert add(1, 2) == 3\nassert add(0, 0) == 0\n",
    "asserts in brackets": "\nassert (add(1, 2)\n    == 3)\n",
    "prints": "\n# Test cases\nprint(add(1, 2))  # 3\n",
    "prose": "\nThis function returns the sum of (two numbers.\nIt's easy.\n",
    "a list in prose": "\n1. First we add\n- then return\n",
    "a heading": "\n## Explanation\n\nThe function adds.\n",
    "another solution": "\n\n# Solution:\ndef add(a, b):\n    return 0\n",
    "a second definition": "\n\ndef add(a, b):\n    return 0\n",
    "a decorated second definition": "\n\n@cache\ndef add(a, b):\n    return 0\n",
    "the next problem": "\n\n# Write a function to multiply\ndef multiply(a, b):\n    return a * b\n",
    "the next problem in a string": '\n"""\nWrite a function to multiply.\n"""\ndef multiply(a):\n    return a\n',
    "the end of a fence": "\n```\nHere `a + b` is returned.\n",
    "a main block": "\nif __name__ == '__main__':\n    add(1, 2)\n",
    "a loop of prints": "\nfor i in range(2):\n    print(add(i, i))\n",
    "a result": "\nresult = add(1, 2)\nprint(result)\n",
    "a bare call": "\nadd(1, 2)\n",
    "a session": "\n>>> add(1, 2)\n3\n",
    "an indented line": "\nx = 1\n    y = 2\n",
    "a stray return": "\nreturn add\n",
    "an unfinished function": "\ndef multiply(a, b):\n    return (a *",
    "an unfinished string": '\nNOTE = """Write',
}

# What may still belong, or shows only when generation has ended.
GOES_ON = {
    "a loop of prints",
    "an indented line",
    "a stray return",
    "a result",
    "an unfinished function",
    "an unfinished string",
}

PIECES = [
    "import math\n",
    "from typing import List\n",
    "LIMIT = 10\n",
    "TABLE = {\n  'a': 1,\n}\n",
    ADD,
    "def add(a, b):\n    '''Adds.\n\nassert add(1, 2) == 3\n```\n'''\n"
    "    if a:\n        return b\n# Test if b\n    return a\n",
    "def add(a, b):\n    return helper(\na, b)\n",
    "def add(a, b):\n    return (a +\n",
    "def add(a, b):\n",
    "async def add(a):\n    return a\n",
    "add = lambda a, b: a\n",
    "@cache\ndef add(a, b): return a\n",
    "class add:\n    def run(self):\n        pass\n",
    "def helper(a, b):\n    return a\n",
    "@cache\n",
    "@cache(\n  1)\n",
    "if a:\n    b = 1\nelse:\n    b = 2\n",
    "try:\n    import numpy\nexcept ImportError:\n    numpy = None\n",
    "text = 'it\\\n  s'\n",
    "total = 1 + \\\n  2\n",
    "\n",
    "\n\n",
    "   \n",
    "\t\n",
    "\f\n",
    "\fx = 1\n",
    " \n\f\n",
    "\r\n",
    "\r",
    "x = 1\r\nassert x\r\n",
    "\0",
    "é = 'ü'\n",
    "值 = 1\n",
    "  y = 2\n",
    "    return a\n",
    "y: int\n",
    "y: int = 3\n",
    "return 1\n",
    "'''\n",
    '"""\n',
    "'",
    "(",
    ")",
    "[\n",
    "}\n",
    "\\",
    "#",
    "# note\n",
    "# Test cases:\n",
    "# Solution:\n",
    "# Testosterone\n",
    "# Write a helper\n",
    "'''Example: x'''\n",
    "'''text'''\n",
    "```python\n",
    "```\n",
    "  ```\n",
    "    ```python\n",
    "- ```py\n",
    "~~~\n",
    "~~~python\n",
    "    def add(a, b):\n        return helper(a)\n",
    "    import math\n",
    "``",
    "`",
    "assert add(1, 2) == 3\n",
    "assertion = 1\n",
    "print(add(1, 2))\n",
    "print (1)\n",
    "printer = 1\n",
    "print x\n",
    "add(1, 2)\n",
    "adder(1)\n",
    "add",
    "This is prose.\n",
    "Here's the code:\n",
    "match x:\n    case 1: pass\n",
    "match = 1\n",
    "type X = int\n",
    "Output: 5\n",
    "for i in range(3):\n    print(i)\n",
    "if __name__ == '__main__':\n    print(1)\n",
    "if __name",
    ">>> 1\n",
    "x; y\n",
]


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), max_size=9), st.sampled_from([0, 1, 2]))
def test_stopping_early_at_any_character_does_not_change_the_program(pieces, n_definitions_first):
    text = ADD * min(n_definitions_first, 1) + "".join(pieces)
    end = solution_end(text, "add")
    program = extract_program(text, "add")
    for length in range(len(text) + 1):
        early_end = solution_end(text[:length], "add")
        if early_end is not None:
            assert early_end == end
            assert extract_program(text[:length], "add") == program


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.text(alphabet="ad(=)'\"\\#:\n\r \t\f\0`@é,x1", max_size=40), st.sampled_from(["add", "x", "", "(", "a.d"]))
def test_no_text_crashes_extraction(text, entry_point):
    end = solution_end(ADD + text, entry_point)
    assert end is None or 0 <= end <= len(ADD + text)
    assert isinstance(extract_program(ADD + text, entry_point), str)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from(PIECES), max_size=9))
def test_the_kept_prefix_is_the_longest_that_parses(pieces):
    text = "".join(pieces)
    lines = [line.text for line in lines_of(text)]
    longest = 0
    for n_lines in range(len(lines) + 1):
        try:
            parse_python("\n".join(lines[:n_lines]) + "\n")
        except SyntaxError:
            continue
        longest = n_lines
    assert longest_prefix(lines)[0] == lines[:longest]


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_what_follows_the_solution_is_dropped(junk):
    assert _same_program(extract_program(ADD + junk, "add"), ADD, but=["x = 1", "NOTE"])


@pytest.mark.parametrize("name", [name for name in JUNK if name not in GOES_ON])
def test_generation_stops_at_the_first_line_that_cannot_belong(name):
    end = solution_end(ADD + JUNK[name], "add")
    assert end is not None
    assert (ADD + JUNK[name])[:end].strip() == ADD.strip()


@pytest.mark.parametrize(
    "beginning", ["assert ", "assert(", "print(", "add(", "```", ">>> ", "if __name__ ", "def add(", "This function "]
)
def test_generation_stops_before_the_line_is_finished(beginning):
    assert solution_end(ADD + "\n" + beginning, "add") == len(ADD) + 1


@pytest.mark.parametrize(
    "beginning",
    [
        "a",
        "assert",
        "print",
        "prin",
        "if",
        "if __name",
        "def ad",
        "def adder(",
        "``",
        "This",
        "# Solution:\n",
        "x = ",
        "else",
    ],
)
def test_generation_goes_on_while_the_line_may_still_belong(beginning):
    assert solution_end(ADD + "\n" + beginning, "add") is None


@pytest.mark.parametrize(
    "more",
    [
        "def helper(a):\n    return a\n",
        "async def helper(a):\n    return a\n",
        "class Helper:\n    limit = 3\n",
        "@functools.cache\ndef helper(a):\n    return a\n",
        "import math\nfrom math import pi\n",
        "LIMIT = 10\nA, B = 1, 2\nTABLE: dict = {\n1: 2,\n}\n",
        "double = functools.partial(add, 1)\n",
        "if True:\n    LIMIT = 1\nelif False:\n    LIMIT = 2\nelse:\n    LIMIT = 3\n",
        "try:\n    import numpy\nexcept ImportError:\n    numpy = None\nfinally:\n    pass\n",
        "sys.setrecursionlimit(5000)\n",
        "# Test if a number is even\ndef helper(a):\n    return a % 2 == 0\n",
        "'''Notes on the helper.'''\ndef helper(a):\n    return a\n",
        "TEXT = '''\nassert add(1, 2) == 3\nprint(1)\n```\nThis is prose.\n'''\n",
        "ITEMS = [\nprint,\nadd(1, 2),\n]\n",
        "total = 1 + \\\nadd(1, 2)\nmatch = 3\n",
    ],
)
@pytest.mark.parametrize("place", ["before", "after"])
def test_imports_helpers_classes_and_constants_are_kept_on_both_sides(more, place):
    text = ADD + "\n\n" + more + "LAST = 1\n" if place == "after" else more + "\n\n" + ADD
    assert _same_program(extract_program(text + JUNK["asserts"], "add"), text)


def test_a_comment_at_column_0_inside_a_body_ends_nothing():
    body = "def add(a, b):\n    a += b\n# Solution: go on\n    a -= 1\n# Test the rest\n\n# of it\n    return a + 1\n"
    assert _same_program(extract_program(body + JUNK["asserts"], "add"), body)


def test_decorators_and_default_arguments_over_several_lines_are_kept():
    text = "@decorated(\n    1,\n)\ndef add(\na,\nb=(1,\n2),\n):\n    return a\n"
    assert _same_program(extract_program(text + JUNK["prose"], "add"), text)


def test_the_program_is_the_last_fence_that_holds_the_function():
    before = "Sure! Here's (the code:\n\n```bash\npip install numpy\n```\n\n"
    wrong = ADD.replace("+", "-")
    answer = f"{before}```python\n{wrong}```\nor rather\n```python\nimport math\n\n{ADD}\n```\nas in\n```\n3\n```\n"
    assert extract_program(answer, "add") == "import math\n\n" + ADD
    assert solution_end(answer, "add") is None


def test_a_fence_that_is_never_closed_still_gives_the_program():
    assert extract_program(f"```python\n{ADD}", "add") == ADD
    assert extract_program(f"```py\r\n{ADD}\nprint(", "add") == ADD


def test_a_broken_function_stays_a_syntax_error_and_stops_generation():
    text = "def add(a, b):\n    return (a + b\n\nassert add(1, 2) == 3\n"
    assert solution_end(text, "add") == text.index("assert")
    with pytest.raises(SyntaxError):
        ast.parse(extract_program(text, "add"))


def test_another_name_gives_a_program_without_the_function_not_a_syntax_error():
    text = "def total(a, b):\n    return a + b\n\nThis function is called total.\n"
    assert solution_end(text, "add") is None
    assert extract_program(text, "add") == "def total(a, b):\n    return a + b\n"


def test_a_function_cut_by_the_token_limit_keeps_the_lines_that_parse():
    assert (
        extract_program("def add(a, b):\n    total = a\n    return (total", "add") == "def add(a, b):\n    total = a\n"
    )


def test_text_that_never_parses_is_the_program_as_it_is():
    assert extract_program("I cannot do that, sorry.", "add") == "I cannot do that, sorry."


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "\r", "\r\n\r\n", "\f", "\0", "\ud800", "\t\n  \n", "\u2028def add(a): pass", "'''", "(", "\\"],
)
def test_odd_texts_have_no_end_and_do_not_crash(text):
    assert solution_end(text, "add") is None
    extract_program(text, "add")


def test_windows_line_ends_give_the_same_program():
    text = ADD + "\nLIMIT = 'a\\\nb'\n" + JUNK["prints"]
    assert extract_program(text.replace("\n", "\r\n"), "add") == extract_program(text, "add")


def test_a_statement_after_a_semicolon_is_dropped_without_its_line():
    assert (
        extract_program("add = lambda a, b: a + b  ; é = 'é'; print('é')", "add")
        == "add = lambda a, b: a + b  ; é = 'é'\n"
    )


@pytest.mark.parametrize("depth", [100, 100_000])
@pytest.mark.parametrize("unit", ["(", "-", "x + ", "if x:\n", "[a", "f('", "lambda: "])
def test_deep_nesting_does_not_crash(unit, depth):
    text = ADD + unit * depth
    assert extract_program(text, "add").startswith("def add(a, b):\n    return a + b\n")


def test_the_cost_is_near_linear_in_the_length():
    block = "def helper(a):\n    return [a, 'x', {1: 2}]\n\n"
    seconds = []
    for n_blocks in (500, 4000):
        text = ADD + block * n_blocks
        started = time.perf_counter()
        assert solution_end(text, "add") is None
        seconds.append(time.perf_counter() - started)
    assert seconds[1] < 8 * 3 * seconds[0] + 0.5


@needs_shared_mbpp
def test_no_reference_solution_of_mbpp_loses_anything_but_the_junk():
    for problem in load_problems(str(SHARED_MBPP / "mbpp.jsonl")).problems:
        assert _same_program(extract_program(problem.code, problem.entry_point), problem.code), problem.task_id
        for name in ("asserts", list(JUNK)[problem.task_id % len(JUNK)]):
            junk = JUNK[name].replace("add", problem.entry_point)
            program = extract_program(problem.code + junk, problem.entry_point)
            assert _same_program(program, problem.code, but=["x = 1", "NOTE"]), (problem.task_id, name)


@needs_shared_mbpp
def test_real_generations_keep_their_published_label_with_junk_after_them():
    problems = {problem.task_id: problem for problem in load_problems(str(SHARED_MBPP / "mbpp.jsonl")).problems}
    rows = [json.loads(line) for line in (SHARED_MBPP / "gemma_generations.jsonl").read_text().splitlines()]
    assert len(rows) == 62
    for row in rows:
        problem, code = problems[row["task_id"]], row["generated_code"]
        for name in ("asserts", "prints", "prose", "another solution", "the end of a fence", "a main block"):
            junk = JUNK[name].replace("add", problem.entry_point)
            assert _same_program(extract_program(code + junk, problem.entry_point), code), (row["task_id"], name)


def _same_program(program: str, wanted: str, but: list[str] = ()) -> bool:
    """Whether two programs have equal syntax trees; lines beginning with one of `but` are left out of the first."""
    lines = [line for line in program.split("\n") if not any(line.startswith(word) for word in but)]
    return ast.dump(parse_python("\n".join(lines))) == ast.dump(parse_python(wanted))
