"""Covers the comparison with controls: verdicts on planted effects and on none, exact tests, Holm, power."""

import math

import numpy as np
import pytest
from documents import made
from scipy.stats import binom, fisher_exact, norm
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from common.evaluation.statistics import ALPHA, Z, two_way_rate_interval
from common.handoffs.document import as_json, from_json
from common.handoffs.steering import (
    MATCHED_LATENT,
    MIN_CONTROLS,
    RANDOM_DIRECTION,
    Change,
    Compared,
    Power,
    SteeringVerdict,
)
from common.interventions.comparisons import (
    binomial_p,
    compare_direction,
    fisher_p,
    holm,
    judge_family,
    mcnemar_p,
    rate_to_beat,
    steering_verdict,
)
from common.interventions.power import power_of_verdict

N, K = 80, 19


def simulated(rng, before: list[bool], correction: float, corruption: float, degenerate: float = 0.0) -> list[dict]:
    """Programs after steering: each that failed passes with probability `correction`, and so on."""
    after = [rng.random() >= corruption if passed else rng.random() < correction for passed in before]
    return [row(k, passed, rng.random() < degenerate) for k, passed in enumerate(after)]


def row(task_id: int, passed: bool, degenerate: bool = False) -> dict:
    return {
        "task_id": task_id,
        "label": "correct" if passed else "incorrect",
        "degenerate": degenerate,
        "trajectory_kl": 0.1,
    }


def family(seed: int, wanted: str, own: tuple[float, ...], others, n: int = N, n_controls: int = K) -> dict:
    """One direction with its controls; `own` and what `others()` gives are rates of correction and corruption."""
    rng = np.random.default_rng(seed)
    before = [k % 2 == 0 for k in range(n)]
    controls = {
        kind: {index: simulated(rng, before, *others(rng)) for index in range(n_controls)}
        for kind in ("matched_latent", "random_direction")
    }
    unsteered = [row(k, passed) for k, passed in enumerate(before)]
    found = compare_direction(unsteered, simulated(rng, before, *own), controls, wanted)
    return as_json(vars(found) | vars(judge_family({"steer": found}, {"steer": wanted})["steer"]))


@pytest.mark.parametrize(
    ("wanted", "own", "others", "expected"),
    [
        ("raise", (0.6, 0.02), (0.05, 0.05), "raises the pass rate"),
        ("lower", (0.02, 0.7), (0.05, 0.1), "lowers the pass rate"),
        ("lower", (0.02, 0.6), (0.02, 0.6), "changes the pass rate, but no more than its controls"),
        ("raise", (0.02, 0.7), (0.05, 0.1), "changes the pass rate, but against what was wanted"),
        ("raise", (0.05, 0.05), (0.05, 0.05), "cannot tell (an effect of"),
        ("lower", (0.02, 0.7, 0.2), (0.05, 0.1), "breaks the output; lowers the pass rate"),
        ("lower", (0.05, 0.05, 0.2), (0.05, 0.05), "breaks the output; cannot tell (an effect of"),
    ],
)
def test_what_was_planted_is_what_the_verdict_says(wanted, own, others, expected):
    for seed in range(5):
        assert family(seed, wanted, own, lambda _rng: others)["verdict"].startswith(expected)


def test_no_effect_is_said_where_five_points_would_have_been_found():
    found = family(0, "raise", (0.01, 0.01), lambda _rng: (0.01, 0.01), n=800)
    assert found["verdict"] == "no measurable effect" and found["power"]["power"] >= 0.8
    assert found["power"]["smallest_effect"] <= 0.05


def test_a_direction_beside_few_controls_is_not_called_an_effect():
    for n_controls, expected in (
        (18, "changes the pass rate beyond all of its controls; fewer than 19 controls of a kind"),
        (19, "raises the pass rate"),
    ):
        found = family(0, "raise", (0.6, 0.02), lambda _rng: (0.05, 0.05), n_controls=n_controls)
        assert found["verdict"] == expected


def test_where_no_program_could_be_judged_there_is_no_rank():
    unjudged = [{**row(k, True), "label": "not_run"} for k in range(6)]
    passed = [row(k, True) for k in range(6)]
    for own, control in ((unjudged, passed), (passed, unjudged)):
        controls = {kind: {0: control} for kind in ("matched_latent", "random_direction")}
        found = compare_direction(passed, own, controls, "raise").controls[MATCHED_LATENT]
        assert found.rank is None and found.rank_p is None and found.fisher_p is None


def spread_out(rng) -> tuple[float, float]:
    """A vector of no particular meaning; how much it breaks differs from vector to vector."""
    return rng.beta(1, 20), rng.beta(1.5, 6)


