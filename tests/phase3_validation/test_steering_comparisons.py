"""Covers the comparison with controls: verdicts on planted effects and on none, exact tests, Holm, power."""

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from common.interventions import comparisons
from common.interventions.comparisons import compare_direction, fisher_p, holm, judge_family, mcnemar_p, verdict
from common.interventions.power import binomial_p, rate_to_beat, smallest_effect

N, K = 80, 10


def simulated(rng, before: list[bool], correction: float, corruption: float, degenerate: float = 0.0) -> list[dict]:
    """Programs after steering: each that failed passes with probability `correction`, and so on."""
    after = [rng.random() >= corruption if passed else rng.random() < correction for passed in before]
    return [row(k, passed, rng.random() < degenerate) for k, passed in enumerate(after)]


def row(task_id: int, passed: bool, degenerate: bool = False) -> dict:
    return {"task_id": task_id, "label": "correct" if passed else "incorrect", "degenerate": degenerate, "kl": 0.1}


def family(seed: int, wanted: str, own: tuple[float, ...], others, n: int = N, n_controls: int = K) -> dict:
    """One direction with its controls; `own` and what `others()` gives are rates of correction and corruption."""
    rng = np.random.default_rng(seed)
    before = [k % 2 == 0 for k in range(n)]
    controls = {
        kind: {index: simulated(rng, before, *others(rng)) for index in range(n_controls)}
        for kind in ("matched_latent", "random_direction")
    }
    unsteered = [row(k, passed) for k, passed in enumerate(before)]
    found = {"steer": {"wanted": wanted} | compare_direction(unsteered, simulated(rng, before, *own), controls, wanted)}
    judge_family(found)
    return found["steer"]


@pytest.mark.parametrize(
    ("wanted", "own", "others", "expected"),
    [
        ("raise", (0.6, 0.02), (0.05, 0.05), "raises the pass rate"),
        ("lower", (0.02, 0.7), (0.05, 0.1), "lowers the pass rate"),
        ("lower", (0.02, 0.6), (0.02, 0.6), "changes the pass rate, but no more than its controls"),
        ("raise", (0.02, 0.7), (0.05, 0.1), "changes the pass rate, but against what was wanted"),
        ("raise", (0.05, 0.05), (0.05, 0.05), "no measurable effect"),
        ("lower", (0.02, 0.7, 0.2), (0.05, 0.1), "breaks the output; lowers the pass rate"),
        ("lower", (0.05, 0.05, 0.2), (0.05, 0.05), "breaks the output; no measurable effect"),
    ],
)
def test_what_was_planted_is_what_the_verdict_says(wanted, own, others, expected):
    for seed in range(5):
        assert family(seed, wanted, own, lambda _rng: others)["verdict"] == expected


def test_a_direction_beside_few_controls_is_not_called_an_effect():
    for n_controls, expected in (
        (9, "changes the pass rate; too few controls to say more"),
        (10, "raises the pass rate"),
    ):
        found = family(0, "raise", (0.6, 0.02), lambda _rng: (0.05, 0.05), n_controls=n_controls)
        assert found["verdict"] == expected


def test_where_no_program_could_be_judged_there_is_no_rank():
    unjudged = [{**row(k, True), "label": "not_run"} for k in range(6)]
    passed = [row(k, True) for k in range(6)]
    for own, control in ((unjudged, passed), (passed, unjudged)):
        controls = {kind: {0: control} for kind in ("matched_latent", "random_direction")}
        found = compare_direction(passed, own, controls, "raise")["controls"]["matched_latent"]
        assert found["rank"] is None and found["rank_p"] is None and found["fisher_p"] is None


def spread_out(rng) -> tuple[float, float]:
    """A vector of no particular meaning; how much it breaks differs from vector to vector."""
    return rng.beta(1, 20), rng.beta(1.5, 6)


def test_one_vector_among_others_is_called_an_effect_in_at_most_five_per_cent_of_runs():
    """The direction is drawn as its controls are; they differ by more than chance, which the rank guards against."""
    n_runs, n_called, n_fisher = 200, 0, 0
    for seed in range(n_runs):
        own = spread_out(np.random.default_rng(10_000 + seed))
        found = family(seed, "lower", own, spread_out, n=60)
        n_called += found["verdict"].endswith("lowers the pass rate")
        n_fisher += found["controls"]["matched_latent"]["fisher_p"] < 0.05
    at_most = binom.ppf(0.99, n_runs, 0.05)
    assert n_called <= at_most
    assert n_fisher > at_most  # which is why Fisher's test on pooled controls is not enough


def test_pooled_counts_ranks_and_tests_are_those_of_a_small_example():
    before = [row(k, k < 4) for k in range(10)]

    def after(n_lost: int, n_gained: int) -> list[dict]:
        return [row(k, k >= n_lost if k < 4 else k < 4 + n_gained) for k in range(10)]

    controls = {
        "matched_latent": {5: after(0, 1), 9: after(1, 0), 2: after(0, 3)},
        "random_direction": {0: after(0, 0)},
    }
    found = compare_direction(before, after(1, 4), controls, "raise")
    matched = found["controls"]["matched_latent"]
    assert found["transitions"] == {"pass_to_pass": 3, "pass_to_fail": 1, "fail_to_pass": 4, "fail_to_fail": 2}
    assert (matched["n"], matched["pooled"]["n"], matched["pooled"]["of"]) == (3, 4, 18)
    assert matched["rank"] == 2 and matched["rank_p"] == 2 / 4  # net changes 0.3 and 0.1, -0.1, 0.3: a tie counts
    assert [(c["index"], c["net_change"]) for c in matched["each"]] == [(5, 0.1), (9, -0.1), (2, 0.3)]
    assert matched["fisher_p"] == pytest.approx(fisher_exact([[4, 2], [4, 14]], alternative="greater").pvalue)
    assert matched["binomial_p"] == pytest.approx(binom.sf(3, 6, 4 / 18))
    random = found["controls"]["random_direction"]
    assert random["pooled"]["n"] == 0 and random["binomial_p"] == pytest.approx(binom.sf(3, 6, 0.5 / 7))
    assert random["rank"] == 1 and random["rank_p"] == 1 / 2


