"""Covers real programs: every MBPP reference, 62 programs of Gemma-2-2b, mutants against plain asserts, the corpus."""

import json
import random
from collections import Counter

import ordinary_python
import pytest
from mutations import mutated
from support import swept

from common.sandbox import Limits, Program, infer_entry_point


def mbpp_program(problem: dict, code: str | None = None) -> Program:
    tests = tuple(problem["test_list"])
    entry_point = infer_entry_point(problem["code"], tests)
    return Program(problem["code"] if code is None else code, tests, entry_point, problem["test_setup_code"])


@pytest.fixture(scope="module")
def full(open_at, best_level):
    """A sandbox with the limits that experiments use."""
    with open_at(best_level, Limits(), workers=2) as sandbox:
        yield sandbox


@pytest.mark.sweep
def test_all_974_reference_solutions_are_correct(full, mbpp):
    assert len(mbpp) == 974
    slow = [problem for problem in mbpp if problem["task_id"] == 123]  # it needs seconds
    chosen = slow + random.Random(0).sample([problem for problem in mbpp if problem not in slow], swept(973, 250))
    verdicts = full.grade([mbpp_program(problem) for problem in chosen])
    assert [verdict for verdict in verdicts if verdict.label != "correct"] == []
    assert full.describe()["near_limit_count"] <= 1


def test_all_62_labels_of_gemma_programs_are_the_published_ones(full, mbpp, shared):
    lines = (shared / "mbpp" / "gemma_generations.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    problems = {problem["task_id"]: problem for problem in mbpp}
    verdicts = full.grade([mbpp_program(problems[row["task_id"]], row["generated_code"]) for row in rows])
    assert [verdict.label == "correct" for verdict in verdicts] == [row["passed"] for row in rows] and len(rows) == 62


N_MUTANTS = 80


def mutants(problems: list[dict], count: int) -> list[tuple[dict, str]]:
    rng = random.Random(0)
    chosen = []
    while len(chosen) < count:
        problem = rng.choice(problems)
        code = mutated(problem["code"], rng)
        if code is not None:
            chosen.append((problem, code))
    return chosen


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_mutants_get_the_label_of_plain_asserts(open_at, best_level, mbpp):
    chosen = mutants([problem for problem in mbpp if problem["task_id"] != 123], N_MUTANTS)
    plain = [ordinary_python.passes(mbpp_program(problem, code)) for problem, code in chosen]
    with open_at(best_level, Limits(cpu_s=2, blocked_s=5)) as sandbox:
        verdicts = sandbox.grade([mbpp_program(problem, code) for problem, code in chosen])
    pairs = Counter((passed, verdict.label) for passed, verdict in zip(plain, verdicts, strict=True))
    assert set(pairs) <= {(True, "correct"), (False, "incorrect"), (None, "incorrect")}, pairs
    assert pairs[True, "correct"] > 5 and pairs[False, "incorrect"] > 50


def test_the_adversarial_corpus_is_labelled_as_expected(sandbox, shared, tmp_path):
    """Quick rows only: those that need ten seconds each have their own tests, with smaller limits."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "secret.txt").write_text("token")
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    canary = tmp_path / "dir" / "canary.txt"
    canary.write_text("alive")
    rows = [json.loads(line) for line in (shared / "adversarial" / "corpus.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["expect"] != "timeout" and row["id"] not in ("g02_cpu1s", "o02_flood_fd")]
    futures = []
    for row in rows:
        code = row["code"].replace("@CANARY_DIR@", str(canary.parent)).replace("@CANARY_HOME@", str(tmp_path / "home"))
        futures.append(sandbox.submit(Program(code, tuple(row["tests"]), row["entry_point"])))
    words = {"correct": "pass", "incorrect": "fail"}
    wrong = {}
    for row, future in zip(rows, futures, strict=True):
        verdict = future.result()
        expected = row["expect"] if isinstance(row["expect"], list) else [row["expect"]]
        if words.get(verdict.label) not in expected and sandbox.isolation.level >= 2:
            wrong[row["id"]] = verdict
    assert wrong == {}
    assert canary.read_text() == "alive" and [path.name for path in canary.parent.iterdir() if path.name != "sub"] == [
        "canary.txt"
    ]
