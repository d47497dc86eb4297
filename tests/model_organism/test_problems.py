"""Covers the procedural problems: their truth, their determinism, and what is held out of training."""

import ast
import random
from collections import Counter

import pytest

from common.problems.prompt import build_prompt
from model_organism.operations import OPERATIONS
from model_organism.problems import (
    EVALUATION,
    EVALUATION_FILE,
    EVALUATION_QUOTAS,
    TRAINING,
    contains_held_out_chain,
    evaluation_lines,
    evaluation_problems,
    is_evaluation_text,
    is_held_out_chain,
    sample_problem,
)


@pytest.fixture(scope="module")
def training_sample():
    rng = random.Random(99)
    return [sample_problem(rng, TRAINING) for _ in range(2000)]


def assert_tests_pass(code, tests):
    namespace = {}
    exec(code, namespace)
    for test in tests:
        exec(test, namespace)


def test_the_generator_reproduces_the_committed_evaluation_set_exactly():
    assert "\n".join(evaluation_lines()) + "\n" == EVALUATION_FILE.read_text(encoding="utf-8")


def test_the_same_seed_gives_the_same_problems_and_another_seed_others():
    def draw(seed):
        rng = random.Random(seed)
        return [sample_problem(rng, TRAINING) for _ in range(20)]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_every_reference_solution_of_the_evaluation_passes_its_own_asserts(held_out_rows):
    for row in held_out_rows:
        assert_tests_pass(row["code"], row["test_list"])


def test_reference_solutions_of_training_problems_pass_their_own_asserts(training_sample):
    for problem in training_sample[:500]:
        assert_tests_pass(problem.code, problem.tests)


def test_a_wrong_program_fails_the_asserts_of_almost_every_problem(held_out_rows):
    survivors = 0
    for row in held_out_rows:
        function = ast.parse(row["code"]).body[0]
        argument = function.args.args[0].arg
        try:
            assert_tests_pass(f"def {function.name}({argument}):\n    return {argument}", row["test_list"])
            survivors += 1
        except (AssertionError, NameError):
            pass
    assert survivors / len(held_out_rows) < 0.02


def test_every_operation_is_written_and_run_somewhere():
    rng = random.Random(3)
    seen = set()
    for length in (1, 2, 3):
        for _ in range(3000):
            seen.update(sample_problem(rng, EVALUATION if length == 1 else TRAINING, length).operations)
    assert len(OPERATIONS) == 362
    assert len(seen) > 0.9 * len(OPERATIONS)


def test_the_evaluation_set_has_974_different_texts_in_mbpps_schema(held_out_rows):
    assert [row["task_id"] for row in held_out_rows] == list(range(1, 975))
    assert len({row["text"] for row in held_out_rows}) == 974
    for row in held_out_rows:
        assert row["test_setup_code"] == "" and row["challenge_test_list"] == [] and len(row["test_list"]) == 3
        assert row["n_operations"] == len(row["operations"]) and set(row["operations"]) <= OPERATIONS.keys()
        assert row["rarity"] == max(OPERATIONS[name].tier for name in row["operations"])


def test_the_evaluation_set_keeps_its_quotas(held_out_rows):
    counts = Counter(row["n_operations"] for row in held_out_rows)
    for n_operations, share in EVALUATION_QUOTAS.items():
        assert counts[n_operations] == pytest.approx(974 * share, abs=1)


def test_every_prompt_parses_after_its_description(held_out_rows):
    for row in held_out_rows:
        prompt = build_prompt(row["text"], row["test_list"]).text
        assert prompt.endswith("# Solution:\n") and "assert assert" not in prompt
        ast.parse(prompt.split("\n\n", 1)[1])


def test_no_training_problem_has_an_evaluation_text_or_a_held_out_chain(training_sample):
    for problem in training_sample:
        assert not is_evaluation_text(problem.text)
        assert not contains_held_out_chain(problem.operations)


def test_every_evaluation_problem_is_held_out_by_its_text_and_by_its_chain():
    for problem in evaluation_problems():
        assert is_evaluation_text(problem.text)
        assert problem.n_operations == 1 or is_held_out_chain(problem.operations)


def test_a_chain_that_holds_a_held_out_pair_is_held_out():
    pair = next([a, b] for a in OPERATIONS for b in OPERATIONS if a != b and is_held_out_chain([a, b]))
    assert contains_held_out_chain([*pair, "sum"]) and contains_held_out_chain(["sort", "sum", *pair])
    assert not contains_held_out_chain(pair[:1])


def test_rare_operations_are_rarer_in_training_than_in_the_evaluation(training_sample, held_out_rows):
    def share(chains, tier):
        return sum(OPERATIONS[name].tier == tier for chain in chains for name in chain) / sum(map(len, chains))

    trained = [problem.operations for problem in training_sample]
    evaluated = [row["operations"] for row in held_out_rows]
    assert share(trained, "C") < share(trained, "B") < 0.05
    assert share(evaluated, "C") > 5 * share(trained, "C") and share(evaluated, "B") > 2 * share(trained, "B")
