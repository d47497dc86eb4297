"""Covers phase 3.6: the other model's programs and activations, cards, steering, slices and resumption, refusals."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from documents import made
from safetensors.numpy import load_file
from selected_latents import NORMS, SmallExperiment, json_of
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from tiny_models import save_tiny_llama
from toy_phases import content, run_phase, stop_after
from transfers import (
    COEFFICIENT,
    EFFECT,
    THRESHOLD,
    TOKENS,
    problems_of,
    sae_of,
    steering_of_steer_correct,
    table,
    transfer_config,
)
from whole_selections import card, copied, save_lively

from common.errors import ConfigError
from common.handoffs import TRANSFER
from common.handoffs.changes import TransferSite
from common.handoffs.detection import DetectedDirection
from common.handoffs.document import as_json, from_json
from common.handoffs.selected import SelectedLatent
from common.handoffs.steering import CoefficientCurve, SteeredDirection
from common.interventions.conditions import steered
from common.interventions.directions import NAMES, Direction
from common.interventions.steered_generation import generate_steered
from common.model.generation import generate
from common.model.loading import load_model
from common.model.registry import MODELS, instruction_tuned
from common.programs.solutions import request_for
from common.runs import discovery
from common.stopping import Stopped
from phase3_validation.transfer import figures, findings
from phase3_validation.transfer.config import TransferConfig
from phase3_validation.transfer.detection import TargetProblems
from phase3_validation.transfer.phase import PHASE


@pytest.fixture
def begun(transferable, tmp_path) -> SmallExperiment:
    return copied(transferable, tmp_path / "data")


@pytest.fixture(scope="session")
def whole(transferable, other_model, tmp_path_factory) -> Path:
    data = copied(transferable, tmp_path_factory.mktemp("whole") / "data").data
    return run_phase(PHASE, data, transfer_config(transferable, other_model))


def test_the_other_model_writes_its_own_programs_and_then_steered_ones(whole, transferable, other_model):
    rows = table(whole, "steering.parquet")
    hyperparams, validation = (problems_of(transferable, split) for split in ("hyperparams", "validation"))
    tasks = [problem["task_id"] for problem in [*hyperparams, *validation, *validation]]
    assert [row["record"] for row in rows] == list(range(len(rows)))
    assert [row["task_id"] for row in rows] == tasks
    lm = load_model(str(other_model), "cpu", "float32", 1)
    requests = [request_for(problem, 42) for problem in validation]
    unsteered = generate(lm, requests, max_new_tokens=TOKENS)
    first = len(hyperparams)
    assert [row["token_ids"] for row in rows[first : first + 12]] == [one.token_ids for one in unsteered]
    home = generate(load_model(str(transferable.model), "cpu", "float32", 1), requests, max_new_tokens=TOKENS)
    assert [one.token_ids for one in home] != [one.token_ids for one in unsteered]

    by_hand = generate_steered(lm, requests, [steering_of_steer_correct(transferable)] * 12, max_new_tokens=TOKENS)
    own = rows[first + 12 :]
    assert [row["token_ids"] for row in own] == [one.generation.token_ids for one in by_hand]
    assert [row["trajectory_kl"] for row in own] == pytest.approx([one.trajectory_kl for one in by_hand], rel=1e-4)
    assert {(row["direction"], row["layer"], row["site"], row["coefficient"]) for row in own} == {
        ("steer_correct", 1, "resid_mid", COEFFICIENT)
    }


def test_activations_are_those_of_the_other_model_at_the_last_prompt_token(whole, transferable, other_model):
    lm = load_model(str(other_model), "cpu", "float32", 1)
    problems = problems_of(transferable, "hyperparams")
    made = generate(lm, [request_for(problem, 42) for problem in problems], max_new_tokens=1)
    for layer in (0, 1, 2):
        stored = load_file(whole / "activations" / f"layer_{layer:02d}.safetensors")
        expected = np.stack([one.resid_post["last"][layer] for one in made])
        np.testing.assert_allclose(stored["resid_post"][: len(problems)], expected, rtol=1e-4, atol=1e-4)
        assert np.isnan(stored["resid_post"][len(problems) + 12 :]).all() and len(stored["resid_post"]) == 27
        assert stored["record"].tolist() == list(range(27))
    assert not (whole / "activations" / "layer_03.safetensors").exists()


def test_predictions_hold_each_latent_with_both_thresholds(whole, transferable):
    rows = table(whole, "predictions.parquet")
    assert {row["score"] for row in rows} == {"latent", "latent_refitted"} and {r["direction"] for r in rows} == {
        *NAMES
    }
    for name, (layer, latent) in transferable.latents.items():
        own = [row for row in rows if row["direction"] == name and row["score"] == "latent"]
        stored = load_file(whole / "activations" / f"layer_{layer:02d}.safetensors")["resid_post"][: len(own)]
        sae = sae_of(transferable, layer)
        acts = sae.encode(torch.from_numpy(stored))[:, latent]
        assert [row["value"] for row in own] == pytest.approx(acts.tolist(), rel=1e-5)
        assert {row["threshold"] for row in own} == {THRESHOLD}
    labels = table(whole, "labels.parquet")
    assert [row["task_id"] for row in labels] == [row["task_id"] for row in own]
    assert [row["split"] for row in labels] == ["hyperparams"] * 3 + ["validation"] * 12


def test_the_document_says_what_cannot_be_judged(whole, transferable):
    """A random model solves nothing, so that no card can be made of it."""
    result = json_of(whole, "transfer.json")
    assert result["target"]["name"] == "tuned" and result["n"] == {"hyperparams": 3, "validation": 12}
    why = "only 3 of its programs on hyperparams are incorrect: an evaluation needs 5"
    assert {entry["detection"]["why"] for entry in result["directions"].values()} == {why}
    assert result["directions"]["predict_correct"]["steering"] is None
    unusable, usable = (result["directions"][name]["steering"] for name in ("steer_incorrect", "steer_correct"))
    assert unusable["verdict"] == "cannot be steered: the tests say so" and "effect" not in unusable
    assert usable["norm"] == NORMS["resid_mid"] + 1 and usable["source"]["effect"] == as_json(EFFECT)
    assert usable["effect"]["n"] == 12 and usable["verdict"].startswith("cannot tell (")
    assert [site["layer"] for site in result["sites"]] == [0, 1, 2]
    assert all(site["source"]["missed_share"] == 0.25 and site["missed_share"] > 0 for site in result["sites"])
    assert len(result["sentences"]) == 2 + 4 + 2
    for each in result["tables"]:
        assert all(len(row) == len(each["columns"]) for row in each["rows"])


def test_what_an_sae_misses_at_the_last_prompt_token_is_a_share_of_the_squared_length(whole, transferable):
    resid = load_file(whole / "activations" / "layer_02.safetensors")["resid_post"][:15].astype(np.float64)
    sae = sae_of(transferable, 2)
    missed = resid - sae.decode(sae.encode(torch.from_numpy(resid).float())).numpy()
    site = json_of(whole, "transfer.json")["sites"][2]
    assert site["missed_share"] == pytest.approx((missed**2).sum() / (resid**2).sum(), rel=1e-4)
    between = ((missed - missed.mean(axis=0)) ** 2).sum() / ((resid - resid.mean(axis=0)) ** 2).sum()
    assert site["fvu_between"] == pytest.approx(between, rel=1e-4)


def test_slices_give_the_same_bytes(whole, begun, other_model):
    for start, end in ((14, None), (0, 13)):
        run_phase(PHASE, begun.data, transfer_config(begun, other_model), start=start, end=end)
    run = discovery.list_runs(TRANSFER, begun.data)[0]
    assert run.finished and content(run.path) == content(whole)


def test_a_stopped_run_goes_on_to_the_same_bytes(whole, begun, other_model):
    with pytest.raises(Stopped):
        run_phase(PHASE, begun.data, transfer_config(begun, other_model), stop=stop_after(2))
    assert discovery.n_saved(discovery.list_runs(TRANSFER, begun.data)[0].path) == 20
    assert content(run_phase(PHASE, begun.data, transfer_config(begun, other_model))) == content(whole)


def test_a_run_with_another_target_is_not_continued(begun, other_model):
    with pytest.raises(Stopped):
        run_phase(PHASE, begun.data, transfer_config(begun, other_model), stop=stop_after(1))
    other = save_lively(other_model, begun.data / "third", gain=0.0, noise=0.01)
    with pytest.raises(discovery.ArtifactMismatchError, match=r"cannot resume(.|\n)*to was tuned@(.|\n)*is third@"):
        run_phase(PHASE, begun.data, transfer_config(begun, other))


def test_a_model_of_another_shape_is_refused(begun, tmp_path):
    llama = save_tiny_llama(tmp_path / "llama")
    with pytest.raises(ConfigError, match=r"3 layers of width 64, .* has 4 of 64(.|\n)*--to"):
        run_phase(PHASE, begun.data, transfer_config(begun, llama))


def test_the_model_itself_is_refused(transferable):
    with pytest.raises(ConfigError, match=r"is the model itself(.|\n)*--to"):
        transfer_config(transferable, transferable.model).target()


@pytest.mark.parametrize(
    ("to", "message"),
    [("auto", r"no instruction-tuned model is known(.|\n)*with --to"), ("nowhere", "--to is 'nowhere'")],
)
def test_without_another_model_the_flag_is_named(transferable, to, message):
    with pytest.raises(ConfigError, match=message):
        transfer_config(transferable, to).experiment()


def test_the_instruction_tuned_model_is_known_for_each_base_model():
    found = {name: instruction_tuned(name) for name in MODELS}
    assert found["google/gemma-2-2b"] == "google/gemma-2-2b-it"
    assert found["google/gemma-3-1b-pt"] == "google/gemma-3-1b-it"
    assert found["meta-llama/Llama-3.1-8B"] == "meta-llama/Llama-3.1-8B-Instruct"
    assert found["organism"] is None and found["google/gemma-2-2b-it"] is None
    assert TransferConfig().target() == "google/gemma-2-2b-it"


def made_problems(n_tuning: int = 40, n_judging: int = 80) -> tuple[TargetProblems, np.ndarray]:
    """Judged problems, one of which could not be, with a latent that is larger on what fails."""
    rng = np.random.default_rng(7)
    splits, rows = {}, []
    for name, n in (("hyperparams", n_tuning), ("validation", n_judging)):
        splits[name] = [{"task_id": len(rows) + i, "complexity": int(rng.integers(1, 9))} for i in range(n)]
        rows += [{"task_id": p["task_id"], "label": rng.choice(["correct", "incorrect"])} for p in splits[name]]
    rows[5]["label"] = "not_run"
    problems = TargetProblems.of(splits, rows, TransferConfig(model="organism", to="x"))
    failed = np.array([row["label"] == "incorrect" for row in rows])
    acts = np.maximum(0, rng.normal(size=len(rows)) + 2.5 * failed)
    random = [rng.normal(size=len(rows)) for _ in range(12)]
    for name in ("predict_incorrect", "predict_correct"):
        problems.add(direction(name), acts, random)
    return problems, acts


def direction(name: str) -> Direction:
    return Direction(name, 2, 1, "s", made(SelectedLatent, {"layer": 2, "latent": 1}))


def test_cards_are_those_of_scikit_learn():
    problems, acts = made_problems()
    assert problems.counts == {"hyperparams": 39, "validation": 80}
    assert problems.left_out == {"hyperparams": {"not_run": 1}, "validation": {}}
    failed = np.array([row["label"] == "incorrect" for row in problems.rows])
    values, tuning, judging = np.delete(acts, 5), np.arange(39), np.arange(39, 119)
    for name, positive in (("predict_incorrect", failed), ("predict_correct", ~failed)):
        cards = as_json(problems.cards(name, 0.9))
        kept = cards["source_threshold"]
        assert kept["auroc"]["value"] == pytest.approx(roc_auc_score(positive[judging], values[judging]))
        assert kept["f1"]["value"] == pytest.approx(f1_score(positive[judging], values[judging] > 0.9))
        expected = average_precision_score(positive[judging], values[judging])
        assert kept["average_precision"]["value"] == pytest.approx(expected)
        scores = {t: f1_score(positive[tuning], values[tuning] > t) for t in values[tuning]}
        threshold = problems.refitted(name)
        assert f1_score(positive[tuning], values[tuning] > threshold) == pytest.approx(max(scores.values()))
        refitted = cards["refitted"]
        assert refitted["threshold"] == threshold and refitted["auroc"] == kept["auroc"]
        assert refitted["f1"]["value"] == pytest.approx(f1_score(positive[judging], values[judging] > threshold))
        always = f1_score(positive[judging], np.ones(80, dtype=bool))
        assert cards["always_positive_f1"] == pytest.approx(always)
        for which, used in (("source_threshold", 0.9), ("refitted", threshold)):
            difference = cards["against_always"][which]["f1_difference"]["value"]
            assert difference == pytest.approx(f1_score(positive[judging], values[judging] > used) - always)
        areas = [roc_auc_score(positive[judging], other[judging]) for other in problems.random[name]]
        quantiles = np.quantile(areas, [0.05, 0.5, 0.95])
        among = cards["random_latents"]["auroc"]
        assert [among["q05"], among["median"], among["q95"]] == pytest.approx(quantiles.tolist())
    assert problems.cards("predict_incorrect", 0.9)["verdict"] == "ranks"
    assert problems.cards("predict_correct", 0.9)["verdict"] == "does not rank"


def test_a_latent_that_others_of_its_layer_equal_ranks_no_better_than_they():
    problems, acts = made_problems()
    rng = np.random.default_rng(3)
    problems.add(direction("predict_incorrect"), acts, [acts + 0.01 * rng.normal(size=len(acts)) for _ in range(9)])
    assert problems.cards("predict_incorrect", 0.9)["verdict"] == "ranks no better than random latents"


def detected(card: dict) -> DetectedDirection:
    return made(DetectedDirection, {"card": card, "verdict": "ranks"})


def steering_rows() -> tuple:
    """Sixty problems: one direction corrects a third of what fails, the other does what was not wanted."""
    before = [{"task_id": i, "label": "correct" if i % 2 else "incorrect", "degenerate": False, "trajectory_kl": 0.0,
               "direction": "none"} for i in range(60)]  # fmt: skip
    after = {
        "steer_correct": ["correct" if i % 2 or i % 3 == 0 else "incorrect" for i in range(60)],
        "steer_incorrect": ["correct" if i % 2 or i < 20 else "incorrect" for i in range(60)],
    }
    rows = [*before]
    for name, labels in after.items():
        rows += [
            {
                **row,
                "label": label,
                "direction": name,
                "trajectory_kl": 0.3,
                "degenerate": name == "steer_correct" and i < 3,
            }
            for i, (row, label) in enumerate(zip(before, labels, strict=True))
        ]
    conditions = {name: steered(name, 2, "resid_post", 0.5) for name in after}
    wanted = {"steer_correct": "raise", "steer_incorrect": "lower"}
    tuned = {name: made(CoefficientCurve, {"wanted": what}) for name, what in wanted.items()}
    at_home = {"steer_correct": made(SteeredDirection, {"effect": as_json(EFFECT)})}
    return rows, 60, conditions, tuned, at_home, {(2, "resid_post"): 40.0}


def test_steering_is_judged_by_mcnemar_and_holm():
    found = as_json(findings.steering_entries(*steering_rows()))
    p_values = []
    for gained in (10, 10):
        p_values.append(mcnemar([[30, 0], [gained, 30 - gained]], exact=True).pvalue)
    adjusted = multipletests(p_values, method="holm")[1]
    assert [entry["mcnemar_p"] for entry in found.values()] == pytest.approx(p_values)
    assert [entry["p_holm"]["mcnemar"] for entry in found.values()] == pytest.approx(list(adjusted))
    assert found["steer_correct"]["verdict"] == "breaks the output; raises the pass rate (without controls)"
    assert found["steer_incorrect"]["verdict"] == "changes the pass rate, but against what was wanted"
    assert found["steer_incorrect"]["source"]["effect"] is None


def test_words_tables_and_figure_hold_both_models_side_by_side():
    steering = findings.steering_entries(*steering_rows())
    problems, acts = made_problems()
    for name in ("steer_incorrect", "steer_correct"):
        problems.add(direction(name), acts)
    cards = {name: detected(card(0.9)) for name in NAMES}
    found = findings.entries([direction(name) for name in NAMES], problems, cards, steering)
    names = findings.Names.of({"model": "google/gemma-2-2b", "to": "tuned@01234567"})
    assert names.short == ("gemma-2-2b", "tuned")
    assert findings.Names.of({"model": "a@01234567", "to": "a@12345678"}).target != "a"
    passed = findings.baseline({"predict_incorrect": detected(card(0.9, 30, 40))}, problems)
    low, high = proportion_confint(10, 40, method="wilson")
    assert vars(passed.source) == pytest.approx({"value": 0.25, "low": low, "high": high})
    assert findings.baseline({"predict_correct": detected(card(0.9, 30, 40))}, problems).source.value == 0.75
    assert passed.target.value == pytest.approx(1 - problems.incorrect[problems.split == "validation"].mean())
    site = {"layer": 2, "sae_id": "s", "missed_share": 0.31, "fvu_between": 0.9, "n": 9}
    site["source"] = {"missed_share": 0.25, "fvu_between": 0.5, "n": 9}
    site = from_json(TransferSite, site)
    words = findings.sentences(names, passed, [site], found)
    assert len(words) == 2 + 4 + 2 and "31 % at layer 2 (in google/gemma-2-2b 25 %)" in words[1]
    area = found["predict_incorrect"].detection.source_threshold.auroc.value
    assert f"AUROC {area:.2f} (" in words[2] and "0.70 (0.60 to 0.80) in google/gemma-2-2b" in words[2]
    detection, steered_table, _ = findings.tables(names, [site], found)
    assert len(detection.rows) == 3 * 4 and len(steered_table.rows) == 2 + 1
    json.dumps(as_json([found, detection, steered_table]), allow_nan=False)
    drawn = figures.side_by_side(names, found)
    assert drawn == figures.side_by_side(names, found) and b"gemma-2-2b" in drawn and b"steer-correct" in drawn
    assert not math.isnan(area)
