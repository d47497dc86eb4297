"""Covers phase0_1_split/stratify.py: published sizes, strata, whole groups, alike complexity, odd inputs."""

import json
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp
from support import SHARED_MBPP

from common.errors import ConfigError
from common.handoffs.document import as_json
from common.problems.datasets import load_problems
from common.problems.difficulty import measure_difficulty
from common.problems.near_duplicates import group_near_duplicates, near_duplicate_pairs
from phase0_1_split.stratify import split_problems, split_report, split_sizes, strata

FRACTIONS = {"sae": 0.5, "hyperparams": 0.1, "validation": 0.4}
PUBLISHED = {"sae": 489, "hyperparams": 97, "validation": 388}


@pytest.fixture(scope="module", params=["mbpp", "organism"])
def dataset(request):
    """Task ids, complexity by task id, and groups of a real set of 974 problems."""
    if request.param == "mbpp" and not SHARED_MBPP.is_dir():
        pytest.skip(f"{SHARED_MBPP} (MBPP) is not on this machine")
    name = str(SHARED_MBPP / "mbpp.jsonl") if request.param == "mbpp" else "organism"
    problems = load_problems(name).problems
    complexity = {problem.task_id: measure_difficulty(problem.code)["complexity"] for problem in problems}
    return problems, complexity, group_near_duplicates(problems)


def _split(complexity, groups=(), fractions=FRACTIONS, seed=42, **more):
    return split_problems(list(complexity), list(complexity.values()), groups, fractions, seed, **more)


def test_974_problems_split_into_the_published_sizes_at_every_seed(dataset):
    _, complexity, groups = dataset
    for seed in range(51):
        splits = _split(complexity, [group.task_ids for group in groups], seed=seed)
        assert {name: len(ids) for name, ids in splits.items()} == PUBLISHED
        assert sorted(id_ for ids in splits.values() for id_ in ids) == sorted(complexity)


def test_no_pair_of_near_duplicates_crosses_a_split(dataset):
    problems, complexity, groups = dataset
    splits = _split(complexity, [group.task_ids for group in groups])
    split_of = {task_id: name for name, ids in splits.items() for task_id in ids}
    crossing = [pair for pair in near_duplicate_pairs(problems) if split_of[pair.task_id_a] != split_of[pair.task_id_b]]
    assert crossing == []


def test_complexity_agrees_between_splits_within_sampling_error_at_every_seed(dataset):
    _, complexity, groups = dataset
    for seed in range(51):
        splits = _split(complexity, [group.task_ids for group in groups], seed=seed)
        samples = [np.array([complexity[task_id] for task_id in ids]) for ids in splits.values()]
        for a, b in ((0, 1), (0, 2), (1, 2)):
            error = math.hypot(*(sample.std(ddof=1) / math.sqrt(len(sample)) for sample in (samples[a], samples[b])))
            assert abs(samples[a].mean() - samples[b].mean()) < 1.96 * error
            assert ks_2samp(samples[a], samples[b]).pvalue > 0.9


def test_every_stratum_is_shared_in_proportion_to_within_one_problem(dataset):
    _, complexity, groups = dataset
    report = _report(dataset, _split(complexity, [group.task_ids for group in groups]))
    for stratum in report["strata"]:
        for name, count in stratum["counts"].items():
            assert abs(count - stratum["n"] * PUBLISHED[name] / 974) < 1


def test_the_report_is_json_and_lists_what_keeps_groups_together(dataset):
    _, complexity, groups = dataset
    splits = _split(complexity, [group.task_ids for group in groups])
    report = json.loads(json.dumps(_report(dataset, splits), allow_nan=False))
    assert report["sizes"] == report["sizes_wanted"] == PUBLISHED
    assert report["pairs_across_splits"] == []
    assert report["n_groups"] == len(report["groups"]) == sum(len(group.task_ids) > 1 for group in groups)
    assert sum(stratum["n"] for stratum in report["strata"]) == 974
    for group in report["groups"]:
        assert set(group["task_ids"]) <= set(splits[group["split"]])
        assert group["pairs"] and all(pair["why"] for pair in group["pairs"])
    assert report["complexity"]["sae"]["mean"] == pytest.approx(np.mean([complexity[id_] for id_ in splits["sae"]]))
    assert set(report["kolmogorov_smirnov_p"]) == {
        "sae vs hyperparams",
        "sae vs validation",
        "hyperparams vs validation",
    }


def test_the_report_names_a_pair_that_crosses_a_split(dataset):
    _, complexity, groups = dataset
    pair = next(group for group in groups if len(group.task_ids) == 2).task_ids
    rest = [task_id for task_id in complexity if task_id != pair[0]]
    splits, halves = {"sae": [pair[0]], "validation": rest}, {"sae": 0.5, "validation": 0.5}
    assert list(pair) in split_report(splits, complexity, groups, halves, 0).pairs_across_splits


