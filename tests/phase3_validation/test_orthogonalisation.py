"""Covers phase 3.5: records, programs by an independent projection, slices and resumption, statistics, verification."""

import copy
import json
import math
import random
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from documents import made
from safetensors.numpy import load_file
from scipy.stats import binomtest, fisher_exact
from selected_latents import SmallExperiment, json_of
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from toy_phases import run_phase, stop_after
from whole_selections import copied

from common.errors import ConfigError
from common.handoffs import GENERAL_TEXT, LATENTS, ORTHOGONALISATION
from common.handoffs.changes import StillWritten
from common.handoffs.document import as_json
from common.handoffs.selected import SelectedLatent
from common.handoffs.steering import MATCHED_LATENT, Change
from common.interventions.conditions import NONE, UNSTEERED, Condition
from common.interventions.controls import match
from common.interventions.directions import Direction
from common.model.generation import generate
from common.model.hooks import decoder_blocks
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.programs.solutions import request_for
from common.runs import discovery
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from common.stopping import Stopped
from phase3_validation.orthogonalisation import findings, weights
from phase3_validation.orthogonalisation.config import OrthogonalisationConfig
from phase3_validation.orthogonalisation.figures import among_matched
from phase3_validation.orthogonalisation.phase import PHASE

N_MADE = 19  # controls whose programs are made up
N, K, TOKENS, BATCH = 12, 2, 12, 20  # batches of twenty straddle the twelve problems of a condition


@pytest.fixture(scope="session")
def selection(lively_experiment) -> SmallExperiment:
    """A data folder where phase 3.5 is still to be run."""
    return lively_experiment


@pytest.fixture
def begun(selection, tmp_path) -> SmallExperiment:
    return copied(selection, tmp_path / "data")


@pytest.fixture(scope="session")
def whole(selection, tmp_path_factory) -> Path:
    data = copied(selection, tmp_path_factory.mktemp("whole") / "data").data
    return run_phase(PHASE, data, config_of(selection))


def config_of(experiment: SmallExperiment, **changes) -> OrthogonalisationConfig:
    settings = {"n_controls": K, "max_new_tokens": TOKENS, "batch_size": BATCH, "threads": 1}
    return OrthogonalisationConfig(**experiment.words, **{**settings, **changes})


def rows_of(run: Path) -> list[dict]:
    return pyarrow.parquet.read_table(run / "orthogonalised.parquet").to_pylist()


def validation_of(experiment: SmallExperiment) -> list[dict]:
    path = next((experiment.data / "phase0_1").glob("*/validation_small.parquet"))
    return pyarrow.parquet.read_table(path).to_pylist()


def content(run: Path) -> dict[str, bytes]:
    skipped = {"manifest.json", "log.txt"}
    files = (path for path in run.rglob("*") if path.is_file() and path.name not in skipped)
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def projected_by_hand(lm: LanguageModel, d: torch.Tensor) -> LanguageModel:
    """A copy of a Gemma-2 without direction d, made from the formulas with matrices I - v v^T."""
    model = copy.deepcopy(lm.model).double()
    unit = d.double() / d.double().norm()
    embedding = model.get_input_embeddings().weight
    model.lm_head.weight = torch.nn.Parameter(embedding.detach().clone(), requires_grad=False)
    embedding.copy_(embedding @ (torch.eye(len(d)) - torch.outer(unit, unit)))
    for block in decoder_blocks(model):
        for matrix, norm in (
            (block.self_attn.o_proj, block.post_attention_layernorm),
            (block.mlp.down_proj, block.post_feedforward_layernorm),
        ):
            v = (1 + norm.weight) * unit
            v = v / v.norm()
            matrix.weight.copy_((torch.eye(len(d)) - torch.outer(v, v)) @ matrix.weight)
    return LanguageModel(model.float(), lm.tokenizer, lm.name, lm.device, lm.dtype, None)


