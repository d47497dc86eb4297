"""Covers phase 3.7: its prompts, records, slices and resumption, activations, and its numbers, computed anew here."""

import ast
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from documents import made
from runs import content
from scipy.stats import binomtest, norm
from selected_latents import SmallExperiment, json_of
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint
from toy_phases import run_phase, stop_after

from common.errors import ConfigError
from common.handoffs import ABLATION, GENERATION_FIELDS
from common.handoffs.changes import AblationDocument
from common.handoffs.document import as_json, from_json
from common.handoffs.selected import SelectedLatent
from common.interventions.directions import NAMES, Direction
from common.model.loading import load_model
from common.problems.datasets import load_problems
from common.problems.prompt import build_prompt
from common.problems.syntax import parse_python
from common.runs import discovery
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from common.stopping import Stopped
from phase3_validation.ablation import outcomes, words
from phase3_validation.ablation.config import ABLATIONS, AblationConfig
from phase3_validation.ablation.phase import PHASE
from phase3_validation.ablation.prompt_ablation import requests_for
from phase3_validation.ablation.prompts import ablated_prompt, donors, renamed

PROBLEM = {
    "task_id": 1,
    "text": "Write a function to add one.",
    "entry_point": "add_one",
    "test_list": ["assert add_one(1) == 2", "assert add_one(2) == 3"],
}
DONOR = {**PROBLEM, "task_id": 2, "entry_point": "sort", "test_list": ["assert sort([2, 1], key='sort') == [1, 2]"]}
N = len(ABLATIONS)


@pytest.mark.parametrize(
    ("ablation", "text"),
    [
        ("none", "Write a function to add one.\n\nassert add_one(1) == 2\nassert add_one(2) == 3\n\n# Solution:\n"),
        ("no_tests", "Write a function to add one.\n\n# Solution:\n"),
        ("name_only", "Write a function to add one.\n\nassert callable(add_one)\n\n# Solution:\n"),
        (
            "shuffled_tests",
            "Write a function to add one.\n\nassert add_one([2, 1], key='sort') == [1, 2]\n\n# Solution:\n",
        ),
        ("no_description", "assert add_one(1) == 2\nassert add_one(2) == 3\n\n# Solution:\n"),
    ],
)
def test_each_prompt_by_hand(ablation, text):
    prompt = ablated_prompt(ablation, PROBLEM, DONOR)
    assert prompt.text == text
    assert prompt.text[: prompt.description_end] == ("" if ablation == "no_description" else PROBLEM["text"])
    assert text[prompt.tests_end :] == "\n\n# Solution:\n"


def test_the_whole_prompt_is_that_of_every_other_phase():
    for problem in load_problems("organism").problems:
        fields = {"text": problem.text, "test_list": problem.test_list, "entry_point": problem.entry_point}
        asserts = "\n".join(test.strip() for test in problem.test_list)
        assert ablated_prompt("none", fields, fields).text == f"{problem.text.strip()}\n\n{asserts}\n\n# Solution:\n"


def test_prompts_without_a_section_keep_one_blank_line_between_the_others():
    assert build_prompt(" Add. ", ()).text == "Add.\n\n# Solution:\n"
    assert build_prompt("", ["assert f(1)"]).text == "assert f(1)\n\n# Solution:\n"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("n", [2, 3, 50])
def test_shuffling_gives_every_problem_the_tests_of_another_one_and_all_tests_once(n, seed):
    given = donors(n, seed)
    assert sorted(given) == list(range(n)) and all(own != other for own, other in enumerate(given))
    assert given == donors(n, seed)


