"""Covers programs and tests that other graders judged wrong: all of ../shared/cases/grading.jsonl."""

import json

import pytest
from support import SHARED

from common.sandbox import Program, infer_entry_point

CASES = SHARED / "cases" / "grading.jsonl"


def rows() -> list[dict]:
    if not CASES.is_file():
        return []
    return [row for row in map(json.loads, CASES.read_text().splitlines()) if row["kind"] == "grade"]


@pytest.mark.skipif(not CASES.is_file(), reason=f"{CASES} is not on this machine")
@pytest.mark.parametrize("row", rows(), ids=lambda row: row["name"])
def test_a_case_that_graders_get_wrong_has_its_label(sandbox, row):
    given = row["input"]
    code, tests = given["code"], tuple(given["tests"])
    entry_point = given.get("entry_point") or infer_entry_point(code, tests)
    program = Program(code, tests, entry_point, given.get("setup", ""))
    verdict = sandbox.submit(program).result()
    assert verdict.label in row["expected"].split(", or "), verdict