def test_records_are_condition_by_condition_with_matched_latents_of_the_same_layer(whole, selection):
    rows, tasks = rows_of(whole), [problem["task_id"] for problem in validation_of(selection)]
    assert [row["record"] for row in rows] == list(range(len(rows))) and len(rows) == 7 * N
    assert [row["task_id"] for row in rows] == tasks * 7
    conditions = [(rows[N * i]["direction"], rows[N * i]["control"]) for i in range(7)]
    both = [
        (name, control) for name in ("steer_incorrect", "steer_correct") for control in (NONE, *[MATCHED_LATENT] * K)
    ]
    assert conditions == [("none", "unsteered"), *both]
    layers = {row["direction"]: row["layer"] for row in rows}
    assert layers == {"none": -1, "steer_incorrect": 1, "steer_correct": 2}
    chosen = {row["control_index"] for row in rows if row["control"] == MATCHED_LATENT}
    assert len(chosen) > K and not chosen & {9, 8}
    assert {(row["site"], row["coefficient"]) for row in rows} == {("", 0.0)}


def test_controls_are_the_latents_along_which_the_stream_varies_as_much(whole, selection):
    text = discovery.list_runs(GENERAL_TEXT, selection.data)[0].path
    columns = pyarrow.parquet.read_table(
        discovery.list_runs(LATENTS, selection.data)[0].path / "latents.parquet"
    ).to_pandas()
    for name, entry in json_of(whole, "orthogonalisation.json")["directions"].items():
        layer, latent = selection.latents[name]
        resid = load_file(text / f"activations/layer_{layer:02d}.safetensors")["resid_post"].astype(float)[1:]
        decoder = load_sae(sae_source(str(selection.sae), str(selection.model)), layer).W_dec.double().numpy()
        variance = [np.var(resid @ (row / np.linalg.norm(row)), ddof=1) for row in decoder]
        chosen = {own for there, own in selection.latents.values() if there == layer}
        can_be = [
            int(row["latent"])
            for _, row in columns[columns["layer"] == layer].iterrows()
            if row["latent"] not in chosen and abs(row["separation"]) < 0.01
        ]
        nearest = sorted(can_be, key=lambda one: abs(np.log(variance[one] / variance[latent])))[:K]
        found = entry["controls"][MATCHED_LATENT]
        assert [control["index"] for control in found["each"]] == nearest
        assert found["match"]["own"]["variance"] == pytest.approx(variance[latent])
        assert found["match"]["each"]["variance"] == pytest.approx([variance[one] for one in nearest])


def test_programs_are_those_of_a_model_projected_by_hand(whole, selection):
    lm = load_model(str(selection.model), "cpu", "float32", 1)
    problems = validation_of(selection)
    requests = [request_for(problem, 42) for problem in problems]
    sae = load_sae(sae_source(str(selection.sae), str(selection.model)), 2)
    rows = rows_of(whole)
    unchanged = [one.token_ids for one in generate(lm, requests, max_new_tokens=TOKENS)]
    assert [row["token_ids"] for row in rows[:N]] == unchanged
    unchanged_of = dict(zip((row["task_id"] for row in rows[:N]), unchanged, strict=True))
    for start in (4 * N, 5 * N):  # steer_correct, and its nearest control
        latent = 8 if start == 4 * N else rows[start]["control_index"]
        by_hand = projected_by_hand(lm, sae.W_dec[latent])
        expected = [one.token_ids for one in generate(by_hand, requests, max_new_tokens=TOKENS)]
        assert [row["token_ids"] for row in rows[start : start + N]] == expected != unchanged
        for row, request in zip(rows[start : start + N], requests, strict=True):
            prompt, program = lm.tokenizer(request.prompt.text)["input_ids"], unchanged_of[row["task_id"]]
            ids = torch.tensor([[*prompt, *program[:-1]]])
            p, q = (model.model(ids).logits[0, len(prompt) - 1 :].log_softmax(-1) for model in (lm, by_hand))
            expected = float((p.exp() * (p - q)).sum(-1).mean())
            assert row["trajectory_kl"] == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_what_components_still_write_is_measured_on_every_prompt(whole):
    rows, result = rows_of(whole), json_of(whole, "orthogonalisation.json")
    assert all(math.isnan(row["share"]) and row["component"] == "" for row in rows[:N])
    assert all(0 < row["share"] < 1e-6 < 0.01 < row["share_before"] <= 1 for row in rows[N:])
    assert {row["component"].split(".")[0] for row in rows[N:]} <= {"embedding", "blocks", weights.STREAM}
    for name, entry in result["verification"].items():
        own = [row for row in rows if row["direction"] == name and row["control"] == NONE]
        worst = max(own, key=lambda row: row["share"])
        assert (entry["worst"], entry["component"]) == (worst["share"], worst["component"])
        assert entry["before"] == max(row["share_before"] for row in own) and entry["limit"] == 1e-5
        of_controls = [r["share"] for r in rows if r["direction"] == name and r["control"] == MATCHED_LATENT]
        assert entry["controls"] == max(of_controls) and entry["n_prompts"] == N


