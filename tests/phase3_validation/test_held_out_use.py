"""Covers held_out_use.py: a validation split is read with one selection of directions, and every reading counts."""

import dataclasses
import json
import logging
import shutil

import pytest

from common.errors import ArtifactMismatchError, ConfigError
from common.handoffs import LATENTS, SPLIT
from common.handoffs.document import as_json
from common.interventions.directions import NAMES, selected_directions
from common.phases.context import RunContext
from common.phases.phase import Phase
from common.runs.held_out_log import LOG, all_readings, count_selections, note
from phase3_validation.ablation.phase import PHASE as ABLATION
from phase3_validation.detection.config import DetectionConfig
from phase3_validation.detection.phase import PHASE
from phase3_validation.held_out_use import note_use
from phase3_validation.steering.steering_phase import PHASE as STEERING

OTHER_SELECTION = {"general_text_limit": 0.1}  # lets a latent in that separates better


@pytest.fixture
def experiment(detectable_experiment):
    detectable_experiment.build()
    detectable_experiment.run()
    return detectable_experiment


def context(experiment):
    words = {key: str(getattr(experiment, key)) for key in ("dataset", "model", "sae")}
    ctx = experiment.context(PHASE, DetectionConfig(**words))
    ctx.pick_inputs()
    return ctx


def test_one_selection_may_be_read_by_any_phase_any_number_of_times(experiment):
    assert [note_use(context(experiment), reuse=False) for _ in range(3)] == [1, 1, 1]
    assert count_selections(all_readings(experiment.data)) == 1
    experiment.run(seed=7)  # another run of phase 2 that selects the same latents
    assert note_use(context(experiment), reuse=False) == 1
    assert len(json.loads((experiment.data / LOG).read_text())["readings"]) == 1


def test_another_selection_is_refused_unless_reused_and_then_it_is_counted(experiment):
    note_use(context(experiment), reuse=False)
    experiment.run(**OTHER_SELECTION)
    with pytest.raises(ConfigError, match=r"(?s)evaluated with another selection, begun on .* --reuse-validation"):
        note_use(context(experiment), reuse=False)
    assert count_selections(all_readings(experiment.data)) == 1  # what was refused was not read
    assert note_use(context(experiment), reuse=True) == 2
    assert note_use(context(experiment), reuse=False) == 2  # it is read; its other phases may follow


def test_programs_for_chat_prompts_are_others_and_so_is_their_reading(tmp_path):
    entry = {"phase": "3.1", "model": "m", "dataset": "d", "split": "s", "selection": "a", "steering": None}
    chat = {**entry, "selection": "b", "prompt": "chat"}

    def noted(one: dict) -> int:
        return note(tmp_path, one, False, lambda one, other: one["selection"] == other["selection"], str)

    assert [noted(entry), noted(chat), noted({**entry, "prompt": "plain"})] == [1, 1, 1]
    with pytest.raises(ConfigError):
        noted({**chat, "selection": "a"})


def test_deleting_the_runs_does_not_undo_a_reading(experiment):
    note_use(context(experiment), reuse=False)
    shutil.rmtree(experiment.data / LATENTS.folder)
    experiment.run(**OTHER_SELECTION)
    with pytest.raises(ConfigError, match="another selection"):
        note_use(context(experiment), reuse=False)


def test_another_split_has_not_been_read(experiment):
    note_use(context(experiment), reuse=False)
    shutil.rmtree(experiment.data / "phase0_1")
    shutil.rmtree(experiment.data / "phase2")
    experiment.splits = {name: members[::-1] for name, members in experiment.splits.items()}
    experiment.make(SPLIT)
    experiment.run(**OTHER_SELECTION)
    assert note_use(context(experiment), reuse=False) == 1


def test_a_changed_log_is_an_error_and_not_an_empty_one(experiment):
    note_use(context(experiment), reuse=False)
    path = experiment.data / LOG
    path.write_text(path.read_text().replace("3.1", "3.3"))
    with pytest.raises(ArtifactMismatchError, match="was changed: how often the validation split was read"):
        note_use(context(experiment), reuse=True)


def test_coefficients_are_not_tried_on_validation(small_experiment, tmp_path):
    """Another coefficient for the same latents is another choice for the phases that steer, and for them alone."""
    shutil.copytree(small_experiment.data, tmp_path / "data")
    experiment = dataclasses.replace(small_experiment, data=tmp_path / "data")

    def note(reuse_validation: bool = False, phase: Phase = STEERING) -> int:
        ctx = RunContext(
            phase=phase,
            config=phase.config(**experiment.words),
            preset="full",
            data_dir=experiment.data,
            device="cpu",
            log=logging.getLogger("test"),
            command=f"python3 run.py phase {phase.id}",
        )
        ctx.pick_inputs()
        return note_use(ctx, reuse_validation)

    experiment.choose({"steer_correct": (2, 0.5)})
    assert [note(phase=ABLATION), note(), note()] == [1, 1, 1]
    experiment.choose({"steer_correct": (2, 0.75)})
    with pytest.raises(ConfigError, match=r"steered by steer_correct 0.5 at layer 2.*steered by steer_correct 0.75"):
        note()
    assert note(phase=ABLATION) == 1  # it does not steer
    assert note(reuse_validation=True) == 2
    experiment.choose({"steer_correct": (2, 0.75)}, steer="all")
    assert note(reuse_validation=True) == 3


def test_the_first_latent_of_each_direction_is_taken(experiment):
    latents = context(experiment).read(LATENTS)
    selected = json.loads((latents.path / "selected.json").read_text())["directions"]
    found = selected_directions(latents)
    assert [direction.name for direction in found] == [name for name in NAMES if selected[name]["latents"]]
    for direction in found:
        first = selected[direction.name]["latents"][0]
        assert (direction.layer, direction.latent) == (first["layer"], first["latent"])
        assert as_json(direction.statistics) == first
        assert direction.positive == ("incorrect" if direction.name.endswith("incorrect") else "correct")
    with pytest.raises(ConfigError, match="no direction 'steer'"):
        selected_directions(latents, ["steer"])
