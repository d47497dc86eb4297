"""Covers what steering did: pairs, rates and intervals, degenerate outputs, the choice of a coefficient, selective
steering, examples."""

import numpy as np
import pytest
from documents import made
from statsmodels.stats.proportion import proportion_confint

from common.handoffs import STEERING_FIELDS
from common.handoffs.document import as_json
from common.handoffs.steering import Agreement, CurvePoint, LayerAndCoefficient
from common.interventions.degenerate import distinct_share, holds_a_statement, is_degenerate, repeats_itself
from common.interventions.outcomes import change_interval, effect, paired, transitions
from common.interventions.sampling import n_spaced, spaced
from common.interventions.steered_rows import agreement
from common.programs.greedy import greedy_programs
from phase3_validation.steering.choice import choose, curve_point
from phase3_validation.steering.examples import examples
from phase3_validation.steering.selective import predictor_of, selective

LABELS = {"c": "correct", "i": "incorrect", "n": "not_run", "u": "unsupported"}
NOTHING = {"value": None, "low": None, "high": None}


def rows(labels: str, degenerate: str = "", **fields: object) -> list[dict]:
    """A row for each letter of `labels`; problem k is degenerate where `degenerate` has a d in place k."""
    return [
        {
            "task_id": k,
            "label": LABELS[letter],
            "degenerate": degenerate[k : k + 1] == "d",
            "trajectory_kl": 0.1 * k,
            **fields,
        }
        for k, letter in enumerate(labels)
    ]


def test_every_problem_is_compared_with_itself_whatever_the_order():
    pairs = paired(rows("ccciii"), rows("cicicc")[::-1])
    assert transitions(pairs) == {"pass_to_pass": 2, "pass_to_fail": 1, "fail_to_pass": 2, "fail_to_fail": 1}
    assert (pairs.corrected, pairs.corrupted, pairs.n, pairs.n_correct_before) == (2, 1, 6, 3)
    assert pairs.net_change == pytest.approx(1 / 6)


def test_what_could_not_be_judged_on_either_side_is_in_no_figure_and_is_counted():
    found = as_json(effect(paired(rows("ccniiu", "dddddd"), rows("cncicc", "dddddd"))))
    assert found["n"] == 3 and found["left_out"] == 3
    assert found["correction"]["n"] == 1 and found["correction"]["of"] == 2
    assert found["corruption"]["of"] == 1 and found["newly_degenerate"] == {
        "n": 0,
        "of": 3,
        "rate": pytest.approx({"value": 0, "low": 0, "high": 0.5614970317550454}),
    }


def test_the_rates_are_those_of_the_table_with_wilson_s_interval():
    before, after = rows("c" * 40 + "i" * 60), rows("c" * 30 + "i" * 10 + "c" * 9 + "i" * 51, "d" * 5)
    found = as_json(effect(paired(before, after)))
    for name, n, of in (("correction", 9, 60), ("corruption", 10, 40), ("preservation", 30, 40)):
        low, high = proportion_confint(n, of, method="wilson")
        assert found[name]["n"] == n and found[name]["of"] == of
        assert found[name]["rate"] == pytest.approx({"value": n / of, "low": low, "high": high})
    assert found["pass_rate"]["value"] == 0.39 and found["net_change"]["value"] == -0.01
    assert found["degenerate_rate"] == 0.05 and found["newly_degenerate"]["n"] == 5
    assert found["trajectory_kl"] == pytest.approx(np.mean([0.1 * k for k in range(100)]))


def test_where_nothing_can_be_said_there_is_no_number():
    found = as_json(effect(paired(rows("cc"), rows("ci"))))
    assert found["correction"] == {"n": 0, "of": 0, "rate": NOTHING}
    found = as_json(effect(paired(rows("n"), rows("c"))))
    assert found["net_change"] == NOTHING and found["trajectory_kl"] is None and found["degenerate_rate"] is None


def test_the_interval_of_the_net_change_is_bonett_and_price_s():
    """Their own words: add one to each discordant count and two to n, then Wald."""
    gained, lost, n = 8, 3, 70
    p, q = (gained + 1) / (n + 2), (lost + 1) / (n + 2)
    half = 1.959963984540054 * ((p + q - (p - q) ** 2) / (n + 2)) ** 0.5
    expected = {"value": 5 / 70, "low": p - q - half, "high": p - q + half}
    assert vars(change_interval(gained, lost, n)) == pytest.approx(expected)
    assert change_interval(5, 0, 5).high == 1.0 and change_interval(0, 5, 5).low == -1.0


