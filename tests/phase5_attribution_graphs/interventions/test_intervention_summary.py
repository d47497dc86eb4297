"""Covers what phase 5.5 says of all prompts of a behaviour: numbers by hand, and each of the three verdicts."""

import math

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from common.handoffs.circuit_interventions import CircuitVerdict, NamedSet
from common.handoffs.estimates import UNDEFINED, Counted, Interval
from phase5_attribution_graphs.interventions.summary import Evidence, Resamples, summarize, verdict_of
from phase5_attribution_graphs.interventions.words import in_short, verdict_words

N, N_NULLS = 12, 79
SETS = {"top_signed_effect": "zero", "top_influence": "zero_each"}
CORRELATIONS = ("influence_and_size", "signed_and_effect", "signed_and_frozen", "frozen_and_free")


def row_of(record: int, intervention: str, name: str, effect: float, **more) -> dict:
    usual = {"fixed": "nothing", "coefficient": math.nan, "whole": 5.0, "rank": -1, "n_nulls": -1}
    return {"record": record, "intervention": intervention, "set": name, "effect": effect, **usual, **more}


def evidence(shift: float, n: int = N, seed: int = 0) -> Evidence:
    """Random effects, those of the named sets larger by `shift`."""
    rng = np.random.default_rng(seed)
    nulls = {name: rng.normal(0, 0.3, (n, N_NULLS)) for name in SETS}
    circuits, effects = [], []
    for record in range(n):
        left = {"without_others": rng.normal(4), "without_kept": rng.normal(1), "without_latents": rng.normal(1)}
        shares = {"errors_direct": rng.normal(0.2, 0.1), "errors_signed": rng.normal(0.3, 0.1)}
        circuits.append(
            {"record": record, "behaviour": "b", "baseline": rng.normal(5), "baseline_before_cap": rng.normal(6)}
            | {**left, **shares, "replacement": 0.8, "without_errors": rng.normal(4), "same_token": record % 3 > 0}
            | {"partner": ("paired", "paired", "unequal length", "no partner")[record % 4], "unmatched": record % 2}
            | {"activation_ratio": math.nan if record == 1 else 0.5, "n_swept": 10, "n_important": record}
            | {name: 0.5 + record / 100 for name in CORRELATIONS}
        )
        for name, intervention in SETS.items():
            own = rng.normal(shift, 0.3)
            rank = 1 + int((nulls[name][record] >= own).sum())
            effects.append(row_of(record, intervention, name, own, rank=rank, n_nulls=N_NULLS))
            effects.append(row_of(record, "mean", name, rng.normal(), fixed="attention and norms"))
        effects += [row_of(record, "steer", "top_latent", rng.normal(), coefficient=factor) for factor in (-2.0, 0.5)]
        if record % 4 < 2:
            between = rng.normal(6)
            effects += [row_of(record, "patch", name, rng.normal(3), whole=between) for name in ("all", "kept")]
            effects += [row_of(record, "patch", "kept, layer 1", rng.normal(1), whole=between)] * (record % 4)
            effects.append(row_of(record, "patch_back", "kept", -rng.normal(3), whole=-between))
    return Evidence(circuits, effects, nulls)


def resampled(values: list[float], whole: list[float] | None = None) -> Interval:
    """Sums over resampled prompts, drawn as summary.py draws them."""
    n = len(values)
    draws = np.random.default_rng(42).multinomial(n, np.full(n, 1 / n), size=2000)
    part, whole = np.array(values), np.array([1.0] * n if whole is None else whole)
    low, high = np.quantile([(d * part).sum() / (d * whole).sum() for d in draws], [0.025, 0.975])
    return Interval(part.sum() / whole.sum(), low, high)


def same(found: Interval, expected: Interval) -> bool:
    return [*vars(found).values()] == pytest.approx([*vars(expected).values()])


@pytest.fixture(scope="module")
def known() -> dict[str, Evidence]:
    return {"strong": evidence(1.0), "weak": evidence(0.2, seed=1), "none": evidence(0.0, seed=2)}


@pytest.fixture(scope="module")
def found(known):
    return summarize(known, 2000, 42)


def test_p_and_rank_counts_are_those_of_numpy_and_holm_is_that_of_statsmodels(known, found):
    for name, intervention in SETS.items():
        p_values = []
        for behaviour, own in known.items():
            rows = [row for row in own.effects if (row["set"], row["intervention"]) == (name, intervention)]
            mean = np.mean([row["effect"] for row in rows])
            p_values.append((1 + sum(own.nulls[name].mean(0) >= mean)) / (1 + N_NULLS))
            judged, ranks = found[behaviour].sets[name], [row["rank"] for row in rows]
            assert judged.p == pytest.approx(p_values[-1])
            assert (judged.first.n, judged.first.of) == (ranks.count(1), N)
            assert judged.first_twentieth.n == sum(rank <= 4 for rank in ranks)
        adjusted = [one.sets[name].p_holm for one in found.values()]
        assert adjusted == pytest.approx(multipletests(p_values, method="holm")[1].tolist())


