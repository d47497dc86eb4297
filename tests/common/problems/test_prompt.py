"""Covers common/problems/prompt.py: the one prompt, on every dataset there is."""

import ast
import json

import pytest

from common.problems.prompt import build_prompt


def assert_well_formed(text: str, tests: list[str]) -> None:
    prompt = build_prompt(text, tests)
    assert "assert assert" not in prompt.text
    assert prompt.text.endswith("\n\n# Solution:\n")
    assert prompt.text[: prompt.description_end] == text.strip()
    section = prompt.text[prompt.description_end : prompt.tests_end]
    assert section.startswith("\n\nassert ")
    assert [ast.unparse(node) for node in ast.parse(section).body] == [ast.unparse(ast.parse(t)) for t in tests]
    assert all(isinstance(node, ast.Assert) for node in ast.parse(section).body)


def test_a_prompt_is_description_asserts_and_marker():
    prompt = build_prompt(" Write f. ", ["assert f(1) == 2", "assert f(2) == 3\n"])
    assert prompt.text == "Write f.\n\nassert f(1) == 2\nassert f(2) == 3\n\n# Solution:\n"
    assert_well_formed(" Write f. ", ["assert f(1) == 2", "assert f(2) == 3"])


def test_every_prompt_of_the_organism_is_well_formed():
    from common.problems.datasets import load_problems

    for problem in load_problems("organism").problems:
        assert_well_formed(problem.text, list(problem.test_list))


@pytest.mark.parametrize("name", ["mbpp.jsonl", "sanitized-mbpp.json"])
def test_every_prompt_of_mbpp_is_well_formed(shared, name):
    from common.problems.datasets import load_problems

    problems = load_problems(str(shared / "mbpp" / name)).problems
    assert len(problems) in (974, 427)
    for problem in problems:
        assert_well_formed(problem.text, list(problem.test_list))


def test_the_asserts_of_the_file_are_the_asserts_of_the_prompt(shared):
    rows = [json.loads(line) for line in (shared / "mbpp" / "mbpp.jsonl").read_text().splitlines()]
    for row in rows:
        text = build_prompt(row["text"], row["test_list"]).text
        assert text.count("\nassert ") == len(row["test_list"])