def test_one_vector_among_others_is_called_an_effect_in_at_most_five_per_cent_of_runs():
    """The direction is drawn as its controls are; they differ by more than chance, which the rank guards against."""
    n_runs, n_called, n_fisher = 40, 0, 0
    for seed in range(n_runs):
        own = spread_out(np.random.default_rng(10_000 + seed))
        found = family(seed, "lower", own, spread_out, n=60)
        n_called += found["verdict"].endswith("lowers the pass rate")
        n_fisher += found["controls"]["matched_latent"]["fisher_p"] < 0.05
    at_most = binom.ppf(0.99, n_runs, 0.05)
    assert n_called <= at_most
    assert n_fisher > 2 * 0.05 * n_runs  # which is why Fisher's test on pooled controls decides nothing


def test_pooled_counts_ranks_and_tests_are_those_of_a_small_example():
    before = [row(k, k < 4) for k in range(10)]

    def after(n_lost: int, n_gained: int) -> list[dict]:
        return [row(k, k >= n_lost if k < 4 else k < 4 + n_gained) for k in range(10)]

    controls = {
        "matched_latent": {5: after(0, 1), 9: after(1, 0), 2: after(0, 3)},
        "random_direction": {0: after(0, 0)},
    }
    found = as_json(compare_direction(before, after(1, 4), controls, "raise"))
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
    found = as_json(compare_direction(before, own, {"matched_latent": {0: control}}, "lower"))
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
    def compared(wanted, own, seed):
        found = family(seed, wanted, own, lambda _rng: (0.05, 0.1))
        return from_json(Compared, {key: found[key] for key in Compared.__dataclass_fields__})

    both = {"a": compared("lower", (0.02, 0.7), 1), "b": compared("raise", (0.3, 0.1), 2)}
    judged = judge_family(both, {"a": "lower", "b": "raise", "c": "raise"})
    p = sorted(each.mcnemar_p for each in both.values())
    adjusted = sorted(each.p_holm["mcnemar"] for each in judged.values())
    assert {*judged} == {"a", "b"} and adjusted == pytest.approx([2 * p[0], max(2 * p[0], p[1])])


def test_the_verdict_asks_for_a_change_and_the_first_rank_at_once():
    usual = {"change": -0.3, "mcnemar": 0.001, "fisher": 0.001, "rank": 1, "random_rank": 1, "newly": 0.0, "k": K}
    usual |= {"wanted": "lower", "power": 0.8, "smallest": 0.12}

    def judged(n, of):
        return [{"net_change": 0.0 if k < n else None} for k in range(of)]

    def entry(**changes):
        own = {**usual, **changes}
        found = {
            "effect": {"net_change": {"value": own["change"]}, "newly_degenerate": {"rate": {"value": own["newly"]}}},
            "controls": {
                MATCHED_LATENT: {"n": K, "rank": own["rank"], "each": judged(own["k"], of=K)},
                RANDOM_DIRECTION: {"n": K, "rank": own["random_rank"], "each": judged(K, of=K)},
            },
        }
        simulated = made(Power, {"power": own["power"], "smallest_effect": own["smallest"], "needed": 0.8})
        p_holm = {"mcnemar": own["mcnemar"], "fisher": own["fisher"]}
        return steering_verdict(made(Compared, found), p_holm, simulated, own["wanted"])

    assert entry().change is Change.LOWERS and entry().works
    for described in (0.05, 1.0, None):  # Fisher's p decides nothing
        assert entry(fisher=described) == entry()
    for weaker in ({"rank": 2}, {"random_rank": 2}):
        assert entry(**weaker).change is Change.NO_MORE
    assert entry(rank=None).change is Change.LOWERS_WITHOUT_CONTROLS  # nothing of a kind could be judged
    assert entry(k=18).change is Change.BEYOND_ITS_FEW and entry(k=18).few and not entry(k=18).works
    assert entry(mcnemar=0.05).change is Change.NOTHING is entry(change=None, newly=None).change
    only = "cannot tell (an effect of 12 points would show in 80 % of such runs, a smaller one less often)"
    assert str(entry(mcnemar=0.05, power=0.79)) == only
    assert str(entry(mcnemar=0.05, power=0.0, smallest=None)) == "cannot tell (no effect would show in such a run)"
    assert entry(change=0.3).change is Change.UNWANTED
    assert entry(change=0.3, wanted="raise").change is Change.RAISES
    assert entry(newly=0.05).breaks and not entry(newly=0.05).works and not entry(newly=0.049).breaks


