"""Covers phase 3.6 on another dataset: which of its problems tune and judge, programs on them, words, refusals."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from humaneval_rows import HUMANEVAL_ROWS
from selected_latents import SmallExperiment, json_of
from support import SHARED_MBPP, needs_shared_mbpp, write_problems
from toy_phases import content, run_phase, stop_after
from transfers import (
    COEFFICIENT,
    THRESHOLD,
    TOKENS,
    problems_of,
    sae_of,
    steering_of_steer_correct,
    table,
    transfer_config,
)
from whole_selections import copied

from common.errors import ArtifactMismatchError, ConfigError
from common.handoffs import TRANSFER
from common.interventions.steered_generation import generate_steered
from common.model.generation import generate
from common.model.loading import load_model
from common.problems.datasets import dataset_name, load_problems
from common.problems.difficulty import measure_difficulty
from common.problems.problem import Problem
from common.problems.prompt import build_prompt
from common.programs.solutions import request_for
from common.report.collect import Collected, PhaseResult
from common.runs import discovery
from common.runs.artifacts import Artifact
from common.stopping import Stopped
from phase3_validation.transfer.config import TransferConfig
from phase3_validation.transfer.findings import Names
from phase3_validation.transfer.phase import PHASE
from phase3_validation.transfer.problems import _is_edition, check_not_trained_on, other_problems
from phase3_validation.transfer.report import section

A, B = "a" * 40, "b" * 40  # commits


@pytest.fixture(scope="session")
def elsewhere(transferable, small_problem_rows, tmp_path_factory) -> Path:
    """Twenty-six problems that are new, one of which there is twice, and three that had selected or tuned."""
    seen, tuned = problems_of(transferable, "sae")[0], problems_of(transferable, "hyperparams")[0]
    rows = {row["task_id"]: row for row in small_problem_rows}
    new = small_problem_rows[40:66]
    worded_anew = {**rows[tuned["task_id"]], "text": "Do it.", "code": rows[tuned["task_id"]]["code"] + " or None"}
    copies = [{**rows[seen["task_id"]], "task_id": 201}, {**new[3], "task_id": 202}, worded_anew]
    renamed = {**rows[seen["task_id"]], "task_id": 203, "text": "Something else."}
    return write_problems(tmp_path_factory.mktemp("elsewhere") / "new.jsonl", [*new, *copies, renamed])


@pytest.fixture(scope="session")
def humaneval(tmp_path_factory) -> Path:
    return write_problems(tmp_path_factory.mktemp("humaneval") / "HumanEval.jsonl", HUMANEVAL_ROWS)


@pytest.fixture
def begun(transferable, tmp_path) -> SmallExperiment:
    return copied(transferable, tmp_path / "data")


@pytest.fixture(scope="session")
def run_on(transferable, tmp_path_factory) -> Callable[..., Path]:
    """Phase 3.6 on a dataset, in a copy of its own."""

    def run(dataset: Path, to: Path | str = "auto", **changes) -> Path:
        data = copied(transferable, tmp_path_factory.mktemp("run") / "data").data
        return run_phase(PHASE, data, config_on(transferable, dataset, to=to, **changes))

    return run


@pytest.fixture(scope="session")
def whole(run_on, elsewhere) -> Path:
    return run_on(elsewhere)


@pytest.fixture(scope="session")
def on_humaneval(run_on, humaneval) -> Path:
    return run_on(humaneval, problems=3)


def config_on(experiment: SmallExperiment, dataset: Path | str, **changes) -> TransferConfig:
    return transfer_config(experiment, to_dataset=str(dataset), **changes)


def seen_by(experiment: SmallExperiment) -> list[dict]:
    return problems_of(experiment, "sae") + problems_of(experiment, "hyperparams")


def manifest_of(run: Path) -> dict:
    return json_of(run, "manifest.json")


def test_the_model_itself_writes_programs_for_the_other_problems_and_then_steered_ones(whole, transferable, elsewhere):
    splits = other_problems(str(elsewhere), seen_by(transferable)).splits
    rows, tuning, judging = table(whole, "steering.parquet"), splits["hyperparams"], splits["validation"]
    assert [row["task_id"] for row in rows] == [problem["task_id"] for problem in [*tuning, *judging, *judging]]
    lm = load_model(str(transferable.model), "cpu", "float32", 1)
    requests = [request_for(problem, 42) for problem in [*tuning, *judging]]
    unsteered = generate(lm, requests, max_new_tokens=TOKENS)
    assert [row["token_ids"] for row in rows[: len(requests)]] == [one.token_ids for one in unsteered]

    steering, steered = steering_of_steer_correct(transferable), requests[len(tuning) :]
    by_hand = generate_steered(lm, steered, [steering] * len(steered), max_new_tokens=TOKENS)
    own = rows[len(requests) :]
    assert [row["token_ids"] for row in own] == [one.generation.token_ids for one in by_hand]
    assert [row["trajectory_kl"] for row in own] == pytest.approx([one.trajectory_kl for one in by_hand], rel=1e-4)
    assert {(row["direction"], row["layer"], row["coefficient"]) for row in own} == {("steer_correct", 1, COEFFICIENT)}


def test_what_had_selected_or_tuned_is_left_out_in_whatever_edition(transferable, elsewhere):
    found = other_problems(str(elsewhere), seen_by(transferable))
    tuned = problems_of(transferable, "hyperparams")[0]["task_id"]
    ids = {problem.task_id for problem in load_problems(str(elsewhere)).problems}
    assert {problem.task_id for problem in found.used.problems} == ids - {201, 203, tuned}
    assert (found.n, found.n_seen) == (30, 3)
    assert other_problems(str(elsewhere), []).n_seen == 0


@pytest.mark.parametrize(
    ("name", "seen", "same"),
    [
        ("find_solution", "solution", True),
        ("Is_Prime", "is_prime", True),
        ("f", "find_char", False),
        ("f", "f", False),
        ("is_prime", "add_all", False),
        ("is_prime", None, False),
    ],
)
def test_problems_of_one_number_are_one_problem_where_a_telling_name_is_shared(name, seen, same):
    problem = Problem(task_id=7, text="t", code=f"def {name}(): pass", test_list=(), entry_point=name)
    assert _is_edition(problem, seen) == same


def test_a_fifth_tunes_the_rest_judges_and_near_duplicates_stay_together(transferable, elsewhere, small_problem_rows):
    splits = other_problems(str(elsewhere), seen_by(transferable)).splits
    ids = {name: [row["task_id"] for row in rows] for name, rows in splits.items()}
    twins = {small_problem_rows[43]["task_id"], 202}
    assert any(twins <= {*own} for own in ids.values()) and sorted(map(len, ids.values())) in ([10, 17], [11, 16])
    assert len(ids["hyperparams"]) - (twins <= {*ids["hyperparams"]}) == 10  # at least so many, where a fifth is less
    given = [problem.task_id for problem in load_problems(str(elsewhere)).problems]
    assert all(own == [number for number in given if number in own] for own in ids.values())
    large = other_problems("organism", [])
    assert len(large.splits["hyperparams"]) / large.n == pytest.approx(0.2, abs=0.03)


def test_labels_hold_the_splits_and_the_complexity_of_the_other_problems(whole, transferable, elsewhere):
    splits = other_problems(str(elsewhere), seen_by(transferable)).splits
    expected = [(row["task_id"], name) for name, rows in splits.items() for row in rows]
    labels = table(whole, "labels.parquet")
    assert [(row["task_id"], row["split"]) for row in labels] == expected
    codes = {problem.task_id: problem.code for problem in load_problems(str(elsewhere)).problems}
    assert all(row["complexity"] == measure_difficulty(codes[row["task_id"]])["complexity"] for row in labels)
    assert {row["complexity"] for row in labels} == {1, 3}


def test_latents_keep_the_threshold_that_the_first_dataset_gave_them(whole, transferable, elsewhere):
    rows = [row for row in table(whole, "predictions.parquet") if row["score"] == "latent"]
    assert {row["threshold"] for row in rows} == {THRESHOLD} and len(rows) == 4 * 27
    layer, latent = transferable.latents["predict_correct"]
    own = [row for row in rows if row["direction"] == "predict_correct"]
    lm = load_model(str(transferable.model), "cpu", "float32", 1)
    by_id = {problem.task_id: problem.row() for problem in load_problems(str(elsewhere)).problems}
    made = generate(lm, [request_for(by_id[row["task_id"]], 42) for row in own], max_new_tokens=1)
    resid = np.stack([one.resid_post["last"][layer] for one in made])
    acts = sae_of(transferable, layer).encode(torch.from_numpy(resid))[:, latent]
    assert [row["value"] for row in own] == pytest.approx(acts.tolist(), rel=1e-3, abs=1e-3)


def test_every_word_says_which_model_on_which_dataset(whole, elsewhere):
    found = json_of(whole, "transfer.json")
    assert found["target"]["name"] == "lively on new" and found["target"]["identity"].startswith("lively@")
    dataset = found["target"]["dataset"]
    assert dataset["identity"] == dataset_name(str(elsewhere)) and (dataset["n"], dataset["n_seen"]) == (30, 3)
    left_out, solves, fit, *others = found["sentences"]
    assert left_out.startswith("Of the 30 problems of new those are left out (3) on which, ")
    assert solves.startswith("lively on new solves 0.0 % (") and solves.endswith(" of its own.")
    assert " of the validation problems of new, lively on small " in solves
    assert "the SAEs, which were made for lively, miss " in fit and "(in lively on small 25 %)" in fit
    assert " of lively on small, 0.50 at layer 1, changes the pass rate of lively on new by" in others[-1]
    assert [each["title"].partition(" on ")[2] for each in found["tables"][:2]] == ["both datasets"] * 2
    assert {row[1] for row in found["tables"][0]["rows"]} <= {"lively on small", "lively on new"}
    drawing = (whole / "figures" / "transfer.svg").read_text()
    assert "lively on new" in drawing and "lively on small" in drawing and "first dataset" in drawing
    assert "model" not in " ".join(found["sentences"])


def test_the_report_asks_what_was_tried(whole, transferable):
    schema, run = discovery.run_at(whole, (TRANSFER,))
    shown = section(PhaseResult(schema, "finished", Artifact(schema, run, "")), Collected({}, whole))
    assert shown.question == "Do the same latents hold on another dataset: lively on new?"
    assert "Both datasets side by side" in str(shown.blocks) and "the first dataset; squares" in str(shown.blocks)


def test_slices_give_the_same_bytes(whole, begun, elsewhere):
    for start, end in ((30, None), (0, 29)):
        run_phase(PHASE, begun.data, config_on(begun, elsewhere), start=start, end=end)
    run = discovery.list_runs(TRANSFER, begun.data)[0]
    assert run.finished and content(run.path) == content(whole)


def test_a_stopped_run_goes_on_and_one_on_another_dataset_does_not_go_on_with_it(whole, begun, elsewhere, humaneval):
    with pytest.raises(Stopped):
        run_phase(PHASE, begun.data, config_on(begun, elsewhere), stop=stop_after(1))
    with pytest.raises(ArtifactMismatchError, match=r"cannot resume(.|\n)*to_dataset was new@\w+, is HumanEval@"):
        run_phase(PHASE, begun.data, config_on(begun, humaneval))
    assert content(run_phase(PHASE, begun.data, config_on(begun, elsewhere))) == content(whole)


def test_a_run_without_another_dataset_is_what_it_was(whole, other_model, transferable, elsewhere, tmp_path):
    data = copied(transferable, tmp_path / "data").data
    plain = manifest_of(run_phase(PHASE, data, transfer_config(transferable, other_model)))["settings"]
    assert not {"to_dataset", "accept_failing_references"} & plain.keys()
    assert manifest_of(whole)["settings"].keys() - plain.keys() == {"to_dataset"}
    again = transfer_config(transferable, other_model, to_dataset=str(transferable.dataset))
    assert again.experiment() == transfer_config(transferable, other_model).experiment()


def test_another_model_on_another_dataset(run_on, other_model, elsewhere, transferable):
    run = run_on(elsewhere, to=other_model, problems=2)
    found = json_of(run, "transfer.json")
    assert found["target"]["name"] == "tuned on new"
    assert found["tables"][0]["title"] == "Detection in both models, each on its own dataset"
    rows = table(run, "steering.parquet")
    assert len(rows) == 27 + 2
    lm = load_model(str(other_model), "cpu", "float32", 1)
    tuning = other_problems(str(elsewhere), seen_by(transferable)).splits["hyperparams"]
    made = generate(lm, [request_for(problem, 42) for problem in tuning], max_new_tokens=TOKENS)
    assert [row["token_ids"] for row in rows[: len(tuning)]] == [one.token_ids for one in made]


def test_problems_in_the_schema_of_humaneval_have_the_same_form_of_prompt(on_humaneval, humaneval, transferable):
    problems = {problem.task_id: problem for problem in load_problems(str(humaneval)).problems}
    rows = table(on_humaneval, "steering.parquet")
    assert len(rows) == 20 + 3 and {row["task_id"] for row in rows} == {*problems}
    assert [row["split"] for row in table(on_humaneval, "labels.parquet")] == ["hyperparams"] * 10 + ["validation"] * 10
    lm = load_model(str(transferable.model), "cpu", "float32", 1)
    asked = [problems[row["task_id"]].row() for row in rows[:20]]
    requests = [request_for(problem, 42) for problem in asked]
    assert [one.prompt for one in requests] == [build_prompt(own["text"], own["test_list"]) for own in asked]
    assert all(one.prompt.text.endswith("\n\n# Solution:\n") for one in requests)
    made = generate(lm, requests, max_new_tokens=TOKENS)
    assert [row["token_ids"] for row in rows[:20]] == [one.token_ids for one in made]
    assert json_of(on_humaneval, "transfer.json")["target"]["name"] == "lively on HumanEval"
    [process] = manifest_of(on_humaneval)["processes"]
    assert process["failing_references"] == []


def test_reference_solutions_that_fail_are_named_before_the_first_record(begun, humaneval, tmp_path):
    rows = [dict(row) for row in HUMANEVAL_ROWS]
    rows[12]["canonical_solution"] = "    return []\n"
    broken = write_problems(tmp_path / "broken.jsonl", rows)
    with pytest.raises(ConfigError, match=r"1 of 20 reference solutions do not .* task_id 12 (.|\n)*--accept-failing"):
        run_phase(PHASE, begun.data, config_on(begun, broken))
    assert all(discovery.n_saved(run.path) == 0 for run in discovery.list_runs(TRANSFER, begun.data))
    accepted = config_on(begun, broken, accept_failing_references=True, problems=1)
    [process] = manifest_of(run_phase(PHASE, begun.data, accepted))["processes"]
    assert [reference["task_id"] for reference in process["failing_references"]] == [12]


def test_too_few_problems_are_refused(begun, small_problem_rows, tmp_path):
    seen = {row["task_id"] for row in problems_of(begun, "sae")[:8]}
    rows = [row for row in small_problem_rows if row["task_id"] in {*seen, *range(41, 60)}]
    few = write_problems(tmp_path / "few.jsonl", rows)
    with pytest.raises(ConfigError, match=r"few@\w+ has 27 problems; 8 of them (.|\n)* 19 differ(.|\n)*20 or more"):
        run_phase(PHASE, begun.data, config_on(begun, few))


def test_the_same_model_on_the_same_dataset_is_refused(transferable):
    for to in ("auto", transferable.model):
        with pytest.raises(ConfigError, match=r"is the model itself and --to-dataset .* is --dataset: nothing"):
            config_on(transferable, transferable.dataset, to=to).experiment()


@pytest.mark.parametrize("dataset", ["humanevil", "nowhere.jsonl"])
def test_of_an_unknown_dataset_the_right_flag_is_named(transferable, dataset):
    with pytest.raises(ConfigError) as found:
        config_on(transferable, dataset).experiment()
    assert dataset in str(found.value) and " --dataset" not in str(found.value)


@pytest.mark.parametrize(("first", "refused"), [("small@01234567", True), ("new-pilot30@01234567", False)])
def test_dictionaries_that_saw_the_other_problems_are_refused(first, refused, tmp_path):
    """Prompts of the first dataset are another matter: those that they saw are left out."""
    dictionaries = SimpleNamespace(path=tmp_path, manifest={"settings": {"dataset": "new-pilot30@01234567"}})
    with pytest.raises(ArtifactMismatchError, match="have seen what would judge") if refused else nullcontext():
        check_not_trained_on(dictionaries, first, "new@12345678")
    check_not_trained_on(SimpleNamespace(manifest={"settings": {}}), first, "new@12345678")


def test_the_model_itself_is_read_at_the_commit_of_the_run():
    config = TransferConfig(model="google/gemma-2-2b", revision=A, sae_revision=A, to_dataset="humaneval")
    assert config.target() == "google/gemma-2-2b" and config.revision_of(config.target()) == A
    assert (
        config.experiment()["to"] == f"google/gemma-2-2b@{A[:8]}" and config.experiment()["to_dataset"] == "humaneval"
    )
    assert set(config.repositories()) == {"revision", "sae_revision"}
    other = TransferConfig(model="google/gemma-2-2b", revision=A, to_revision=B, to_dataset="humaneval")
    assert other.revision_of(other.target()) == B and "to_revision" in other.repositories()


def test_names_tell_models_and_datasets_apart():
    same = {"model": "google/gemma-2-2b@01234567", "to": "google/gemma-2-2b@01234567", "dataset": "mbpp"}
    names = Names.of({**same, "to_dataset": "humaneval"})
    assert names.short == ("gemma-2-2b on mbpp", "gemma-2-2b on humaneval") and names.model == "google/gemma-2-2b"
    assert Names.of({**same, "dataset": "new@01234567", "to_dataset": "new@12345678"}).target.endswith(
        " on new (the other)"
    )
    tuned = Names.of({**same, "to": "google/gemma-2-2b-it", "to_dataset": "humaneval"})
    assert tuned.target == "google/gemma-2-2b-it on humaneval" and tuned.first == "the first model"


@needs_shared_mbpp
def test_sanitized_mbpp_judges_by_no_problem_that_mbpp_selected_or_tuned_by():
    seen = [problem.row() for problem in load_problems(str(SHARED_MBPP / "mbpp.jsonl")).problems if problem.task_id % 2]
    found = other_problems(str(SHARED_MBPP / "sanitized-mbpp.json"), seen)
    odd = [problem.task_id for problem in found.used.problems if problem.task_id % 2]
    assert odd == [] and found.n == 427 and len(found.used.problems) > 150