def test_means_and_shares_have_the_intervals_of_resampled_prompts(known, found):
    own, one = known["strong"], found["strong"]
    rows = [row for row in own.effects if (row["set"], row["intervention"]) == ("top_signed_effect", "zero")]
    effects, null = [row["effect"] for row in rows], own.nulls["top_signed_effect"].mean(1)
    top = one.sets["top_signed_effect"]
    assert same(top.effect, resampled(effects)) and same(top.null, resampled(null.tolist()))
    assert same(top.beyond, resampled((np.array(effects) - null).tolist()))
    column = {name: [row[name] for row in own.circuits] for name in own.circuits[0]}
    assert same(top.share, resampled(effects, column["baseline"])) and same(one.baseline, resampled(column["baseline"]))
    carried = np.array(column["baseline"]) - column["without_latents"]
    for name, without in (("faithfulness", "without_others"), ("left", "without_kept")):
        part = np.array(column[without]) - column["without_latents"]
        assert same(getattr(one, name), resampled(part.tolist(), carried.tolist()))
    direct = np.array(column["errors_direct"]) * column["baseline_before_cap"]
    assert same(one.errors_direct, resampled(direct.tolist(), column["baseline_before_cap"]))
    assert same(one.without_errors, resampled(column["without_errors"], column["baseline"]))
    assert one.same_token.n == 8 and one.unmatched == 6 and one.important.n == sum(range(N))
    assert one.activation_ratio.value == pytest.approx(0.5)  # of the prompts that have one
    assert one.correlations["signed_and_effect"].value == pytest.approx(0.5 + 0.055)


def test_patches_are_of_pairs_and_a_layer_without_latents_moves_nothing(known, found):
    own, patched = known["strong"], found["strong"].patched
    assert patched.n == 6 and patched.refused == {"unequal length": 3, "no partner": 3}
    assert [*patched.moved] == ["all", "kept", "kept, layer 1"]
    rows = [row for row in own.effects if row["intervention"] == "patch"]
    whole = [row["whole"] for row in rows if row["set"] == "all"]
    of_layer = {row["record"]: row["effect"] for row in rows if row["set"] == "kept, layer 1"}
    layer = [of_layer.get(record, 0.0) for record in (0, 1, 4, 5, 8, 9)]
    assert layer[0] == 0 and same(patched.moved["kept, layer 1"], resampled(layer, whole))
    back = [row for row in own.effects if row["intervention"] == "patch_back"]
    assert same(patched.back, resampled([row["effect"] for row in back], [row["whole"] for row in back]))


def test_changes_and_steering_are_told_by_what_was_done(known, found):
    one = found["weak"]
    assert [*one.steered] == ["-2", "0.5"] and {*one.changes["top_signed_effect"]} == {"zero", "mean"}
    assert [*one.changes["top_influence"]["mean"]] == ["attention and norms"]
    rows = [row["effect"] for row in known["weak"].effects if row["coefficient"] == 0.5]
    assert same(one.steered["0.5"], resampled(rows))


def test_a_behaviour_without_pairs_has_no_patches():
    own = evidence(1.0)
    alone = [{**row, "partner": "no partner"} for row in own.circuits]
    effects = [row for row in own.effects if not row["intervention"].startswith("patch")]
    [one] = summarize({"b": Evidence(alone, effects, own.nulls)}, 2000, 42).values()
    assert one.patched.n == 0 and one.patched.moved == {} and one.patched.back == UNDEFINED


def judged(beyond: Interval, p_holm: float) -> NamedSet:
    counts = Counted(1, 2, UNDEFINED)
    numbers = {"effect": beyond, "null": beyond, "share": beyond, "first": counts, "first_twentieth": counts}
    return NamedSet(beyond=beyond, p=p_holm, p_holm=p_holm, verdict=CircuitVerdict.CANNOT_TELL, **numbers)


@pytest.mark.parametrize(
    ("beyond", "p_holm", "n", "expected"),
    [
        (Interval(1.0, 0.5, 1.5), 0.05, 5, CircuitVerdict.CARRIED),
        (Interval(1.0, 0.5, 1.5), 0.05, 4, CircuitVerdict.CANNOT_TELL),
        (Interval(1.0, 0.5, 1.5), 0.06, 5, CircuitVerdict.CANNOT_TELL),
        (Interval(0.4, -0.1, 0.9), 0.01, 5, CircuitVerdict.CANNOT_TELL),
        (Interval(0.1, -0.1, 0.49), 0.2, 5, CircuitVerdict.NO_MORE),
        (Interval(-1.0, -2.0, -0.5), 1.0, 5, CircuitVerdict.NO_MORE),
        (Interval(0.1, 0.01, 0.2), 0.2, 5, CircuitVerdict.NO_MORE),
        (UNDEFINED, 1.0, 5, CircuitVerdict.CANNOT_TELL),
    ],
)
def test_a_verdict_follows_from_p_the_interval_and_a_tenth_of_the_difference(beyond, p_holm, n, expected):
    assert verdict_of(judged(beyond, p_holm), 5.0, n) is expected


def test_verdicts_of_planted_effects_and_of_noise(found):
    verdicts = {name: one.sets["top_signed_effect"].verdict for name, one in found.items()}
    assert verdicts["strong"] is CircuitVerdict.CARRIED and verdicts["none"] is not CircuitVerdict.CARRIED
    assert in_short(found["strong"]).startswith("carried by these latents: they take ")


def test_the_number_of_prompts_stands_beside_a_verdict_that_cannot_tell():
    assert verdict_words(judged(UNDEFINED, 1.0), 3) == "cannot tell (3 prompts)"


def test_a_share_of_nothing_is_undefined():
    over = Resamples(np.ones((10, 2)))
    assert over.share(np.ones(2), np.zeros(2)) == UNDEFINED and over.mean(np.full(2, math.nan)) == UNDEFINED