def test_the_interval_of_the_net_change_holds_the_truth_about_nineteen_times_in_twenty():
    rng, n, gains, losses = np.random.default_rng(1), 100, 0.06, 0.14
    drawn = rng.multinomial(n, [gains, losses, 1 - gains - losses], size=2000)
    intervals = [vars(change_interval(gained, lost, n)) for gained, lost, _ in drawn.tolist()]
    held = sum(i["low"] <= gains - losses <= i["high"] for i in intervals)
    assert 0.935 <= held / 2000 <= 0.975
    assert all(i["low"] <= i["value"] <= i["high"] for i in intervals)


def test_a_loop_is_repetition_and_a_program_is_none():
    loop = [7, 8, 9, 10, 11] * 30
    assert repeats_itself(loop) and repeats_itself([3] * 40) and not repeats_itself([3] * 39)
    assert not repeats_itself(list(range(60))) and not repeats_itself(list(range(70)) + loop[:30])
    assert repeats_itself(list(range(20)) + loop[:100])
    assert distinct_share([1, 2, 3]) == 1.0 and distinct_share([1, 1, 1, 1, 1]) == 0.5


def test_no_reference_solution_of_mbpp_counts_as_repetition(shared):
    import io
    import json
    import tokenize

    from tiny_models import make_tokenizer

    codes = [json.loads(line)["code"] for line in (shared / "mbpp" / "mbpp.jsonl").open()]
    encode = make_tokenizer()
    assert not any(repeats_itself(encode(code)["input_ids"]) for code in codes)
    for code in codes:
        assert not repeats_itself([token.string for token in tokenize.generate_tokens(io.StringIO(code).readline)])


@pytest.mark.parametrize(
    ("code", "stop_reason", "expected"),
    [
        ("def f(x):\n    return x\n", "end_of_sequence", False),
        ("def f(x):\n    return x\n", "solution_complete", False),
        ("def f(x):\n    return x\n", "max_new_tokens", True),
        ("def f(x):\n    return x\n", "context_length", True),
        ("def f(x:\n", "end_of_sequence", True),
        ("return 3\n", "end_of_sequence", True),
        ("", "end_of_sequence", True),
        ("# nothing\n\n", "end_of_sequence", True),
    ],
)
def test_a_program_is_degenerate_when_it_does_not_parse_or_did_not_stop(code, stop_reason, expected):
    assert is_degenerate(code, [1, 2, 3], stop_reason) == expected


def test_a_statement_is_more_than_a_comment():
    assert holds_a_statement("x = 1\n") and not holds_a_statement("# x = 1\n") and not holds_a_statement("\0")


def point(layer: int, coefficient: float, change: float, newly: float | None = 0.0) -> CurvePoint:
    given = {
        "layer": layer,
        "coefficient": coefficient,
        "n": 100,
        "n_corrected": 1,
        "n_corrupted": 2,
        "net_change": {"value": change},
        "newly_degenerate_rate": newly,
    }
    return made(CurvePoint, given | {"admissible": newly is not None and newly < 0.05})


def test_the_largest_change_in_the_wanted_direction_is_chosen():
    curve = [point(3, -0.5, -0.2), point(3, 0.0, 0.0), point(3, 0.5, 0.1), point(4, 0.25, 0.3)]
    assert choose(curve, "raise")[0] == LayerAndCoefficient(layer=4, coefficient=0.25)
    assert choose(curve, "lower")[0] == LayerAndCoefficient(layer=3, coefficient=-0.5)
    assert "negative" in choose(curve, "lower")[1] and "negative" not in choose(curve, "raise")[1]


def test_what_breaks_the_output_is_not_chosen_however_large_its_effect():
    curve = [point(3, 0.0, 0.0), point(3, 0.5, -0.1), point(3, 1.0, -0.6, newly=0.05)]
    chosen, why = choose(curve, "lower")
    assert chosen == LayerAndCoefficient(layer=3, coefficient=0.5) and "1 of 2 points" in why
    chosen, why = choose([point(3, 0.0, 0.0), point(3, 1.0, -0.6, newly=0.07)], "lower")
    assert chosen is None and "7.0 %" in why and "5 %" in why
    assert choose([point(3, 0.0, 0.0), point(3, 1.0, 0.0, newly=None)], "lower")[0] is None


