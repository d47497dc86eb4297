"""Covers the numbers of phases 3.2 and 3.3: each is computed again from the table, with scipy and statsmodels alone.

The programs of phase 3.3 are made up, with random labels; the phase concludes from them as from its own.
"""

import dataclasses
import json
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, fisher_exact
from selected_latents import NORMS, json_of
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from steered_runs import N_CONTROLS, rows_of, split_of, steering_config
from toy_phases import run_phase
from whole_selections import copied

from common import handoffs
from common.programs.greedy import greedy_programs
from phase3_validation.steering import steering as steering_phase
from phase3_validation.steering.control_signs import TUNING, controls_with_signs, saved_rows
from phase3_validation.steering.steering_phase import PHASE as STEERING_PHASE

THRESHOLD = 0.3


@pytest.fixture(scope="session")
def simulated_run(chosen_experiment, tmp_path_factory) -> Path:
    """Phase 3.3 whose programs are made up, with what phase 3.1 says of the problems."""
    experiment = copied(chosen_experiment, tmp_path_factory.mktemp("simulated") / "data")
    tasks = [problem["task_id"] for problem in split_of(experiment, "validation")]
    values = np.random.default_rng(4).random(len(tasks))
    rows = [
        {
            "direction": direction,
            "score": "latent",
            "task_id": task,
            "split": "validation",
            "value": value,
            "threshold": THRESHOLD,
        }
        for direction in ("predict_incorrect", "predict_correct")
        for task, value in zip(tasks, values, strict=True)
    ]
    experiment.write(handoffs.DETECTION, lambda out: out.table("predictions.parquet", rows))
    return run_phase(dataclasses.replace(STEERING_PHASE, run=_simulate), experiment.data, steering_config(experiment))


def _simulate(ctx, config) -> None:
    rng = np.random.default_rng(2)
    plan = steering_phase.plan_of(ctx)
    problems = ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"])
    earlier = greedy_programs(ctx.read(handoffs.GENERATIONS).table("dataset.parquet"))
    with ctx.write() as out:
        out.conclude = lambda: steering_phase.conclude(ctx, out, plan, earlier, 1, problems)
        _make_up(out, rng, TUNING, plan.tuned_on, plan.both_signs.conditions, 0)
        controls = controls_with_signs(plan, saved_rows(out, plan.n_for_signs))
        _make_up(out, rng, "steering.parquet", problems, plan.steering(controls).conditions, plan.n_for_signs)


def _make_up(out, rng, table: str, problems: list[dict], conditions: list, first: int) -> None:
    for batch in out.batches(100, [1] * len(problems) * len(conditions), first):
        for index in batch:
            problem, condition = divmod(index - first, len(conditions))
            label = rng.choice(["correct", "incorrect", "not_run"], p=[0.45, 0.5, 0.05])
            row = {
                "record": index,
                "task_id": problems[problem]["task_id"],
                **conditions[condition].fields,
                "code": f"x = {index}\n",
                "label": str(label),
                "error": "wrong_answer" if label == "incorrect" else None,
                "degenerate": bool(rng.random() < 0.2),
                "trajectory_kl": float(rng.random()),
                "n_new_tokens": 3,
                "stop_reason": "end_of_sequence",
                "token_ids": [index],
            }
            out.append(index, {table: row}, {})


