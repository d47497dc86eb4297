"""The cases of ../shared/cases/grading.jsonl that are graded, where they are beside the repository."""

import json

import pytest
from support import SHARED

from common.sandbox import Program, infer_entry_point

CASES = SHARED / "cases" / "grading.jsonl"
needs_grading_cases = pytest.mark.skipif(not CASES.is_file(), reason=f"{CASES} is not on this machine")


def graded_programs() -> dict[str, tuple[Program, list[str]]]:
    """(program, labels that it may have) by the name of each case; none where the file is missing."""
    rows = map(json.loads, CASES.read_text().splitlines()) if CASES.is_file() else []
    found = {}
    for row in rows:
        if row["kind"] == "grade":
            given = row["input"]
            code, tests = given["code"], tuple(given["tests"])
            entry_point = given.get("entry_point") or infer_entry_point(code, tests)
            program = Program(code, tests, entry_point, given.get("setup", ""))
            found[row["name"]] = program, row["expected"].split(", or ")
    return found