def test_a_projection_without_the_gain_ends_the_run_before_anything_is_saved(begun, monkeypatch):
    monkeypatch.setattr(weights.Writer, "removed_from_matrix", lambda self, d: d / d.norm())  # the known mistake
    with pytest.raises(weights.PipelineError, match="still writes the direction"):
        run_phase(PHASE, begun.data, config_of(begun))
    run = discovery.list_runs(ORTHOGONALISATION, begun.data)[0]
    assert not run.finished and discovery.n_saved(run.path) == 0


def test_the_document_holds_what_the_report_shows(whole):
    result = json_of(whole, "orthogonalisation.json")
    assert result["n"] == N and result["readings"] == 1
    assert result["agrees_with_phase_1"] == {"same_tokens": N, "of": N}
    assert {name: entry["wanted"] for name, entry in result["directions"].items()} == {
        "steer_incorrect": "raise",
        "steer_correct": "lower",
    }
    assert len(result["sentences"]) == 3 and all(len(sentence) > 50 for sentence in result["sentences"])
    for table in result["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"]) and table["rows"]
    assert (whole / "figures" / "orthogonalisation.svg").read_text().rstrip().endswith("</svg>")
    summary = json_of(whole, "manifest.json")["summary"]
    verdict = "cannot tell (no effect would show in such a run); fewer than 19 controls of a kind"
    assert summary["steer_correct"] == result["directions"]["steer_correct"]["verdict"] == verdict


def test_slices_give_the_same_bytes(whole, begun):
    for start, end in ((60, None), (0, 24), (25, 59)):
        run_phase(PHASE, begun.data, config_of(begun), start=start, end=end)
    run = discovery.list_runs(ORTHOGONALISATION, begun.data)[0]
    assert run.finished and content(run.path) == content(whole)


def test_a_stopped_run_goes_on_to_the_same_bytes(whole, begun):
    with pytest.raises(Stopped):
        run_phase(PHASE, begun.data, config_of(begun), stop=stop_after(2))
    assert discovery.n_saved(discovery.list_runs(ORTHOGONALISATION, begun.data)[0].path) == 2 * BATCH
    assert content(run_phase(PHASE, begun.data, config_of(begun))) == content(whole)


def test_fewer_problems_and_one_direction_are_spaced_over_the_split(begun):
    run = run_phase(PHASE, begun.data, config_of(begun, problems=3, directions=("steer_correct",), n_controls=1))
    tasks = [problem["task_id"] for problem in validation_of(begun)]
    assert [row["task_id"] for row in rows_of(run)] == [tasks[0], tasks[6], tasks[11]] * 3


@pytest.mark.parametrize("directions", [(), ("steer_correct", "steer_correct"), ("up",)])
def test_impossible_directions_are_refused(directions):
    with pytest.raises(ConfigError, match=r"--directions is(.|\n)*steer_correct"):
        OrthogonalisationConfig(directions=directions)


MATCH = match({"variance": 2.0}, {"variance": [2.0] * N_MADE})


def made_rows(labels: list[str], seed: int, **columns) -> list[dict]:
    chance = random.Random(seed)
    return [
        {"task_id": i, "label": label, "degenerate": chance.random() < 0.1, "trajectory_kl": chance.random(), **columns}
        for i, label in enumerate(labels)
    ]


def flipped(labels: list[str], corrected: float, corrupted: float, seed: int) -> list[str]:
    chance, other = random.Random(seed), {"correct": "incorrect", "incorrect": "correct"}
    rate = {"incorrect": corrected, "correct": corrupted}
    return [other[label] if chance.random() < rate[label] else label for label in labels]