class Recomputed:
    """Counts over the rows of one condition, beside the unsteered ones; nothing of the phase is used."""

    def __init__(self, before: list[dict], after: list[dict]):
        after_of = {row["task_id"]: row for row in after}
        judged = ("correct", "incorrect")
        both = [(row, after_of[row["task_id"]]) for row in before]
        self.pairs = [(a, b) for a, b in both if a["label"] in judged and b["label"] in judged]
        self.left_out = len(both) - len(self.pairs)
        self.n = len(self.pairs)
        passed = [(a["label"] == "correct", b["label"] == "correct") for a, b in self.pairs]
        self.gained, self.lost = passed.count((False, True)), passed.count((True, False))
        self.kept, self.failed = passed.count((True, True)), passed.count((False, False))
        self.kl = statistics.fmean(b["trajectory_kl"] for _, b in self.pairs)
        self.degenerate = sum(b["degenerate"] for _, b in self.pairs)
        self.newly = sum(b["degenerate"] and not a["degenerate"] for a, b in self.pairs)

    def outcome(self, wanted: str) -> tuple[int, int]:
        return (self.gained, self.gained + self.failed) if wanted == "raise" else (self.lost, self.lost + self.kept)

    def effect(self) -> dict:
        p, q, m = (self.gained + 1) / (self.n + 2), (self.lost + 1) / (self.n + 2), self.n + 2
        half = 1.959963984540054 * ((p + q - (p - q) ** 2) / m) ** 0.5
        return {
            "n": self.n,
            "left_out": self.left_out,
            "correction": share(self.gained, self.gained + self.failed),
            "corruption": share(self.lost, self.lost + self.kept),
            "preservation": share(self.kept, self.lost + self.kept),
            "net_change": interval((self.gained - self.lost) / self.n, max(-1, p - q - half), min(1, p - q + half)),
            "pass_rate": share(self.gained + self.kept, self.n)["rate"],
            "degenerate_rate": self.degenerate / self.n,
            "newly_degenerate": share(self.newly, self.n),
            "trajectory_kl": self.kl,
            "net_change_per_nat": (self.gained - self.lost) / self.n / self.kl,
        }


def interval(value: float, low: float, high: float) -> dict:
    return {"value": value, "low": low, "high": high}


def share(n: int, of: int) -> dict:
    return {"n": n, "of": of, "rate": interval(n / of, *proportion_confint(n, of, method="wilson"))}