def test_the_best_of_what_does_not_work_is_chosen_and_the_words_say_so():
    chosen, why = choose([point(3, 0.0, 0.0), point(3, 0.5, -0.1), point(3, 1.0, -0.3)], "raise")
    assert chosen == LayerAndCoefficient(layer=3, coefficient=0.5) and "no point raised the pass rate" in why
    assert "no point" not in choose([point(3, 0.5, 0.1)], "raise")[1]


def test_ties_go_to_the_smaller_coefficient_and_then_to_the_lower_layer():
    tied = [point(4, 1.0, 0.1), point(5, -0.5, 0.1), point(4, -0.5, 0.1), point(4, 0.5, 0.1)]
    assert choose(tied, "raise")[0] == LayerAndCoefficient(layer=4, coefficient=0.5)


def test_only_what_is_newly_degenerate_counts_against_a_coefficient():
    before, after = rows("c" * 100, "d" * 30), rows("c" * 100, "d" * 34)
    found = as_json(curve_point(before, after, 2, 0.5))
    assert found["degenerate_rate"] == 0.34 and found["newly_degenerate_rate"] == 0.04 and found["admissible"]
    assert not curve_point(before, rows("c" * 100, "d" * 35), 2, 0.5).admissible


def test_nothing_changes_at_zero():
    found = as_json(curve_point(rows("cci"), rows("cci"), 2, 0.0))
    assert found["net_change"] == {"value": 0.0, "low": 0.0, "high": 0.0} and found["admissible"]


def test_selective_steering_mixes_steered_and_unsteered_programs():
    before, after = rows("cciiii"), rows("iicccc", "dddddd")
    found = as_json(selective(before, after, ({1, 2, 3, 77}, 0.5), "predict_incorrect"))
    assert found["n_steered"] == 3 and found["threshold"] == 0.5 and found["by"] == "predict_incorrect"
    assert found["effect"]["correction"]["n"] == 2 and found["effect"]["corruption"]["n"] == 1
    assert found["effect"]["newly_degenerate"]["n"] == 3 and found["effect"]["n"] == 6


def test_who_is_steered_is_told_by_the_opposite_predictor():
    assert predictor_of("raise") == "predict_incorrect" and predictor_of("lower") == "predict_correct"


def test_examples_are_the_first_of_each_kind_with_a_diff():
    before = rows("iiiiic", code="def f():\n    return 1\n", error="wrong_answer")
    after = rows("ccccci", code="def f():\n    return 2\n", error=None)
    found = as_json(examples(before, after, {k: f"Problem {k}." for k in range(6)}))
    assert [(e["transition"], e["task_id"]) for e in found] == [
        ("fail_to_pass", 0),
        ("fail_to_pass", 1),
        ("fail_to_pass", 2),
        ("pass_to_fail", 5),
    ]
    assert found[0]["diff"] == "--- unsteered\n+++ steered\n@@ -1,2 +1,2 @@\n def f():\n-    return 1\n+    return 2"
    assert found[0]["error_before"] == "wrong_answer" and found[0]["text"] == "Problem 0."


def test_half_a_character_does_not_stop_the_examples():
    found = as_json(examples(rows("i", code="x = '\ud83d'", error=None), rows("c", code="x = 1", error=None), {0: ""}))
    assert "\\ud83d" in found[0]["diff"]


def test_problems_are_evenly_spaced_over_the_split():
    problems = [{"task_id": k} for k in range(10)]
    assert spaced(problems, 0) == problems == spaced(problems, 99)
    assert [p["task_id"] for p in spaced(problems, 4)] == [0, 3, 6, 9] and n_spaced(10, 4) == 4
    for n in range(1, 11):
        chosen = [p["task_id"] for p in spaced(problems, n)]
        assert len(set(chosen)) == n_spaced(10, n) == n


def test_agreement_counts_unsteered_programs_with_the_very_tokens_of_phase_1():
    then = [{"task_id": k, "token_ids": [k], "temperature": t} for k, t in ((0, 0.0), (1, 0.0), (2, 0.7))]
    now = [{"task_id": k, "token_ids": [0]} for k in range(4)]
    assert agreement(now, greedy_programs(then)) == Agreement(same_tokens=1, of=2)


def test_the_figures_need_no_column_that_records_lack():
    assert {"task_id", "label", "degenerate", "trajectory_kl", "code", "error", "token_ids"} <= STEERING_FIELDS.keys()
