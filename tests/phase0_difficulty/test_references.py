"""Covers common/programs/references.py: which reference solutions phase 0 runs, and what is said of those that fail."""

import json
from pathlib import Path

import pytest
from humaneval_rows import HUMANEVAL_ROWS
from support import SHARED_MBPP, command, needs_shared_mbpp, write_problems

from common.handoffs import DIFFICULTY
from common.problems.datasets import load_problems
from common.problems.for_sandbox import program_for
from common.programs.references import FailingReference
from common.report.collect import Collected, PhaseResult
from common.runs.artifacts import Artifact
from common.runs.discovery import run_at
from common.sandbox import Sandbox
from phase0_difficulty.report import section


@pytest.fixture
def data(tmp_path) -> Path:
    return tmp_path / "data"


def _phase_0(data: Path, dataset: object, *words: object):
    return command("run.py", "phase", "0", "--dataset", dataset, *words, "--data-dir", data)


def _manifest(data: Path) -> dict:
    (path,) = data.glob("phase0/*/manifest.json")
    return json.loads(path.read_text())


@pytest.fixture
def with_mistakes(tmp_path, small_problem_rows) -> Path:
    """A hundred problems; the solution of one is wrong, that of another does not say the name that is tested."""
    rows = [dict(row) for row in small_problem_rows]
    rows[2]["code"] = "def last(x):\n    return x\n"
    rows[5]["test_list"] = ["assert add('a') == 1"]
    return write_problems(tmp_path / "mistakes.jsonl", rows)


def test_reference_solutions_that_pass_are_run_and_no_more_is_said(data, small_dataset):
    done = _phase_0(data, small_dataset)
    assert done.returncode == 0, done.stderr
    manifest = _manifest(data)
    assert manifest["failing_references"] == []
    assert manifest["processes"][0]["sandbox"]["n_programs"] == 100


def test_failing_reference_solutions_are_named_with_what_to_type(data, with_mistakes):
    done = _phase_0(data, with_mistakes)
    assert done.returncode == 2 and not list(data.glob("phase0/*/manifest.json"))
    error, advice = done.stderr.strip().split("\n")[-2:]
    assert f"{with_mistakes}: 2 of 100 reference solutions do not pass their own tests: task_id 3, 6 " in error
    assert "problem 3 is incorrect: wrong_answer, assert last([1, 2]) == [2]" in error
    assert advice.startswith("Mend or remove these rows, or go on with them: python3 run.py phase 0 --dataset ")
    assert advice.endswith("--accept-failing-references")
    assert "problem 6 is incorrect: type_error" in done.stderr + done.stdout


def test_accepted_failing_reference_solutions_stand_in_the_manifest(data, with_mistakes):
    done = _phase_0(data, with_mistakes, "--accept-failing-references")
    assert done.returncode == 0, done.stderr
    assert _manifest(data)["failing_references"] == [
        {"task_id": 3, "label": "incorrect", "error": "wrong_answer"},
        {"task_id": 6, "label": "incorrect", "error": "type_error"},
    ]
    (path,) = data.glob("phase0/*/")
    schema, run = run_at(path, (DIFFICULTY,))
    [words] = section(PhaseResult(schema, "finished", Artifact(schema, run, "")), Collected({}, data)).blocks
    assert " 2 reference solutions did not pass the problem's own tests" in str(words) and ": task_id 3 and 6." in str(
        words
    )


def test_a_pilot_runs_the_solutions_of_its_own_problems_alone(data, with_mistakes):
    done = _phase_0(data, with_mistakes, "--limit", "5")
    assert done.returncode == 0, done.stderr
    assert _manifest(data)["processes"][0]["sandbox"]["n_programs"] == 5


def test_problems_that_are_known_to_be_good_are_not_run(data):
    done = _phase_0(data, "organism")
    assert done.returncode == 0, done.stderr
    manifest = _manifest(data)
    assert "sandbox" not in manifest["processes"][0]
    # The columns' meanings stand in the table, too: another wording is another artifact for every later phase.
    assert manifest["content_sha256"].startswith("eed039cb7844")


@needs_shared_mbpp
def test_a_changed_row_of_mbpp_is_found(data, tmp_path):
    rows = [json.loads(line) for line in (SHARED_MBPP / "mbpp.jsonl").open()][600:660]
    rows[17]["test_list"][1] = rows[17]["test_list"][1].replace("==", "!=")
    done = _phase_0(data, write_problems(tmp_path / "mbpp.jsonl", rows))
    assert (
        done.returncode == 2
        and f" 1 of 60 reference solutions do not pass their own tests: task_id {601 + 17} " in (done.stderr)
    )


def test_a_long_test_is_shown_by_its_beginning():
    failing = FailingReference(7, "incorrect", "wrong_answer", "assert f(1)\n" * 1000, "got 2")
    assert str(failing) == f"problem 7 is incorrect: wrong_answer, {'assert f(1) ' * 8}asse..., got 2"


def test_all_humaneval_shaped_references_pass_in_the_sandbox(data, tmp_path):
    path = write_problems(tmp_path / "HumanEval.jsonl", HUMANEVAL_ROWS)
    done = _phase_0(data, path)
    assert done.returncode == 0, done.stderr
    with Sandbox() as sandbox:
        problems = load_problems(str(path)).problems
        wrong = [f"def {problem.entry_point}(*given):\n    return '?'\n" for problem in problems]
        programs = [program_for(problem.row(), code) for problem, code in zip(problems, wrong, strict=True)]
        assert {verdict.label for verdict in sandbox.grade(programs)} == {"incorrect"}


def test_a_release_file_of_evalplus_is_judged_beside_its_reference_in_the_sandbox(data, tmp_path):
    row = {
        "task_id": "Mbpp/900",
        "prompt": '"""\nWrite a function to double a number.\nassert double_it(3) == 6\n"""\n',
        "entry_point": "double_it",
        "canonical_solution": "\ndef double_it(n):\n    return 2 * n\n",
        "assertion": "\nassert double_it(3) == 6",
        "base_input": [[3]],
        "plus_input": [[-4], [0.5]],
        "atol": 0,
    }
    path = write_problems(tmp_path / "MbppPlus.jsonl", [row])
    done = _phase_0(data, path)
    assert done.returncode == 0, done.stderr
    problem = load_problems(str(path)).problems[0].row()
    codes = ["def double_it(n):\n    return n + n\n", "def double_it(n):\n    return abs(2 * n)\n"]
    with Sandbox() as sandbox:
        verdicts = sandbox.grade(program_for(problem, code) for code in codes)
    assert [verdict.label for verdict in verdicts] == ["correct", "incorrect"]
