"""Covers the statistics of phase 3.4: intervals over problems and not over heads, tests, random directions."""

import json

import numpy as np
import pytest
from scipy.stats import binom

from common.evaluation.bootstrap import draws_of_problems
from common.handoffs.document import as_json
from phase3_validation.attention.movement import displaced, movement

SECTIONS = ("first_token", "description", "tests", "marker")
TESTS = SECTIONS.index("tests")


def simulated(n_problems: int = 40, n_layers: int = 3, n_heads: int = 2, shift: float = 0.5, seed: int = 0):
    """Attention before and after, where every head of the layers after the first looks more at the tests."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_problems, n_layers, n_heads, 4))
    moved = logits + rng.normal(size=logits.shape) * 0.1
    moved[..., TESTS] += shift + rng.normal(size=(n_problems, 1, 1)) * 0.5
    moved[:, 0] = logits[:, 0]
    return tuple(np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (logits, moved))


def moved_by(before: np.ndarray, after: np.ndarray, n_random: int = 4, **changes) -> dict:
    rng = np.random.default_rng(9)
    options = {
        "displaced_by_random": [rng.random(len(before)) * 0.01 for _ in range(n_random)],
        "changes_by_random": rng.normal(size=(n_random, *before.shape[1:])) * 0.01,
        "layers": list(range(5, 5 + before.shape[1])),
        "sections": SECTIONS,
        "first_reached": 6,
        "draws": draws_of_problems(len(before), 2000, 1),
    }
    return as_json(movement(before, after, **{**options, **changes}))


def test_moves_agree_with_a_bootstrap_and_ranks_written_as_loops():
    before, after = simulated()
    by_random = np.random.default_rng(4).normal(size=(19, 3, 2, 4)) * 0.03
    found = moved_by(before, after, changes_by_random=by_random)
    places = [(layer, head, section) for layer in (5, 6, 7) for head in (0, 1) for section in SECTIONS]
    assert [(m["layer"], m["head"], m["section"]) for m in found["moves"]] == places
    rng, n_found, heads = np.random.default_rng(77), 0, set()
    for (layer, head, section), move in zip(places, found["moves"], strict=True):
        values = [x[:, layer - 5, head, SECTIONS.index(section)] for x in (before, after)]
        change = values[1] - values[0]
        for name, own in (("before", values[0]), ("after", values[1]), ("change", change)):
            assert move[name]["value"] == pytest.approx(own.mean())
            means = [own[rng.integers(0, len(own), len(own))].mean() for _ in range(1000)]
            wide = own.std() / len(own) ** 0.5
            assert move[name]["low"] == pytest.approx(np.quantile(means, 0.025), abs=0.3 * wide)
            assert move[name]["high"] == pytest.approx(np.quantile(means, 0.975), abs=0.3 * wide)
        if layer == 5:
            assert move["rank"] is None and move["change"] == {"value": 0, "low": 0, "high": 0}
            continue
        others = [abs(one[layer - 5, head, SECTIONS.index(section)]) for one in by_random]
        assert move["rank"] == 1 + sum(other >= abs(change.mean()) for other in others)
        if move["rank"] == 1 and not move["change"]["low"] <= 0 <= move["change"]["high"]:
            n_found, heads = n_found + 1, heads | {(layer, head)}
    assert (found["n_found"], found["n_heads_moved"]) == (n_found, len(heads)) and 0 < n_found < 16
    assert found["n_heads"] == 4 and found["n_compared"] == 16
    for place, move in enumerate(found["overall"]):
        own = (after - before)[:, 1:, :, place].mean()
        assert move["rank"] == 1 + sum(abs(one[1:, :, place].mean()) >= abs(own) for one in by_random)


def test_copies_of_heads_make_no_interval_narrower():
    before, after = simulated()
    once, often = moved_by(before, after), moved_by(*(np.repeat(x, 20, axis=2) for x in (before, after)))
    for entry in ("pooled", "overall"):
        for one, many in zip(once[entry], often[entry], strict=True):
            for name in ("before", "after", "change"):
                assert list(one[name].values()) == pytest.approx(list(many[name].values()))
    assert list(once["displaced"].values()) == pytest.approx(list(often["displaced"].values()))
    alike = [move for move in often["moves"] if move["layer"] == 6 and move["section"] == "tests" and move["head"] < 20]
    assert len({json.dumps(move["change"]) for move in alike}) == 1


def test_more_problems_make_intervals_narrower_and_copies_of_problems_are_more_problems():
    before, after = simulated()
    few, many = moved_by(before, after), moved_by(*(np.repeat(x, 9, axis=0) for x in (before, after)))
    lengths = [
        found["overall"][TESTS]["change"]["high"] - found["overall"][TESTS]["change"]["low"] for found in (few, many)
    ]
    assert lengths[1] == pytest.approx(lengths[0] / 3, rel=0.1)


def test_pooled_figures_are_means_over_heads():
    before, after = simulated()
    found = moved_by(before, after)
    for move in found["pooled"]:
        place = (slice(None), move["layer"] - 5, slice(None), SECTIONS.index(move["section"]))
        assert move["change"]["value"] == pytest.approx((after - before)[place].mean())
    for move in found["overall"]:
        assert move["after"]["value"] == pytest.approx(after[:, 1:, :, SECTIONS.index(move["section"])].mean())
    assert found["displaced"]["value"] == pytest.approx(np.abs(after - before)[:, 1:].sum(-1).mean() / 2)


def test_what_is_displaced_is_the_share_that_changes_its_section():
    before = np.array([[[[0.1, 0.2, 0.3, 0.4]]], [[[0.25, 0.25, 0.25, 0.25]]]])
    after = np.array([[[[0.1, 0.4, 0.1, 0.4]]], [[[0.0, 0.0, 0.5, 0.5]]]])
    assert displaced(before, after) == pytest.approx([0.2, 0.5])


def test_the_direction_is_ranked_among_random_ones():
    before, after = simulated()
    own = float(displaced(before[:, 1:], after[:, 1:]).mean())
    others = [np.full(len(before), own + step) for step in (-0.01, 0.01, 0.02, -0.02, -0.03)]
    ranked = moved_by(before, after, displaced_by_random=others)["random_directions"]
    assert (ranked["n"], ranked["n_as_much"], ranked["rank_p"]) == (5, 2, 0.5)


def test_a_direction_like_the_random_ones_is_beyond_all_of_them_in_one_pair_of_twenty():
    """Every one of them moves every head, and a test of each head alone would call all of it significant."""
    n_found = n_compared = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before = rng.dirichlet(np.ones(4), size=(60, 2, 4))
        changes = rng.normal(size=(20, 2, 4, 4)) * 0.02
        found = moved_by(before, before + changes[0], changes_by_random=changes[1:], first_reached=5)
        n_found, n_compared = n_found + found["n_found"], n_compared + found["n_compared"]
    assert n_compared == 640 and binom.ppf(0.005, 640, 1 / 20) <= n_found <= binom.ppf(0.995, 640, 1 / 20)


def test_nothing_can_move_behind_the_last_attention():
    before, after = simulated(n_layers=1)
    found = moved_by(before, before, displaced_by_random=[])
    assert found["overall"] == [] and found["displaced"] is None and found["n_heads"] == 0
    assert all(move["rank"] is None for move in found["moves"]) and found["n_found"] == found["n_compared"] == 0
