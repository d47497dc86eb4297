"""Covers phase 3.8: the file of pairs, the direction, programs and verdict on the organism, and its numbers."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from scipy.stats import binomtest
from selected_latents import json_of
from statsmodels.stats.proportion import proportion_confint
from toy_phases import content, run_phase, stop_after
from transformers import AutoModelForCausalLM, AutoTokenizer

from common.errors import ConfigError, UnknownHookError
from common.interventions.conditions import random_direction
from common.model.loading import load_model
from common.model.registry import control_pairs, model_location
from common.model.sites import resid_post_site
from common.stopping import Stopped
from phase3_validation.positive_control.config import PositiveControlConfig, left_out
from phase3_validation.positive_control.control import steering_vectors
from phase3_validation.positive_control.differences import mean_difference
from phase3_validation.positive_control.phase import PHASE
from phase3_validation.positive_control.twins import READ, of_pairs, read_twins

ROWS = [json.loads(line) for line in control_pairs("organism").read_text().splitlines()]
PAIRS = ("s_title>s_up", "sum>min", "d_vals>d_keys")  # of texts, lists and dictionaries
N_CONTROLS = 19


def chosen_rows(pairs, n_read: int = 4, n_steered: int = 3) -> list[dict]:
    wanted = {"read": n_read, "steer": n_steered}
    return [
        row
        for pair in pairs
        for use, n in wanted.items()
        for row in [row for row in ROWS if (row["pair"], row["use"]) == (pair, use)][:n]
    ]


def written(path: Path, rows: list) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def config(pairs: Path, **changes) -> PositiveControlConfig:
    usual = {"model": "organism", "layer": 4, "threads": 1, "max_new_tokens": 60, "batch_size": 128}
    return PositiveControlConfig(pairs=str(pairs), **{**usual, **changes})


@pytest.fixture(scope="module")
def organism():
    return load_model("organism", "cpu", threads=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A finished phase 3.8 of three pairs, three problems each."""
    folder = tmp_path_factory.mktemp("control")
    return run_phase(PHASE, folder / "data", config(written(folder / "pairs.jsonl", chosen_rows(PAIRS))))


@pytest.fixture(scope="module")
def rows(run) -> list[dict]:
    return pyarrow.parquet.read_table(run / "steering.parquet").to_pylist()


def test_the_difference_turns_programs_of_one_operation_into_the_other(run):
    found = json_of(run, "positive_control.json")["positive_control"]
    assert found["verdict"] == "raises the pass rate"
    assert found["effect"]["correction"]["n"] >= 7 and found["effect"]["correction"]["of"] == 9
    assert max(each["n_corrected"] for each in found["controls"]["random_direction"]["each"]) <= 2


def test_the_differences_of_other_pairs_do_nothing(tmp_path):
    """The same problems, steered along the direction of another kind of arguments."""
    other = dict(zip(PAIRS, (*PAIRS[1:], PAIRS[0]), strict=True))
    shuffled = [{**row, "pair": other[row["pair"]]} if row["use"] == "read" else row for row in chosen_rows(PAIRS)]
    found = run_phase(PHASE, tmp_path / "data", config(written(tmp_path / "pairs.jsonl", shuffled), n_controls=2))
    effect = json_of(found, "positive_control.json")["positive_control"]["effect"]
    assert effect["correction"]["n"] <= 1 and effect["correction"]["of"] == 9


def test_the_direction_is_the_one_that_plain_transformers_give(organism):
    twins = of_pairs(read_twins(control_pairs("organism")), READ)["sum>min"][:3]
    folder = model_location("organism")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    differences = []
    for twin in twins:
        prompts = ["\n".join([each.text, "", *each.test_list, "", "# Solution:", ""]) for each in (twin.a, twin.b)]
        ids = [tokenizer(p + each.code).input_ids for p, each in zip(prompts, (twin.a, twin.b), strict=True)]
        n = [len(tokenizer(prompt).input_ids) for prompt in prompts]
        shared = 0
        while ids[0][n[0] + shared] == ids[1][n[1] + shared]:
            shared += 1
        assert tokenizer.decode(ids[0][n[0] : n[0] + shared]).startswith(f"def {twin.a.entry_point}(")
        with torch.no_grad():
            streams = [model(torch.tensor([row]), output_hidden_states=True).hidden_states[4 + 1][0] for row in ids]
        differences.append(streams[1][n[1] - 1 + shared] - streams[0][n[0] - 1 + shared])
    found = mean_difference(organism, twins, resid_post_site(4))
    torch.testing.assert_close(found, torch.stack(differences).mean(0), rtol=1e-4, atol=1e-4)


def test_controls_have_the_length_of_what_is_added(organism, tmp_path):
    settings = config(tmp_path, n_controls=2, coefficient=0.5)
    twins = of_pairs(read_twins(control_pairs("organism")), READ)["sum>min"]
    none, own, *others = steering_vectors(organism, "sum>min", twins, settings, None)
    expected = 0.5 * mean_difference(organism, twins, resid_post_site(4))
    assert none is None and torch.equal(own.vector, expected)
    for index, other in enumerate(others):
        unit = random_direction(settings.seed, "sum>min", index, organism.d_model)
        torch.testing.assert_close(other.vector, expected.norm() * unit)