def test_to_lower_the_pass_rate_corruptions_are_what_counts():
    before = [row(k, k < 6) for k in range(10)]
    own, control = [row(k, 4 <= k < 6) for k in range(10)], [row(k, 1 <= k < 6) for k in range(10)]
    found = compare_direction(before, own, {"matched_latent": {0: control}}, "lower")
    assert found["controls"]["matched_latent"]["pooled"] | {"rate": 0} == {"n": 1, "of": 6, "rate": 0}
    assert found["controls"]["matched_latent"]["rank"] == 1
    assert found["controls"]["matched_latent"]["fisher_p"] == pytest.approx(
        fisher_exact([[4, 2], [1, 5]], alternative="greater").pvalue
    )


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (1, 0), (3, 9), (9, 3), (4, 4), (0, 12)])
def test_mcnemar_is_that_of_statsmodels(gained, lost):
    table = [[20, lost], [gained, 30]]
    assert mcnemar_p(gained, lost) == pytest.approx(float(mcnemar(table, exact=True).pvalue))


def test_a_test_that_cannot_be_done_counts_in_the_family_and_stays_none():
    assert fisher_p(0, 0, 3, 10) is None and fisher_p(1, 4, 0, 0) is None
    assert holm([0.02, None]) == [0.04, None] and holm([]) == []


def test_holm_s_adjustment_is_that_of_statsmodels():
    rng = np.random.default_rng(4)
    for p_values in ([0.01, 0.04, 0.03], [0.2], [0.5, 0.5, 0.9], *rng.uniform(0, 0.1, (3, 5)).tolist()):
        assert holm(p_values) == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_holm_is_over_the_directions_that_were_run():
    def entry(wanted, own, seed):
        return family(seed, wanted, own, lambda _rng: (0.05, 0.1))

    both = {
        "a": entry("lower", (0.02, 0.7), 1),
        "b": entry("raise", (0.3, 0.1), 2),
        "c": {"verdict": "cannot be steered"},
    }
    judge_family(both)
    p = sorted(both[name]["mcnemar_p"] for name in "ab")
    assert sorted(both[name]["p_holm"]["mcnemar"] for name in "ab") == pytest.approx([2 * p[0], max(2 * p[0], p[1])])
    assert both["c"] == {"verdict": "cannot be steered"}


def test_the_verdict_asks_for_all_three_at_once():
    def entry(change=-0.3, mcnemar=0.001, fisher=0.001, rank=1, random_rank=1, newly=0.0, wanted="lower"):
        return {
            "wanted": wanted,
            "p_holm": {"mcnemar": mcnemar, "fisher": fisher},
            "effect": {"net_change": {"value": change}, "newly_degenerate": {"rate": {"value": newly}}},
            "controls": {"matched_latent": {"n": K, "rank": rank}, "random_direction": {"n": K, "rank": random_rank}},
        }

    assert verdict(entry()) == comparisons.DOES["lower"]
    for weaker in ({"fisher": 0.05}, {"fisher": None}, {"rank": 2}, {"random_rank": 2}):
        assert verdict(entry(**weaker)) == comparisons.NO_MORE
    assert verdict(entry(mcnemar=0.05)) == comparisons.NOTHING == verdict(entry(change=None, newly=None))
    assert verdict(entry(change=0.3)) == comparisons.UNWANTED
    assert verdict(entry(change=0.3, wanted="raise")) == comparisons.DOES["raise"]
    assert verdict(entry(newly=0.05)).startswith(comparisons.BREAKS)
    assert not verdict(entry(newly=0.049)).startswith(comparisons.BREAKS)


def test_nothing_is_ever_tested_against_a_rate_of_zero():
    assert rate_to_beat(0, 50) == 0.5 / 51 and rate_to_beat(3, 50) == 0.06 and rate_to_beat(0, 0) is None
    assert binomial_p(1, 20, rate_to_beat(0, 50)) > 0.1  # one correction is no proof
    assert binomial_p(0, 0, 0.1) is None and binomial_p(1, 5, None) is None


@pytest.mark.parametrize(("of", "against"), [(20, 0.1), (50, 0.02), (160, 0.3)])
def test_the_smallest_effect_is_found_with_eighty_per_cent_power_and_a_smaller_one_is_not(of, against):
    found = smallest_effect(of, against, "corrected")["rate"]
    needed = next(k for k in range(of + 1) if binomial_p(k, of, against) <= 0.05)
    assert binom.sf(needed - 1, of, found) == pytest.approx(0.8, abs=1e-6)
    assert binom.sf(needed - 1, of, found - 0.01) < 0.8
    rng = np.random.default_rng(0)
    drawn = rng.binomial(of, found, 20_000)
    assert np.mean(drawn >= needed) == pytest.approx(0.8, abs=0.015)


def test_where_nothing_could_be_shown_the_words_say_so():
    assert smallest_effect(0, 0.1, "corrected")["rate"] is None
    found = smallest_effect(2, 0.5, "corrected")
    assert found["rate"] is None and "no rate" in found["words"]
    assert "12 programs that could be corrupted" in smallest_effect(12, 0.1, "corrupted")["words"]
