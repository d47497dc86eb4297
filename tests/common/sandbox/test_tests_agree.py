"""Covers that labels are those of one ordinary Python process, and the same for plain tests as for written ones."""

import random
import textwrap
from collections import Counter

import ordinary_python
import pytest
from generated_programs import generated_program
from grading_cases import graded_programs, needs_grading_cases
from mutations import mutated
from support import swept

from common.sandbox import Limits, Program, infer_entry_point
from common.sandbox.plain import plain_tests

LARGEST_UNSUPPORTED_SHARE = 0.03
HURRIED = Limits(cpu_s=2.0, blocked_s=5.0)  # enough for nearly all; endless ones are not waited for


@pytest.fixture(scope="module")
def hurried(open_at, best_level):
    """A sandbox in which a slow machine may stop a program that needs seconds: `patient` is asked about those."""
    with open_at(best_level, HURRIED, workers=2) as sandbox:
        yield sandbox


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_labels_are_those_of_one_ordinary_process(hurried, patient):
    seeds = random.Random(0)
    programs = [generated_program(random.Random(seeds.getrandbits(64))) for _ in range(swept(2000, 60))]
    plain = [ordinary_python.passes(program) for program in programs]
    found: Counter[tuple[bool | None, str]] = Counter()
    for program, passes, verdict in zip(programs, plain, hurried.grade(programs), strict=True):
        if passes and verdict.error == "timeout":
            verdict = patient.submit(program).result()
        found[passes, verdict.label] += 1
        differs = (passes, verdict.label) in {(True, "incorrect"), (False, "correct"), (None, "correct")}
        assert not differs and verdict.label != "not_run", (program, passes, verdict)
    unsupported = sum(count for (_, label), count in found.items() if label == "unsupported")
    assert unsupported <= LARGEST_UNSUPPORTED_SHARE * found.total(), found
    right = sum(count for (passes, _), count in found.items() if passes)
    assert 0.3 * found.total() < right < 0.7 * found.total(), found


def of_problem(problem: dict, code: str) -> Program:
    tests = tuple(problem["test_list"])
    return Program(code, tests, infer_entry_point(problem["code"], tests), problem["test_setup_code"])


def as_written(program: Program) -> Program:
    """The same tests in a form that is not plain."""
    body = textwrap.indent("\n".join(program.tests), "    ")
    tests = f"def check_all():\n{body}\n\n\ncheck_all()\n"
    return Program(program.code, (tests,), program.entry_point, program.setup)


def labels(sandbox, programs: list[Program]) -> list[tuple[str, str | None]]:
    return [(verdict.label, verdict.error) for verdict in sandbox.grade(programs)]


def labelled_differently(hurried, patient, programs: list[Program]) -> list[tuple]:
    """(program, label by its plain tests, label by the written ones) where these differ, however long it may run."""

    def compared(sandbox, programs: list[Program]) -> list[tuple]:
        both = zip(labels(sandbox, programs), labels(sandbox, [as_written(one) for one in programs]), strict=True)
        return [(program, *found) for program, found in zip(programs, both, strict=True) if found[0] != found[1]]

    return compared(patient, [program for program, *_ in compared(hurried, programs)])


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_plain_tests_and_written_ones_give_one_label(hurried, patient, mbpp):
    rng = random.Random(0)
    problems = [problem for problem in mbpp if problem["task_id"] != 123]  # which needs seconds
    chosen = rng.sample(problems, swept(len(problems), 40))
    programs = [of_problem(problem, problem["code"]) for problem in chosen]
    n_mutants = swept(500, 60)
    while len(programs) < len(chosen) + n_mutants:
        problem = rng.choice(problems)
        code = mutated(problem["code"], rng)
        if code is not None:
            programs.append(of_problem(problem, code))
    assert labels(hurried, programs[: len(chosen)]) == [("correct", None)] * len(chosen)
    assert labelled_differently(hurried, patient, programs) == []


@pytest.mark.sweep
@needs_grading_cases
def test_plain_cases_that_graders_get_wrong_have_one_label_too(hurried, patient):
    programs = [
        program
        for program, _ in graded_programs().values()
        if plain_tests(program.tests, program.setup, program.entry_point) is not None
    ]
    assert len(programs) > 20
    programs = random.Random(0).sample(programs, swept(len(programs), 20))
    assert labelled_differently(hurried, patient, programs) == []
