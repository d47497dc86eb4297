"""Covers common/problems/extraction.py on answers of chat and reasoning models: every form gives the program, and
stopping early at any character does not change it.
"""

import json
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_answers import ADD, ANSWERS, HELPER, MAIN, USER, WRONG, fenced
from support import SHARED, swept

from common.problems import blocks
from common.problems.extraction import extract_program, solution_end

CASES = SHARED / "cases" / "grading.jsonl"
MARKS = [
    "```",
    "````",
    "~~~",
    "<think>",
    "</think>",
    "[BEGIN]",
    "[DONE]",
    "[/PYTHON]",
    "<answer>",
    "<|im_end|>",
    "</s>",
]
PIECES = [
    *sorted({piece for answer in ANSWERS.values() for piece in re.split(r"(?<=\n)(?=\S)", answer)}),
    *MARKS,
    *(f"{mark}\n" for mark in MARKS),
    "# Problem 2\n",
    '"""Given a."""\n',
    "It's (\n",
    "x = 1  # it's ",
    "return a[",
    " `",
]


def add_of(program: str):
    scope: dict = {}
    exec(program, scope)
    return scope["add"]


def assert_stopping_changes_nothing(text: str) -> bool:
    """Whether generation stops anywhere in the text: then from there on, at the same end and with the same program."""
    program, end = extract_program(text, "add"), None
    for length in range(len(text) + 1):
        early_end = solution_end(text[:length], "add")
        assert end in (None, early_end), text[:length]
        end = early_end
        assert end is None or extract_program(text[:length], "add") == program, text[:length]
    return end is not None


@pytest.mark.parametrize("after", ["", "\nIt adds (two numbers.\n"], ids=["whole", "with words after it"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_every_form_of_answer_gives_a_program_that_adds(answer, after):
    assert add_of(extract_program(answer + after, "add"))(2, 3) == 5


@pytest.mark.parametrize("answer", [text for text in ANSWERS.values() if len(text) < 1000])
def test_stopping_in_an_answer_does_not_change_its_program(answer):
    assert_stopping_changes_nothing(answer + "\nIt adds (two numbers.\n")


@settings(max_examples=swept(1000, 30), deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.booleans(), st.lists(st.sampled_from(PIECES), max_size=8), st.sampled_from([0, 30, 1000]))
def test_stopping_in_any_mixture_of_forms_does_not_change_the_program(begins_with_code, pieces, corrected_within):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "CORRECTED_WITHIN", corrected_within)
        assert_stopping_changes_nothing(ADD * begins_with_code + "".join(pieces))


@pytest.mark.skipif(not CASES.is_file(), reason=f"{CASES} is not on this machine")
def test_the_known_cases_of_extraction_are_as_expected():
    cases = [json.loads(line) for line in CASES.read_text().splitlines()]
    cases = [case for case in cases if case["kind"] == "extract"]
    assert len(cases) > 10
    for case in cases:
        text, name, test = (case["input"][key] for key in ("text", "entry_point", "test"))
        assert case["expected"].startswith("passes"), case["name"]
        scope: dict = {}
        exec(extract_program(text, name), scope)
        exec(test, scope)
        if len(text) < 1000:
            assert_stopping_changes_nothing(text)


@pytest.mark.parametrize("thought", [f"<think>\nMaybe\n{fenced(ADD)}Or", f"<think>{ADD}", "<think>\n"])
def test_a_thought_without_end_holds_no_program(thought):
    assert extract_program(thought, "add") == "" and solution_end(thought, "add") is None


@pytest.mark.parametrize(
    "text",
    [
        f"{ADD}\nThis function adds.\n",
        f"import math\n\n{ADD}```\n",
        f"<think>\nHm.\n</think>\n\nSo:\n\n{ADD}\nThis function adds.\n",
        f"{fenced(ADD)}It adds.\n" + "And adds.\n" * blocks.CORRECTED_WITHIN,
        f"Okay.\n</think>\n{fenced(ADD)}" + "It adds.\n" * blocks.CORRECTED_WITHIN,
        f"Sure.\n{fenced(ADD)}It's done.<|im_end|>\n",
        f"{USER}\n{MAIN}    add(1, 2)\n\n{HELPER}\nprint(add(1, 2))\n",
        f"{USER}\n# Given a and b\n{HELPER}\n# Problem 2\ndef other():\n    pass\n",
    ],
)
def test_generation_stops_where_an_answer_is_over(text):
    end = solution_end(text, "add")
    assert end is not None and add_of(extract_program(text[:end], "add"))(2, 3) == 5


@pytest.mark.parametrize(
    "text",
    [
        f"{fenced(ADD)}It adds.\n",
        f"Okay, so:\n\n{ADD}\nThis function adds.\n",
        f"<think>\n{ADD}\nThis function adds.\n",
        f"Sure:\n{fenced(ADD)}" + "It adds.\n" * blocks.CORRECTED_WITHIN,
        f"{fenced(ADD)}```python\n" + "x = 1\n" * blocks.CORRECTED_WITHIN,
        f"{USER}\n{MAIN}    add(1, 2)\n",
        f"{USER}\n# Problem: a may be None\n{HELPER}",
    ],
)
def test_generation_goes_on_while_a_thought_or_correction_may_come(text):
    assert solution_end(text, "add") is None


def test_a_name_that_was_forgotten_is_not_taken_from_the_next_problem():
    text = "def add(a, b):\n    return math.fsum([a, b])\n\n# Problem 2: roots\nimport math\n\nprint(math.sqrt(4))\n"
    assert extract_program(text, "add") == "def add(a, b):\n    return math.fsum([a, b])\n"
    assert text[: solution_end(text, "add")].endswith("b])\n\n")


def test_a_broken_version_gives_way_to_one_that_parses():
    broken = "def add(a, b:\n    return a\n"
    assert add_of(extract_program(f"{fenced(broken)}Rather:\n{fenced(ADD)}", "add"))(2, 3) == 5
    assert extract_program(fenced(broken), "add") == broken


def test_what_a_definition_looks_up_is_kept_though_it_is_computed_by_the_function():
    table = "TABLE = []\nfor i in range(3):\n    TABLE.append(add(i, i))\n\n\ndef double(i):\n    return TABLE[i]\n"
    scope: dict = {}
    exec(extract_program(f"{ADD}{table}print(double(2))\n", "add"), scope)
    assert scope["double"](2) == 4


@pytest.mark.parametrize(
    "unit",
    ["Some words (here.\n", f"{fenced(WRONG)}So:\n", "x = '''\n", "<think>\n", "[BEGIN] <code> ", "<s>", "` ``` "],
)
def test_the_cost_is_near_linear_in_the_number_of_marks(unit):
    seconds = []
    for n_units in (250, 2000):
        started = time.perf_counter()
        extract_program(unit * n_units, "add")
        seconds.append(time.perf_counter() - started)
    assert seconds[1] < 8 * 3 * seconds[0] + 0.5