@pytest.mark.parametrize(("breaks", "few"), [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize("change", Change)
def test_a_verdict_is_known_by_its_words(change, breaks, few):
    why = {Change.UNUSABLE: "every point: breaks (all)", Change.CANNOT_TELL: "no effect would show in such a run"}
    verdict = SteeringVerdict(change, breaks, why.get(change, ""), few)
    assert SteeringVerdict.from_words(str(verdict)) == verdict
    with pytest.raises(ValueError, match="reworded"):
        SteeringVerdict.from_words("reworded")


def test_nothing_is_ever_tested_against_a_rate_of_zero():
    assert rate_to_beat(0, 50) == 0.5 / 51 and rate_to_beat(3, 50) == 0.06 and rate_to_beat(0, 0) is None
    assert binomial_p(1, 20, rate_to_beat(0, 50)) > 0.1  # one correction is no proof
    assert binomial_p(0, 0, 0.1) is None and binomial_p(1, 5, None) is None


def some_compared(seed: int = 5, n: int = 300) -> Compared:
    rng = np.random.default_rng(seed)
    before = [k % 3 == 0 for k in range(n)]
    kinds = {
        kind: {k: simulated(rng, before, rng.uniform(0.01, 0.05), 0.04) for k in range(20)}
        for kind in (MATCHED_LATENT, RANDOM_DIRECTION)
    }
    unsteered = [row(k, passed) for k, passed in enumerate(before)]
    return compare_direction(unsteered, simulated(rng, before, 0.05, 0.05), kinds, "raise")


def test_the_power_is_that_of_a_simulation_by_numpy_alone():
    compared = some_compared()
    found = power_of_verdict(compared, "raise", 3)
    controls = [control for kind in compared.controls.values() for control in kind.each]
    churn = min(sum(c.n_corrected for c in controls), sum(c.n_corrupted for c in controls)) / len(controls) / 300

    def p_value(gained: int, lost: int) -> float:
        n = gained + lost
        tail = sum(math.comb(n, k) for k in range(min(gained, lost) + 1)) / 2**n
        return min(1.0, 2 * tail)

    def power(effect: float) -> float:
        rng, hits = np.random.default_rng(1), 0
        for _ in range(3000):
            gained, lost, _ = rng.multinomial(300, [effect + churn, churn, 1 - effect - 2 * churn])
            others = [
                rng.normal(np.mean(changes), np.std(changes, ddof=1), 20).max()
                for changes in ([c.net_change for c in kind.each] for kind in compared.controls.values())
            ]
            hits += gained > lost and 3 * p_value(int(gained), int(lost)) < 0.05 and (gained - lost) / 300 > max(others)
        return hits / 3000

    assert found.power == pytest.approx(power(0.05), abs=0.04) and 0.05 < found.power < 0.98
    assert power(found.smallest_effect + 0.01) > 0.78 and power(found.smallest_effect - 0.01) < 0.82


def test_without_a_spread_of_controls_no_effect_would_have_been_found():
    found = power_of_verdict(
        compare_direction([row(0, True)], [row(0, True)], {MATCHED_LATENT: {}}, "raise"), "raise", 1
    )
    assert found.power == 0 and found.smallest_effect is None and not found.suffices


def test_the_pooled_rate_s_interval_resamples_problems_and_controls():
    rng = np.random.default_rng(3)
    trials = rng.random((6, 40)) < 0.9
    hits = trials & (rng.random((6, 40)) < rng.beta(0.3, 3, 40))
    generator, rates = np.random.default_rng(42), []
    controls = generator.multinomial(6, [1 / 6] * 6, size=2000)
    problems = generator.multinomial(40, [1 / 40] * 40, size=2000)
    for of_control, of_problem in zip(controls, problems, strict=True):
        rows, columns = np.repeat(np.arange(6), of_control), np.repeat(np.arange(40), of_problem)
        rates.append(hits[np.ix_(rows, columns)].sum() / trials[np.ix_(rows, columns)].sum())
    found = two_way_rate_interval(hits, trials)
    assert found == pytest.approx(tuple(np.quantile(rates, [0.025, 0.975])), abs=1e-12)
    low, high = proportion_confint(hits.sum(), trials.sum(), method="wilson")
    assert found[1] - found[0] > 1.5 * (high - low)  # problems differ, and controls share them
    assert two_way_rate_interval(trials & False, trials) == pytest.approx(proportion_confint(0, 40, method="wilson"))


def test_what_follows_from_the_level_of_the_tests_is_written_so():
    assert Z == norm.ppf(1 - ALPHA / 2)
    assert 1 / (1 + MIN_CONTROLS) == ALPHA
