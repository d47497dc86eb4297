"""Covers phases.py and dataset_building.py of pva_sae: phases as calls, and the classes of the first README."""

import json
import sys

import pandas as pd
import pytest
from support import warm_commands

import pva_sae
from common.errors import ConfigError, PipelineError
from phase1_dataset_building import (
    DatasetBuilder,
    EnhancedDatasetManager,
    EnhancedMBPPTester,
    ModelManager,
    ProductionMBPPTester,
)
from pva_sae.phases import words_of


@pytest.fixture(scope="module")
def rows(small_problem_rows):
    return small_problem_rows[:6]


@pytest.fixture(scope="module")
def dataset(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("dataset") / "few.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_dataset_is_built_in_slices_gone_on_with_and_saved(tiny_gemma, dataset, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", warm_commands().python)  # of the processes that it starts
    settings = {"dataset": str(dataset), "data": tmp_path, "max_new_tokens": 3, "batch_size": 2}
    tester = ProductionMBPPTester(str(tiny_gemma), **settings)
    part = tester.build_dataset_mvp_with_cleanup(0, 1, save_format="json")
    unfinished = tester.builder.unfinished
    assert len(part) == 2 and unfinished is not None and unfinished.parent == tmp_path / "phase1_0"
    with pytest.raises(ConfigError, match="resume_from_checkpoint"):
        tester.build_dataset_production(resume_from_checkpoint=tmp_path)
    whole = tester.build_dataset_production(resume_from_checkpoint=unfinished)
    assert tester.builder.unfinished is None
    run = pva_sae.latest(data=tmp_path)
    assert list(whole.task_id) == [row["task_id"] for row in rows] == list(run.programs.task_id)
    assert run.resid(1).shape == (len(rows), 64)
    saved = {path.suffix: path for path in tmp_path.glob(f"dataset_{unfinished.name}.*")}
    assert pd.read_parquet(saved[".parquet"]).generated_text.tolist() == whole.generated_text.tolist()
    assert [row["label"] for row in json.loads(saved[".json"].read_text())] == whole.label.tolist()


def test_the_parts_of_a_builder_can_be_used_alone(tiny_gemma, dataset, rows, tmp_path):
    problems = EnhancedDatasetManager(str(dataset))
    model = ModelManager(str(tiny_gemma), dtype="float32", device="cpu")
    assert [problem.task_id for problem in problems.load_dataset().problems] == [row["task_id"] for row in rows]
    assert model.load_model().n_layers > 0
    builder = DatasetBuilder(model, problems, tmp_path)
    with pytest.raises(ConfigError, match="build_dataset"):
        builder.save_dataset()
    with pytest.raises(ConfigError, match="'csv'"):
        builder.save_dataset("csv")


def test_what_a_phase_says_of_an_error_is_raised(dataset, tmp_path, capfd):
    with pytest.raises(ConfigError, match="--modle"):
        pva_sae.run_phase("1", data=tmp_path, modle="organism")
    with pytest.raises(PipelineError, match="nowhere/at/all"):
        pva_sae.run_phase("0", data=tmp_path, dataset="nowhere/at/all.jsonl")
    with pytest.raises(PipelineError, match="holds no problem") as raised:
        empty = tmp_path / "empty.jsonl"
        empty.write_text("\n")
        EnhancedMBPPTester("organism", str(empty), data=tmp_path).build_dataset_mvp_with_cleanup()
    assert "\n" in str(raised.value)


def test_settings_are_typed_as_on_the_command_line():
    settings = {"layers": (1, 2), "score_other": True, "fresh": False, "n_pairs": 8, "end": None}
    assert words_of(settings) == ["--layers", "1,2", "--score-other", "--no-fresh", "--n-pairs", "8"]


def test_phases_take_the_settings_that_they_have(dataset, tmp_path):
    folders = pva_sae.run_phases(["0", "0.1"], data=tmp_path, dataset=str(dataset), fractions="0.4,0.2,0.4", layers=3)
    assert [folder.parent.name for folder in folders] == ["phase0", "phase0_1"]
    assert all((folder / "manifest.json").is_file() for folder in folders)


def test_a_setting_that_no_phase_has_is_an_error_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="no phase has the settings layrs"):
        pva_sae.run_phases(["0", "0.1"], data=tmp_path / "data", layrs=3)
    assert not (tmp_path / "data").exists()
