"""Covers common/problems/near_duplicates.py: each reason for being alike, chains, and the pairs in MBPP."""

import pytest
from support import SHARED_MBPP, needs_shared_mbpp

from common.problems.datasets import Problem, load_problems
from common.problems.difficulty import measure_difficulty
from common.problems.near_duplicates import group_near_duplicates, near_duplicate_pairs
from phase0_1_split.stratify import split_problems


def _problem(task_id: int, text: str, code: str = "", entry_point: str = "f") -> Problem:
    code = code or f"def f(x):\n    return x + {task_id}\n"
    return Problem(task_id, text, code, (f"assert {entry_point}(1)",), entry_point=entry_point)


def _groups(problems, cosine=0.9):
    return [group.task_ids for group in group_near_duplicates(problems, cosine)]


def test_texts_that_differ_in_case_punctuation_and_spaces_are_the_same():
    problems = [
        _problem(1, "Find the  sum, of a list."),
        _problem(2, "find THE sum of a list"),
        _problem(3, "Reverse a word."),
    ]
    assert _groups(problems) == [(1, 2), (3,)]
    assert near_duplicate_pairs(problems)[0].reasons == ("text", "cosine")
    assert near_duplicate_pairs(problems)[0].cosine == pytest.approx(1)


def test_equal_code_under_another_name_docstring_or_layout_is_the_same():
    problems = [
        _problem(1, "Alpha.", "def f(n):\n    return f(n - 1)\n"),
        _problem(2, "Beta.", "def g(n):\n    '''Doc.'''\n    # note\n    return (g(n-1))\n", "g"),
        _problem(3, "Gamma.", "def g(n):\n    return f(n - 1)\n", "g"),
    ]
    assert _groups(problems) == [(1, 2), (3,)]
    assert near_duplicate_pairs(problems)[0].reasons == ("code",)


def test_the_cosine_is_that_of_smoothed_tf_idf_by_hand():
    from math import log, sqrt

    problems = [_problem(1, "a b"), _problem(2, "a c")]
    common, own = 1.0, log(3 / 2) + 1  # idf = ln((1 + n) / (1 + df)) + 1; terms: a, b, "a b" and a, c, "a c"
    expected = common**2 / sqrt(common**2 + 2 * own**2) ** 2
    assert near_duplicate_pairs(problems, cosine=expected - 1e-6)[0].cosine == pytest.approx(expected)
    assert near_duplicate_pairs(problems, cosine=expected + 1e-6) == []


def test_a_chain_of_pairs_is_one_group():
    problems = [
        _problem(5, "Find the sum of a list.", "def f(x):\n    return 1\n"),
        _problem(3, "Find the sum of a list!", "def f(x):\n    return 2\n"),
        _problem(9, "Reverse the word.", "def f(x):\n    return 2\n"),
    ]
    assert _groups(problems) == [(3, 5, 9)]
    assert [(pair.task_id_a, pair.task_id_b) for pair in group_near_duplicates(problems)[0].pairs] == [(3, 5), (3, 9)]


@pytest.mark.parametrize("texts", [[], ["one"], ["!", "?"], ["", "word"]])
def test_few_or_wordless_texts_are_grouped_without_failing(texts):
    groups = _groups([_problem(index, text) for index, text in enumerate(texts)])
    assert sorted(task_id for group in groups for task_id in group) == list(range(len(texts)))


def test_the_order_of_the_problems_does_not_matter():
    problems = list(load_problems("organism").problems)
    assert _groups(problems) == _groups(problems[::-1])


# Pairs whose reference solutions are equal up to names, and which lay in two splits while the names counted.
ONCE_ACROSS_SPLITS = [(49, 413), (52, 458), (64, 333), (204, 666), (451, 800), (563, 725)]


@needs_shared_mbpp
def test_mbpp_has_forty_seven_pairs_of_near_duplicates():
    problems = load_problems(str(SHARED_MBPP / "mbpp.jsonl")).problems
    pairs = [(pair.task_id_a, pair.task_id_b) for pair in near_duplicate_pairs(problems)]
    assert pairs == [
        (4, 232), (10, 496), (16, 43), (17, 716), (29, 842), (30, 338), (49, 154), (49, 413), (52, 458), (64, 333),
        (67, 608), (76, 347), (116, 439), (118, 708), (154, 413), (161, 484), (170, 649), (173, 676), (199, 388),
        (204, 666), (206, 470), (216, 872), (217, 602), (248, 704), (296, 841), (310, 538), (362, 658), (405, 703),
        (427, 928), (439, 673), (451, 800), (478, 495), (505, 632), (527, 767), (534, 607), (542, 732), (563, 725),
        (591, 625), (595, 699), (647, 956), (670, 680), (693, 892), (719, 930), (758, 779), (775, 790), (794, 879),
        (933, 965),
    ]  # fmt: skip


@needs_shared_mbpp
@pytest.mark.parametrize("name", ["mbpp.jsonl", "sanitized-mbpp.json"])
def test_no_near_duplicates_of_mbpp_lie_across_splits(name):
    problems = load_problems(str(SHARED_MBPP / name)).problems
    splits = _splits(problems)
    split_of = {task_id: split for split, task_ids in splits.items() for task_id in task_ids}
    pairs = [(pair.task_id_a, pair.task_id_b) for pair in near_duplicate_pairs(problems)]
    assert {pair for pair in ONCE_ACROSS_SPLITS if {*pair} <= split_of.keys()} <= {*pairs}
    assert [pair for pair in pairs if split_of[pair[0]] != split_of[pair[1]]] == []
    assert name != "mbpp.jsonl" or [len(task_ids) for task_ids in splits.values()] == [489, 97, 388]


def test_no_near_duplicates_of_the_organism_lie_across_splits():
    problems = load_problems("organism").problems
    split_of = {task_id: split for split, task_ids in _splits(problems).items() for task_id in task_ids}
    pairs = near_duplicate_pairs(problems)
    assert len(pairs) == 51
    assert all(split_of[pair.task_id_a] == split_of[pair.task_id_b] for pair in pairs)


def _splits(problems) -> dict[str, list[int]]:
    """As phase 0.1 makes them with its own settings."""
    groups = [group.task_ids for group in group_near_duplicates(problems, 0.9)]
    complexity = [measure_difficulty(problem.code)["complexity"] for problem in problems]
    fractions = {"sae": 0.5, "hyperparams": 0.1, "validation": 0.4}
    return split_problems([problem.task_id for problem in problems], complexity, groups, fractions, seed=42)
