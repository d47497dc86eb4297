"""Covers common/programs/solutions.py and the summary of phase 1: labels of cut-off programs, records, headline
figures.
"""

from concurrent.futures import Future

import numpy as np
import pytest

from common.handoffs import GENERATION_FIELDS, GRADING_FIELDS
from common.model.rows import Generation
from common.programs.solutions import Solution, record_rows, record_tensors, request_for, submit
from common.sandbox import Sandbox, Verdict
from phase1_dataset_building.building import summarize

PROBLEM = {
    "task_id": 7,
    "text": "Add one.",
    "test_list": ["assert f(1) == 2"],
    "test_setup_code": "",
    "entry_point": "f",
    "complexity": 1,
}


def judged(error: str | None, stop_reason: str) -> Solution:
    label = "correct" if error is None else "incorrect"
    verdict = Verdict(label, error, None, "", 0.01, 0.02, False)
    future: Future = Future()
    future.set_result(verdict)
    generation = Generation(stop_reason=stop_reason, token_ids=[5], logprobs=[-0.5], first_token_entropy=1.0)
    return Solution(generation, "", future)


@pytest.mark.parametrize("stop", ["max_new_tokens", "context_length"])
@pytest.mark.parametrize("error", ["syntax_error", "name_error"])
def test_a_program_that_the_limit_broke_is_truncated(error, stop):
    assert judged(error, stop).error == "truncated"


@pytest.mark.parametrize(
    ("error", "stop"),
    [("wrong_answer", "max_new_tokens"), ("syntax_error", "end_of_sequence"), (None, "max_new_tokens")],
)
def test_a_program_that_is_wrong_by_itself_keeps_its_error(error, stop):
    assert judged(error, stop).error == error


def test_a_record_has_exactly_the_declared_columns():
    program, grading = record_rows(request_for(PROBLEM, 42), judged(None, "end_of_sequence"))
    assert program.keys() == GENERATION_FIELDS.keys()
    assert grading.keys() >= GRADING_FIELDS.keys()


def test_vectors_are_filed_by_layer_and_position():
    resid = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensors = record_tensors(Generation(resid_post={"last": resid, "tests_end": resid + 10}))
    assert tensors["activations/layer_01/resid_post"].tolist() == [3, 4, 5]
    assert tensors["activations/layer_00/resid_post.tests_end"].tolist() == [10, 11, 12]


def test_the_program_is_taken_from_the_text_and_judged():
    text = "def f(n):\n    return n + 1\n\nassert f(1) == 3\nprint('done')\n"
    with Sandbox(workers=1) as sandbox:
        solution = submit(sandbox, PROBLEM, Generation(text=text, stop_reason="solution_complete"))
        assert solution.label == "correct" and solution.code == "def f(n):\n    return n + 1\n"


def test_programs_that_could_not_be_run_are_in_no_pass_rate():
    summary = summarize([{"label": label} for label in ("correct", "correct", "incorrect", "incorrect", "not_run")])
    assert summary["pass_rate"] == 0.5 and summary["not_run"] == 1 and summary["programs"] == 5
    low, high = summary["pass_rate_95_percent_interval"]
    assert 0 < low < 0.5 < high < 1
    assert "pass_rate" not in summarize([{"label": "not_run"}])


CODE = "def f(n):\n    return n + 1\n"


def earlier(**changes: object) -> dict:
    """A row of phase 1 that says what no sandbox would say of this program."""
    return {"code": CODE, "label": "incorrect", "error": "killed", "failed_test": "assert marked"} | changes


@pytest.mark.parametrize(
    ("row", "stop", "believed"),
    [
        (earlier(), "end_of_sequence", True),
        (earlier(code=CODE + "\n"), "end_of_sequence", False),
        (earlier(label="not_run", error=None), "end_of_sequence", False),
        (earlier(error="truncated"), "end_of_sequence", False),
        (earlier(error="truncated"), "max_new_tokens", True),
        (None, "end_of_sequence", False),
    ],
)
def test_a_program_that_was_judged_before_is_not_run_again(row, stop, believed):
    with Sandbox(workers=1) as sandbox:
        solution = submit(sandbox, PROBLEM, Generation(text=CODE, stop_reason=stop), row)
        assert sandbox.describe()["n_programs"] == (0 if believed else 1)
        assert (solution.label, solution.error) == (("incorrect", row["error"]) if believed else ("correct", None))