def test_another_seed_shuffles_otherwise_and_a_single_problem_cannot_be_shuffled():
    assert donors(50, 1) != donors(50, 2)
    with pytest.raises(ConfigError, match="tests of 1 problem cannot be shuffled\n.*--ablations"):
        donors(1, 0)


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("assert f(1) == 2", "assert area(1) == 2"),
        ("assert set(f(x) for x in f) == {1}", "assert set(area(x) for x in area) == {1}"),
        ("assert 'ä🎉' + f('f(1)') == \"f\"", "assert 'ä🎉' + area('f(1)') == \"f\""),
        ("assert obj.f(f=f) == ff", "assert obj.f(f=area) == ff"),
        ("assert g(1) == '\\d'", "assert g(1) == '\\d'"),
        ("assert f'{1}' == f(1)", "assert f'{1}' == area(1)"),
    ],
)
def test_a_function_gets_another_name_where_it_is_a_name(test, expected):
    assert renamed(test, "f", "area") == expected


def test_shuffled_asserts_parse_call_the_own_function_and_say_the_same_otherwise():
    problems = load_problems("organism").problems[::7]
    for problem, number in zip(problems, donors(len(problems), 42), strict=True):
        other = problems[number]
        for test in other.test_list:
            changed = renamed(test, other.entry_point, problem.entry_point)
            names = {node.id for node in ast.walk(parse_python(changed)) if isinstance(node, ast.Name)}
            assert problem.entry_point in names and other.entry_point not in names - {problem.entry_point}
            assert renamed(changed, problem.entry_point, other.entry_point) == test


# --- the phase, on a tiny model


def config_of(experiment: SmallExperiment, **changes) -> AblationConfig:
    settings = {"max_new_tokens": 12, "batch_size": 8, "threads": 1, "n_resamples": 1000}
    return AblationConfig(**experiment.words, **{**settings, **changes})