def same(found: object, expected: object) -> None:
    """Equal up to rounding, whatever is nested in what."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            same(a, b)
    else:
        assert found == (pytest.approx(expected, abs=1e-9) if isinstance(expected, float) else expected)


def test_every_number_in_the_document_follows_from_the_table(simulated_run):
    document, rows = json_of(simulated_run, "steering.json"), rows_of(simulated_run)
    before = [row for row in rows if row["control"] == "unsteered"]
    base = Recomputed(before, before)
    assert document["n"] == len(before) == 12 and document["readings"] == 1 and document["seed"] == 42
    assert document["baseline"]["n_correct"] == base.kept
    same(document["baseline"]["pass_rate"], share(base.kept, base.n)["rate"])
    assert document["agrees_with_phase_1"] == {"same_tokens": 0, "of": 12}
    p_values = {}
    for name, entry in document["directions"].items():
        of_direction = [row for row in rows if row["direction"] == name]
        own_rows = [row for row in of_direction if row["control"] == "none"]
        own = Recomputed(before, own_rows)
        same(entry["effect"], own.effect())
        same(
            entry["transitions"],
            {
                "pass_to_pass": own.kept,
                "pass_to_fail": own.lost,
                "fail_to_pass": own.gained,
                "fail_to_fail": own.failed,
            },
        )
        p = float(mcnemar([[own.kept, own.lost], [own.gained, own.failed]], exact=True).pvalue)
        assert entry["mcnemar_p"] == pytest.approx(p)
        for kind, compared in entry["controls"].items():
            _check_controls(
                compared, own, before, [row for row in of_direction if row["control"] == kind], entry["wanted"]
            )
        assert 0 <= entry["power"]["power"] <= 1 and entry["verdict"].endswith("; fewer than 19 controls of a kind")
        errors = [row["error"] for row in own_rows if row["error"]]
        assert document["errors"][name] == ({"wrong_answer": len(errors)} if errors else {})
        p_values[name] = (p, entry["controls"]["matched_latent"]["fisher_p"])
        _check_selective(entry, before, own_rows)
    for place, test in enumerate(("mcnemar", "fisher")):
        adjusted = multipletests([p[place] for p in p_values.values()], method="holm")[1]
        for name, q in zip(p_values, adjusted, strict=True):
            assert document["directions"][name]["p_holm"][test] == pytest.approx(q)


def _check_controls(compared: dict, own: Recomputed, before: list[dict], rows: list[dict], wanted: str) -> None:
    indices = list(dict.fromkeys(row["control_index"] for row in rows))
    each = {i: Recomputed(before, [row for row in rows if row["control_index"] == i]) for i in indices}
    hits, of = own.outcome(wanted)
    pooled = [sum(control.outcome(wanted)[k] for control in each.values()) for k in (0, 1)]
    rate = compared["pooled"]["rate"]  # its interval: test_comparisons.py
    assert (compared["pooled"]["n"], compared["pooled"]["of"]) == (pooled[0], pooled[1])
    assert rate["value"] == pytest.approx(pooled[0] / pooled[1]) and rate["low"] <= rate["value"] <= rate["high"]
    table = [[hits, of - hits], [pooled[0], pooled[1] - pooled[0]]]
    assert compared["fisher_p"] == pytest.approx(float(fisher_exact(table, alternative="greater").pvalue))
    against = pooled[0] / pooled[1] if pooled[0] else 0.5 / (pooled[1] + 1)
    assert compared["binomial_p"] == pytest.approx(binomtest(hits, of, against, alternative="greater").pvalue)
    sign = 1 if wanted == "raise" else -1
    gain = sign * (own.gained - own.lost) / own.n
    rank = 1 + sum(sign * (c.gained - c.lost) / c.n >= gain for c in each.values())
    assert (compared["n"], compared["rank"], compared["rank_p"]) == (N_CONTROLS, rank, rank / (N_CONTROLS + 1))
    same(
        compared["each"],
        [
            {
                "index": i,
                "net_change": (c.gained - c.lost) / c.n,
                "n_corrected": c.gained,
                "n_corrupted": c.lost,
                "degenerate_rate": c.degenerate / c.n,
                "trajectory_kl": c.kl,
                "net_change_per_nat": (c.gained - c.lost) / c.n / c.kl,
                "coefficient": next(row["coefficient"] for row in rows if row["control_index"] == i),
            }
            for i, c in each.items()
        ],
    )


def _check_selective(entry: dict, before: list[dict], after: list[dict]) -> None:
    values = dict(zip([row["task_id"] for row in before], np.random.default_rng(4).random(len(before)), strict=True))
    mixed = [b if values[a["task_id"]] > THRESHOLD else a for a, b in zip(before, after, strict=True)]
    found = entry["selective"]
    assert found["by"] == {"raise": "predict_incorrect", "lower": "predict_correct"}[entry["wanted"]]
    assert found["threshold"] == THRESHOLD and found["n_steered"] == sum(v > THRESHOLD for v in values.values())
    same(found["effect"], Recomputed(before, mixed).effect())


def test_the_curve_follows_from_the_table(coefficients_run):
    document, rows = json_of(coefficients_run, "coefficients.json"), rows_of(coefficients_run)
    before = [row for row in rows if row["control"] == "unsteered"]
    assert document["n"] == len(before) == 3 and document["degenerate_limit"] == 0.05
    for name, entry in document["directions"].items():
        assert entry["norms"] == {str(layer): NORMS["resid_post"] + layer for layer in (1, 3)}
        assert [(p["layer"], p["coefficient"]) for p in entry["curve"]] == [
            (layer, c) for layer in (1, 3) for c in (-0.5, 0.0, 0.5)
        ]
        for point in entry["curve"]:
            place = (name, point["layer"], point["coefficient"])
            after = [row for row in rows if (row["direction"], row["layer"], row["coefficient"]) == place] or before
            expected = Recomputed(before, after)
            assert (point["n_corrected"], point["n_corrupted"]) == (expected.gained, expected.lost)
            assert point["newly_degenerate_rate"] == expected.newly / expected.n
            assert point["admissible"] == (expected.newly / expected.n < 0.05)
            same(point["trajectory_kl"], expected.kl)


def test_examples_show_programs_of_the_table(simulated_run):
    found, rows = json.loads((simulated_run / "examples.json").read_text()), rows_of(simulated_run)
    codes = {(row["task_id"], row["direction"]): row["code"] for row in rows if row["control"] in ("none", "unsteered")}
    assert any(found.values())
    for name, shown in found.items():
        for example in shown:
            lines = example["diff"].splitlines()
            assert f"-{codes[example['task_id'], 'none'].strip()}" in lines
            assert f"+{codes[example['task_id'], name].strip()}" in lines