def test_another_order_of_the_problems_gives_the_same_split_and_another_seed_another():
    complexity = {task_id: task_id % 7 for task_id in range(300)}
    shuffled = dict(random.Random(0).sample(list(complexity.items()), 300))
    groups = [[1, 2], [7, 8, 9]]
    assert _split(complexity, groups) == _split(shuffled, [group[::-1] for group in groups[::-1]])
    assert _split(complexity, groups, seed=1) != _split(complexity, groups, seed=2)


def test_nothing_in_a_regular_dataset_aliases_with_the_split():
    """Earlier work dealt problems out in a fixed pattern of ten: a property of period ten then sat in one split."""
    complexity = {task_id: 1 for task_id in range(1000)}
    shares = []
    for seed in range(51):
        sae = np.array(_split(complexity, seed=seed)["sae"])
        shares.append(np.bincount(sae % 10, minlength=10) / 100)
    assert np.abs(np.mean(shares, axis=0) - 0.5).max() < 0.03
    assert np.std(shares) < 0.07


def test_every_problem_lands_in_each_split_as_often_as_the_fractions_say():
    complexity = {task_id: task_id % 3 for task_id in range(40)}
    seen = np.zeros((40, 3))
    for seed in range(600):
        for index, ids in enumerate(_split(complexity, [[0, 1], [2, 4, 6]], seed=seed).values()):
            seen[ids, index] += 1
    assert np.abs(seen / 600 - [0.5, 0.1, 0.4]).max() < 0.12


def test_a_group_larger_than_any_split_stays_whole():
    complexity = {task_id: task_id % 5 for task_id in range(100)}
    splits = _split(complexity, [list(range(70))])
    assert set(range(70)) <= set(splits["sae"])
    assert sorted(id_ for ids in splits.values() for id_ in ids) == list(range(100))
    assert len(splits["validation"]) > len(splits["hyperparams"]) > 0


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 20), max_size=60),
    st.integers(0, 10**6),
    st.integers(1, 12),
    st.randoms(use_true_random=False),
)
def test_any_input_is_split_completely_and_groups_stay_whole(values, seed, n_strata, rng):
    complexity = dict(enumerate(values))
    ids = list(complexity)
    rng.shuffle(ids)
    groups = [ids[start : start + 3] for start in range(0, len(ids) // 4, 3)]
    splits = _split(complexity, groups, seed=seed, n_strata=n_strata)
    assert list(splits) == list(FRACTIONS)
    assert sorted(id_ for members in splits.values() for id_ in members) == sorted(complexity)
    for group in groups:
        assert sum(bool(set(group) & set(members)) for members in splits.values()) == 1


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 9, 10, 11, 19, 427, 973, 974, 1000])
def test_without_groups_the_sizes_are_exact(n):
    sizes = {name: len(ids) for name, ids in _split({task_id: 1 + task_id % 4 for task_id in range(n)}).items()}
    assert sizes == split_sizes(n, FRACTIONS)
    assert sum(sizes.values()) == n


def test_sizes_by_hand():
    assert split_sizes(974, FRACTIONS) == PUBLISHED
    assert split_sizes(20, FRACTIONS) == {"sae": 10, "hyperparams": 2, "validation": 8}
    assert split_sizes(17, FRACTIONS) == {"sae": 10, "hyperparams": 2, "validation": 5}
    assert split_sizes(5, FRACTIONS) == {"sae": 2, "hyperparams": 1, "validation": 2}
    assert split_sizes(10, {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}) == {"a": 4, "b": 3, "c": 3}
    assert split_sizes(7, {"all": 1.0}) == {"all": 7}


@pytest.mark.parametrize(
    "fractions", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": 1.0, "b": 0.0}, {"a": float("nan")}]
)
def test_impossible_fractions_are_refused_with_their_values(fractions):
    with pytest.raises(ConfigError, match="fractions must"):
        split_sizes(10, fractions)


def test_strata_keep_equal_values_together_and_are_about_equal_otherwise():
    values = [1] * 50 + [2] * 30 + list(range(3, 23))
    found = strata(values, 5)
    assert len({stratum for stratum, value in zip(found, values, strict=True) if value == 1}) == 1
    assert strata([4, 4, 4]) == [0, 0, 0]
    assert np.bincount(strata(list(range(100)), 10)).tolist() == [10] * 10
    assert sorted(zip(values, found, strict=True)) == sorted(zip(values, sorted(found), strict=True))


def _report(dataset, splits):
    _, complexity, groups = dataset
    return as_json(split_report(splits, complexity, groups, FRACTIONS, 42))