@pytest.fixture
def begun(small_experiment, tmp_path) -> Path:
    """A data folder where phase 3.7 is still to be run."""
    for name in ("phase0_1", "phase1_0", "phase2"):
        shutil.copytree(small_experiment.data / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def whole(small_experiment, tmp_path_factory) -> Path:
    data = tmp_path_factory.mktemp("whole")
    for name in ("phase0_1", "phase1_0", "phase2"):
        shutil.copytree(small_experiment.data / name, data / name)
    return run_phase(PHASE, data, config_of(small_experiment))


def rows_of(run: Path, name: str) -> list[dict]:
    return pyarrow.parquet.read_table(run / name).to_pylist()


def validation_of(experiment: SmallExperiment) -> list[dict]:
    return pyarrow.parquet.read_table(next(experiment.data.glob("phase0_1/*/validation_small.parquet"))).to_pylist()


def test_records_are_problem_by_problem_with_all_prompts_of_each(whole, small_experiment):
    rows, problems = rows_of(whole, "ablation.parquet"), validation_of(small_experiment)
    assert list(rows[0]) == ["record", "ablation", *GENERATION_FIELDS] and len(rows) == N * len(problems)
    for record, row in enumerate(rows):
        assert row["record"] == record and row["ablation"] == ABLATIONS[record % N]
        assert row["task_id"] == problems[record // N]["task_id"] and row["temperature"] == 0
    first = [row["prompt"] for row in rows[:N]]
    assert len(set(first)) == N and first[0] == build_prompt(problems[0]["text"], problems[0]["test_list"]).text


def test_every_program_is_judged_by_the_tests_of_its_own_problem(small_experiment):
    problems = validation_of(small_experiment)
    for record, request in enumerate(requests_for(problems, config_of(small_experiment))):
        assert request.problem is problems[record // N]


def test_the_whole_prompts_and_their_programs_are_those_of_phase_1(whole, small_experiment):
    phase_1 = next(small_experiment.data.glob("phase1_0/*/dataset.parquet"))
    earlier = {row["task_id"]: row for row in pyarrow.parquet.read_table(phase_1).to_pylist()}
    own = [row for row in rows_of(whole, "ablation.parquet") if row["ablation"] == "none"]
    assert all(row["prompt"] == earlier[row["task_id"]]["prompt"] for row in own)
    same = sum(row["token_ids"] == earlier[row["task_id"]]["token_ids"] for row in own)
    assert json_of(whole, "prompt_ablation.json")["agrees_with_phase_1"] == {"same_tokens": same, "of": len(own)}
    assert same == len(own)


def test_activations_are_those_of_a_pass_of_one_prompt(whole, small_experiment):
    rows, found = rows_of(whole, "ablation.parquet"), rows_of(whole, "activations.parquet")
    assert len(found) == len(rows) * len(NAMES)
    lm = load_model(str(small_experiment.model), "cpu", threads=1)
    saes = sae_source(str(small_experiment.sae), str(small_experiment.model))
    fired = 0
    for number in range(0, len(rows), 7):
        with torch.no_grad():
            states = lm.model(
                **lm.tokenizer(rows[number]["prompt"], return_tensors="pt"), output_hidden_states=True
            ).hidden_states
        for place, name in enumerate(NAMES):
            layer, latent = small_experiment.latents[name]
            sae, entry = load_sae(saes, layer), found[number * len(NAMES) + place]
            pre = float(states[layer + 1][0, -1] @ sae.W_enc[:, latent])
            assert (entry["direction"], entry["ablation"]) == (name, rows[number]["ablation"])
            assert entry["task_id"] == rows[number]["task_id"]
            assert entry["activation"] == pytest.approx(pre if pre > 0.1 else 0, rel=1e-4, abs=1e-3)
            fired += entry["activation"] > 0
    assert fired > 5


def test_slices_give_the_same_bytes(whole, small_experiment, begun):
    for start, end in ((21, None), (0, 20)):  # a border inside a batch
        run_phase(PHASE, begun, config_of(small_experiment), start=start, end=end)
    run = discovery.list_runs(ABLATION, begun)[0]
    assert run.finished and content(run.path) == content(whole)


def test_a_stopped_run_goes_on_to_the_same_bytes(whole, small_experiment, begun):
    with pytest.raises(Stopped):
        run_phase(PHASE, begun, config_of(small_experiment), stop=stop_after(3))
    assert discovery.n_saved(discovery.list_runs(ABLATION, begun)[0].path) == 3 * (8 // 4)
    assert content(run_phase(PHASE, begun, config_of(small_experiment))) == content(whole)


def test_fewer_prompts_can_be_tried(small_experiment, begun, whole):
    run = run_phase(PHASE, begun, config_of(small_experiment, ablations=("none", "no_description")))
    own, all_of_them = rows_of(run, "ablation.parquet"), rows_of(whole, "ablation.parquet")
    kept = [row for row in all_of_them if row["ablation"] in ("none", "no_description")]
    assert [row["token_ids"] for row in own] == [row["token_ids"] for row in kept]
    assert list(json_of(run, "prompt_ablation.json")["ablations"]) == ["none", "no_description"]


def test_the_numbers_of_the_phase_follow_from_its_tables(whole, small_experiment):
    result, rows = json_of(whole, "prompt_ablation.json"), rows_of(whole, "ablation.parquet")
    activations = rows_of(whole, "activations.parquet")
    assert result["n"] == len(rows) // N and result["readings"] == 1
    for name, entry in result["ablations"].items():
        own = [row for row in rows if row["ablation"] == name]
        assert entry["labels"] == dict(Counter(row["label"] for row in own))
        assert sum(entry["errors"].values()) == entry["labels"].get("incorrect", 0)
    draws = np.random.default_rng(42).multinomial(result["n"], np.full(result["n"], 1 / result["n"]), size=1000)
    for direction, found in result["directions"].items():
        own = [row for row in activations if row["direction"] == direction]
        values = {name: np.array([row["activation"] for row in own if row["ablation"] == name]) for name in ABLATIONS}
        assert found["sd"] == pytest.approx(values["none"].std(ddof=1))
        for name in ABLATIONS[1:]:
            change = values[name] - values["none"]
            expected = [change.mean(), *np.quantile(draws @ change / len(change), [0.025, 0.975])]
            entry = found["ablations"][name]
            assert list(entry["change"].values()) == pytest.approx(expected)
            assert list(entry["change_in_sd"].values()) == pytest.approx(np.array(expected) / found["sd"])
            assert entry["mean"]["value"] == pytest.approx(values[name].mean())
            assert entry["firing_rate"] == (values[name] > 0).mean()
    manifest = json_of(whole, "manifest.json")
    assert {"ablation.parquet", "activations.parquet", "figures/prompt_ablation.svg"} <= manifest["files"].keys()
    assert manifest["summary"]["programs"] == len(rows)


def test_the_validation_split_is_not_read_again_with_another_selection(small_experiment, begun):
    run_phase(PHASE, begun, config_of(small_experiment, ablations=("none", "no_tests")))
    other = SmallExperiment(begun, *(Path(small_experiment.words[name]) for name in ("dataset", "model", "sae")))
    other.latents["steer_correct"] = (3, 3)
    other.select()
    with pytest.raises(ConfigError, match="evaluated with another selection.*\n.*--reuse-validation"):
        run_phase(PHASE, begun, config_of(small_experiment, ablations=("none", "no_tests")))
    run = run_phase(PHASE, begun, config_of(small_experiment, ablations=("none", "no_tests"), reuse_validation=True))
    assert json_of(run, "prompt_ablation.json")["readings"] == 2


@pytest.mark.parametrize(
    "ablations", [("no_tests",), ("no_tests", "none"), ("none", "none"), (), ("none", "no_tests", "no_tests")]
)
def test_prompts_to_try_begin_with_the_whole_one_and_are_named_once(ablations):
    with pytest.raises(ConfigError, match="Give none first"):
        AblationConfig(ablations=ablations)
    with pytest.raises(ConfigError, match="--ablations is 'whole'"):
        AblationConfig(ablations=("whole",))


# --- the numbers, on labels that are made up


def made_up(n: int = 200, seed: int = 0) -> tuple[list[dict], list[dict], dict[int, str]]:
    """Programs and activations where fewer programs pass without tests, and a latent tells which."""
    rng = np.random.default_rng(seed)
    rows, activations = [], []
    for task_id in range(n):
        for ablation, chance in (("none", 0.6), ("no_tests", 0.2), ("name_only", 0.55)):
            label = "correct" if rng.random() < chance else "incorrect"
            label = "not_run" if rng.random() < 0.03 else label
            code = (
                f"def f{task_id}():\n    pass" if rng.random() < 0.7 else ("def g():\n    pass", "def f(:")[task_id % 2]
            )
            error = "wrong_answer" if label == "incorrect" else None
            rows.append({"task_id": task_id, "ablation": ablation, "label": label, "error": error, "code": code})
            value = max(0.0, rng.normal() + (label == "incorrect") + (ablation == "no_tests"))
            activations.append(
                {"task_id": task_id, "ablation": ablation, "direction": "predict_incorrect", "activation": value}
            )
    return rows, activations, {task_id: f"f{task_id}" for task_id in range(n)}


def test_rates_and_differences_agree_with_scipy_and_statsmodels():
    rows, _, names = made_up()
    found = as_json(outcomes.ablations(rows, ("none", "no_tests", "name_only"), names))
    by = {name: {row["task_id"]: row["label"] for row in rows if row["ablation"] == name} for name in found}
    p_values = []
    for name, entry in found.items():
        labels = Counter(by[name].values())
        n = labels["correct"] + labels["incorrect"]
        low, high = proportion_confint(labels["correct"], n, method="wilson")
        assert list(entry["pass_rate"].values()) == pytest.approx([labels["correct"] / n, low, high])
        if name != "none":
            pairs = [(by["none"][i], by[name][i]) for i in names if "not_run" not in (by["none"][i], by[name][i])]
            gained, lost = (pairs.count(change) for change in (("incorrect", "correct"), ("correct", "incorrect")))
            assert (entry["pairs"], entry["left_out"]) == (len(pairs), 200 - len(pairs))
            assert (entry["gained"], entry["lost"]) == (gained, lost)
            p_values.append(binomtest(min(gained, lost), gained + lost).pvalue)
            assert entry["mcnemar_p"] == pytest.approx(p_values[-1])
            shares = [(count + 1) / (len(pairs) + 2) for count in (gained, lost)]
            variance = (sum(shares) - (shares[0] - shares[1]) ** 2) / (len(pairs) + 2)
            half = norm.ppf(0.975) * math.sqrt(variance)
            expected = [(gained - lost) / len(pairs), shares[0] - shares[1] - half, shares[0] - shares[1] + half]
            assert list(entry["difference"].values()) == pytest.approx(expected)
    holm = multipletests(p_values, method="holm")[1]
    assert [found[name]["mcnemar_p_holm"] for name in ("no_tests", "name_only")] == pytest.approx(holm)
    assert found["no_tests"]["difference"]["high"] < 0 and holm[0] < 1e-6


def test_programs_under_another_name_are_counted_apart():
    rows, _, names = made_up()
    found = as_json(outcomes.ablations(rows, ("none", "no_tests"), names))
    for name, entry in found.items():
        own = [row for row in rows if row["ablation"] == name]
        named = [row for row in own if row["code"].startswith(f"def f{row['task_id']}()")]
        judged = [row for row in named if row["label"] != "not_run"]
        assert (entry["named"]["n"], entry["named"]["of"]) == (len(named), len(own)) and len(named) < len(own)
        share = sum(row["label"] == "correct" for row in judged) / len(judged)
        assert entry["pass_rate_of_named"]["value"] == share


def test_nothing_changes_where_the_labels_are_the_same():
    rows = [
        {"task_id": i, "ablation": a, "label": "correct", "error": None, "code": "f = 1"}
        for i in range(9)
        for a in ("none", "no_tests")
    ]
    entry = as_json(outcomes.ablations(rows, ("none", "no_tests"), dict.fromkeys(range(9), "f")))["no_tests"]
    assert entry["mcnemar_p"] == entry["mcnemar_p_holm"] == 1 and entry["difference"]["value"] == 0


def test_the_auroc_is_that_of_the_labels_under_the_same_prompt():
    rows, activations, _ = made_up()
    direction = Direction("predict_incorrect", 1, 2, "x", made(SelectedLatent, {}))
    config = AblationConfig(model="organism", dataset="organism", ablations=("none", "no_tests", "name_only"))
    found = as_json(outcomes.directions(rows, activations, [direction], config))["predict_incorrect"]["ablations"]
    for name, entry in found.items():
        known = [
            (row["label"] == "incorrect", a["activation"])
            for row, a in zip(rows, activations, strict=True)
            if row["ablation"] == name and row["label"] != "not_run"
        ]
        area = roc_auc_score(*zip(*known, strict=True))
        assert entry["auroc"]["value"] == pytest.approx(area)
        assert entry["auroc"]["low"] < area < entry["auroc"]["high"]
    assert found["no_tests"]["change_in_sd"]["low"] > 0.3  # the latent was made to fire more without tests


def test_with_one_label_there_is_no_auroc():
    rows, activations, _ = made_up(20)
    rows = [{**row, "label": "incorrect"} for row in rows]
    direction = Direction("predict_incorrect", 1, 2, "x", made(SelectedLatent, {}))
    config = AblationConfig(model="organism", dataset="organism", ablations=("none", "no_tests", "name_only"))
    found = as_json(outcomes.directions(rows, activations, [direction], config))["predict_incorrect"]["ablations"]
    assert found["none"]["auroc"] == {"value": None, "low": None, "high": None}


def test_sentences_and_tables_say_the_numbers(whole):
    result = json_of(whole, "prompt_ablation.json")
    document = from_json(AblationDocument, result)
    assert result["sentences"] == words.sentences(document)
    assert result["tables"] == as_json(words.tables(document))
    assert "0.0 % (0.0 to " in result["sentences"][0]
    assert sum(name in " ".join(result["sentences"]) for name in NAMES) == 4
    for table in result["tables"]:
        assert all(len(row) == len(table["columns"]) for row in table["rows"])
    rows = result["tables"][0]["rows"]
    assert [row[0] for row in rows] == list(ABLATIONS)
