"""Covers natural.run, .dictionaries, .study and .pilot: that phases take their commands, in an order that works."""

from pathlib import Path

import pytest
from support import ROOT, write_problems

import run as root
from common.launch.running import phase_parser
from natural import dictionaries, pilot, plan, study
from natural import run as main_job
from natural.experiment import Experiment

PAGE = ROOT / "docs" / "natural" / "README.md"
PLAN = PAGE.with_name("plan.md")
ACCEPTING = {"--accept-bad-fit", "--accept-missing", "--reuse-validation"}


@pytest.fixture
def experiment(tiny_gemma, tmp_path, small_problem_rows) -> Experiment:
    dataset = write_problems(tmp_path / "small.jsonl", small_problem_rows)
    return Experiment(str(tiny_gemma), str(dataset), tmp_path / "folder", 2)


def phase_of(step) -> tuple[str, list[str]] | None:
    """The phase that a step runs, and the phase's own flags."""
    if step.words[0] == "run.py":
        return step.words[2], list(step.words[3:])
    if step.words[0] == "multi_gpu_launcher.py":
        return step.words[2], list(step.words[5:])
    return None


def study_steps(experiment) -> list:
    whole = [*study.before_steering(experiment), study.screening(experiment)]
    return [*whole, *study.steering(experiment, "probe", str(experiment.dataset))]


LISTS = pytest.mark.parametrize(
    "steps_of",
    [main_job.steps_of, dictionaries.steps_of, pilot.steps_of, study_steps],
    ids=["run", "dictionaries", "pilot", "study"],
)


@LISTS
def test_every_phase_takes_the_flags_it_is_given(steps_of, experiment):
    for step in steps_of(experiment):
        if found := phase_of(step):
            phase_id, flags = found
            parsed = phase_parser(root.CATALOGUE.phase(phase_id)).parse_args(flags)
            assert parsed.data_dir == experiment.data
            assert step.words[0] == "run.py" or root.CATALOGUE.phase(phase_id).n_records


@LISTS
def test_no_command_accepts_a_bad_fit_or_is_run_twice(steps_of, experiment):
    """Nothing that accepts a bad fit is used and no command is run twice."""
    steps = steps_of(experiment)
    assert not ACCEPTING & {word for step in steps for word in step.words}
    assert len({step.command for step in steps}) == len(steps)


def test_the_pilot_runs_every_phase_once_and_inputs_come_first(experiment):
    order = [found[0] for step in pilot.steps_of(experiment) if (found := phase_of(step))]
    circuits = {one for one in root.PHASES if one[0] in "56"}
    left_out = {"1.3", "3.8", *circuits}  # its dictionary is a PCA; it has no twins, and its graphs come later
    assert sorted(order) == sorted(root.PHASES.keys() - left_out)
    for place, phase_id in enumerate(order):
        assert {schema.phase for schema in root.CATALOGUE.phase(phase_id).inputs} <= set(order[:place])


def test_the_study_runs_phases_1_to_4_and_inputs_come_first(experiment):
    order = [found[0] for step in study_steps(experiment) if (found := phase_of(step))]
    assert set(order) == {one for one in root.PHASES if one[0] in "01234"} - {"1.2", "3.8"}
    for place, phase_id in enumerate(order):
        assert {schema.phase for schema in root.CATALOGUE.phase(phase_id).inputs} <= set(order[:place])


def test_the_study_goes_on_from_the_dictionaries(experiment):
    made = [step.command for step in dictionaries.steps_of(experiment)]
    assert [step.command for step in study_steps(experiment)][: len(made)] == made


def test_the_study_is_within_the_programs_that_were_planned():
    design = plan.settled()
    assert 0.95 * plan.BUDGET < design.n_programs <= plan.BUDGET
    assert f"on {design.n_problems} of the {plan.JUDGING} problems" in " ".join(PLAN.read_text().split())


def test_the_pilot_uses_what_the_main_job_has_made(experiment):
    shared = {step.command for step in main_job.steps_of(experiment)}
    assert {"general text", "phase 1.1"} == {step.name for step in pilot.steps_of(experiment) if step.command in shared}


def test_only_the_training_of_dictionaries_is_not_part_of_the_main_job(experiment):
    shared = {step.command for step in main_job.steps_of(experiment)}
    assert [step.name for step in dictionaries.steps_of(experiment) if step.command not in shared] == ["phase 1.3"]


def test_the_twin_is_the_same_weights_under_another_name(experiment):
    from common.model.registry import model_identity

    experiment.folder.mkdir()
    for _ in range(2):
        pilot.make_twin(experiment)
    own, twin = (model_identity(str(path)) for path in (experiment.model, pilot.twin_of(experiment)))
    assert own.partition("@")[2] == twin.partition("@")[2] and own != twin


def test_the_page_has_a_place_for_the_costs_of_both(tmp_path):
    text = PAGE.read_text()
    assert all(f"<!-- {name} -->\n" in text for name in ("costs", "costs of the pilot"))


def test_paths_hold_wherever_the_command_was_typed(tmp_path, monkeypatch):
    from natural.experiment import experiment_of, parser_of

    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("problems.jsonl").touch()
    words = ["--model", "model", "--dataset", "problems.jsonl", "--folder", "out"]
    found = experiment_of(parser_of("natural.run", "").parse_args(words))
    assert (found.model, found.dataset) == (str(tmp_path / "model"), str(tmp_path / "problems.jsonl"))
    assert found.folder == tmp_path / "out"
