"""Covers programs and tests that other graders judged wrong: all of ../shared/cases/grading.jsonl."""

import pytest
from grading_cases import graded_programs, needs_grading_cases


@needs_grading_cases
@pytest.mark.parametrize(("program", "allowed"), graded_programs().values(), ids=graded_programs())
def test_a_case_that_graders_get_wrong_has_its_label(sandbox, patient, program, allowed):
    verdict = (patient if "correct" in allowed else sandbox).submit(program).result()
    assert verdict.label in allowed, verdict