def test_a_program_is_judged_by_the_asserts_of_the_twin(rows):
    rows_of_file = chosen_rows(PAIRS)
    for row in [row for row in rows if row["control"] in ("none", "unsteered")]:
        twin, passes = rows_of_file[row["task_id"]], True
        namespace: dict = {}
        try:
            exec(row["code"], namespace)
            for test in twin["b"]["test_list"]:
                exec(test, namespace)
        except Exception:
            passes = False
        assert (row["label"] == "correct") == passes and row["pair"] == twin["pair"]


def test_the_numbers_are_those_of_statsmodels_and_scipy(run, rows):
    document = json_of(run, "positive_control.json")
    found, own = document["positive_control"], [row for row in rows if row["control"] == "none"]
    labels = {kind: [row["label"] for row in rows if row["control"] == kind] for kind in ("none", "unsteered")}
    passed, before = (np.array(each) == "correct" for each in labels.values())
    n, of = int((passed & ~before).sum()), int((~before).sum())
    low, high = proportion_confint(n, of, method="wilson")
    rate = found["effect"]["correction"]["rate"]
    assert (rate["value"], rate["low"], rate["high"]) == pytest.approx((n / of, low, high))
    changed = int((passed != before).sum())
    assert found["mcnemar_p"] == found["p_holm"]["mcnemar"] == pytest.approx(binomtest(n, changed).pvalue)
    of_controls = [
        sum(row["label"] == "correct" for row in rows if row["control_index"] == index) for index in range(N_CONTROLS)
    ]
    gains = [each - int(before.sum()) for each in of_controls]
    kind = found["controls"]["random_direction"]
    assert kind["rank"] == 1 + sum(gain >= passed.sum() - before.sum() for gain in gains)
    assert kind["rank_p"] == pytest.approx(kind["rank"] / (1 + N_CONTROLS))
    for pair, outcome in document["pairs"].items():
        here = [row["label"] == "correct" for row in own if row["pair"] == pair]
        assert (outcome["passed"]["n"], outcome["passed"]["of"]) == (sum(here), len(here)) and outcome["n_read"] == 4
        lengths = {round(row["length"], 3) for row in rows if row["pair"] == pair and row["control"] != "unsteered"}
        assert lengths == {round(outcome["length"], 3)}


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path):
    settings = config(written(tmp_path / "pairs.jsonl", chosen_rows(PAIRS[:1], 2, 2)), n_controls=2, batch_size=4)
    whole = run_phase(PHASE, tmp_path / "whole", settings)
    with pytest.raises(Stopped):
        run_phase(PHASE, tmp_path / "data", settings, stop=stop_after(1))
    again = run_phase(PHASE, tmp_path / "data", settings)
    kept = [json.loads((folder / "manifest.json").read_text())["content_sha256"] for folder in (whole, again)]
    assert kept[0] == kept[1] and content(whole).keys() == content(again).keys()


def test_a_block_that_the_model_does_not_have_is_refused(tmp_path):
    settings = config(written(tmp_path / "pairs.jsonl", chosen_rows(PAIRS[:1], 1, 1)), layer=6, n_controls=1)
    with pytest.raises(UnknownHookError, match="blocks.6.hook_resid_post"):
        run_phase(PHASE, tmp_path / "data", settings)


ROW = ROWS[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"use": "train"}, "line 1: field 'use' is 'train'"),
        ({"pair": ""}, "line 1: field 'pair' is ''"),
        ({"pair": 3}, "line 1: field 'pair' is 3"),
        ({"a": "def f(): pass"}, "line 1, a is 'def f"),
        ({"b": {**ROW["b"], "test_list": []}}, "line 1, b: field 'test_list' is \\[\\]"),
        ({"b": {**ROW["b"], "code": "def process(s:"}}, "line 1, b: field 'code' does not parse"),
        ({"b": ROW["a"]}, "line 1: a and b have the same 'code'"),
        ({"b": {**ROW["b"], "test_list": ROW["a"]["test_list"]}}, "line 1: a and b have the same 'test_list'"),
        (
            {"b": {"text": "T.", "code": "def g(s):\n    return 1", "test_list": ["assert g('') == 1"]}},
            "called .* and g",
        ),
        ({}, "has no twins with use 'steer'"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(tmp_path, changes, told):
    with pytest.raises(ConfigError, match=told):
        read_twins(written(tmp_path / "pairs.jsonl", [{**ROW, **changes}]))


def test_a_row_without_a_field_is_refused_by_its_name(tmp_path):
    lacking = {key: value for key, value in ROW.items() if key != "b"}
    with pytest.raises(ConfigError, match="line 1: field 'b' is missing\nGive an object with pair, use, a, b"):
        read_twins(written(tmp_path / "pairs.jsonl", [lacking]))


def test_a_missing_file_and_a_model_without_pairs_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no such file"):
        config(tmp_path / "none.jsonl").experiment()
    alone = PositiveControlConfig(model="google/gemma-2-2b")
    with pytest.raises(ConfigError, match="no pairs of problems are known for the model google/gemma-2-2b\n.*--pairs"):
        alone.experiment()
    assert "google/gemma-2-2b" in left_out(alone) and not left_out(PositiveControlConfig(model="organism"))


def test_pairs_are_known_by_their_content(tmp_path):
    named = [config(written(tmp_path / f"{name}.jsonl", ROWS[:n])) for name, n in (("a", 9), ("b", 9), ("b2", 10))]
    digests = [each.experiment()["pairs"].partition("@")[2] for each in named]
    assert digests[0] == digests[1] != digests[2] and math.prod(map(len, digests)) == 8**3