@pytest.fixture(scope="session")
def made_entries() -> tuple[dict, dict]:
    """Rows of 200 problems where the loss of steer_correct corrupts much, that of steer_incorrect nothing."""
    before = ["correct" if i % 2 else "incorrect" for i in range(200)]
    rows, own, controls = {UNSTEERED: made_rows(before, 0)}, {}, {}
    for place, (name, corrupted) in enumerate((("steer_correct", 0.4), ("steer_incorrect", 0.05))):
        own[name] = Condition(name, NONE, -1, 2, "", 0.0)
        rows[own[name]] = made_rows(flipped(before, 0.05, corrupted, 10 + place), place)
        controls[name] = {k: Condition(name, MATCHED_LATENT, k, 2, "", 0.0) for k in range(N_MADE)}
        for k, condition in controls[name].items():
            rows[condition] = made_rows(flipped(before, 0.05, 0.05, 50 + N_MADE * place + k), k)
    statistics = made(SelectedLatent, {"layer": 2, "latent": 1})
    directions = [Direction(name, 2, 1, "s", statistics) for name in own]
    return findings.entries(directions, rows[UNSTEERED], rows, own, controls, dict.fromkeys(own, MATCH)), rows


def test_the_statistics_are_those_of_scipy_and_statsmodels(made_entries):
    entries, rows = as_json(made_entries[0]), made_entries[1]
    before = [row["label"] == "correct" for row in rows[UNSTEERED]]
    p_mcnemar, p_fisher = {}, {}
    for name, entry in entries.items():
        after = {condition: [row["label"] == "correct" for row in of] for condition, of in rows.items()}
        own = after[Condition(name, NONE, -1, 2, "", 0.0)]
        matched = [
            passed
            for condition, passed in after.items()
            if condition.direction == name and condition.control == MATCHED_LATENT
        ]
        table = [
            [sum(a == x and b == y for a, b in zip(before, own, strict=True)) for y in (True, False)]
            for x in (True, False)
        ]
        corrupted, corrected = table[0][1], table[1][0]
        assert entry["effect"]["net_change"]["value"] == pytest.approx((sum(own) - sum(before)) / 200)
        assert (entry["effect"]["correction"]["n"], entry["effect"]["corruption"]["n"]) == (corrected, corrupted)
        low, high = proportion_confint(corrupted, 100, method="wilson")
        assert entry["effect"]["corruption"]["rate"]["low"] == pytest.approx(low)
        assert entry["effect"]["corruption"]["rate"]["high"] == pytest.approx(high)
        p_mcnemar[name] = entry["mcnemar_p"]
        assert entry["mcnemar_p"] == pytest.approx(mcnemar(table, exact=True).pvalue)
        lost, hits = name == "steer_correct", corrupted if name == "steer_correct" else corrected
        pooled = sum(a == lost and b != a for passed in matched for a, b in zip(before, passed, strict=True))
        found = entry["controls"][MATCHED_LATENT]
        p_fisher[name] = found["fisher_p"]
        expected = fisher_exact([[hits, 100 - hits], [pooled, 100 * N_MADE - pooled]], alternative="greater").pvalue
        assert found["fisher_p"] == pytest.approx(expected) and found["pooled"]["n"] == pooled
        assert found["binomial_p"] == pytest.approx(binomtest(hits, 100, pooled / (100 * N_MADE), "greater").pvalue)
        sign = -1 if lost else 1
        assert found["rank"] == 1 + sum(sign * sum(passed) >= sign * sum(own) for passed in matched)
    for p_values, key in ((p_mcnemar, "mcnemar"), (p_fisher, "fisher")):
        adjusted = multipletests(list(p_values.values()), method="holm")[1]
        assert [entries[name]["p_holm"][key] for name in p_values] == pytest.approx(list(adjusted))


def test_words_follow_from_the_numbers(made_entries):
    entries, _ = made_entries
    assert entries["steer_correct"].verdict.change is Change.LOWERS
    assert entries["steer_incorrect"].verdict.change in (Change.NOTHING, Change.CANNOT_TELL)
    measured = StillWritten(worst=3e-8, component="embedding", limit=1e-5, before=0.4, controls=2e-7, n_prompts=9)
    words = findings.sentences({name: measured for name in entries}, entries)
    assert "at most 2e-07 of its length" in words[0] and "allowed: 1e-05" in words[0]
    assert (
        "which should lower the pass rate, because it speaks for correct programs, this changes by" in words[1]
        and "lowers the pass rate. An effect of 5 points would have been" in words[1]
    )
    json.dumps(as_json(findings.tables({name: measured for name in entries}, entries)), allow_nan=False)


def test_the_figure_has_the_same_bytes_each_time(made_entries):
    first, second = among_matched(made_entries[0]), among_matched(made_entries[0])
    assert first == second and b"without a matched latent" in first
