"""Covers run.py export --to hf-dataset and --to json: `datasets` reads what is written, with its types and its card."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from npz_folders import LABELS, D, make_data, newest, rows
from safetensors.numpy import load_file
from support import ROOT

from common.errors import ConfigError, MissingArtifactError
from common.exchange.commands import export_run
from common.handoffs import GENERATION_FIELDS

READ = """
import json, sys, datasets
folder, name = sys.argv[1:]
found = datasets.load_dataset(folder, name)
print(json.dumps({split: [row for row in rows] for split, rows in found.items()}))
"""


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "data")


def export(data, *words: object) -> int:
    return export_run([*map(str, words), "--data-dir", str(data)], None)


def as_read_by_datasets(folder, name: str, home) -> dict[str, list[dict]]:
    """In a process of its own, with an empty cache and without the hub."""
    environment = {"PATH": "", "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    words = [sys.executable, "-c", READ, str(folder), name]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_datasets_reads_the_programs_as_they_are(data, tmp_path):
    assert export(data, "--to", "hf-dataset", tmp_path / "out") == 0
    found = as_read_by_datasets(tmp_path / "out", "programs", tmp_path / "home")
    stored = rows(newest(data) / "dataset.parquet")
    assert found == {"unsplit": [{**row, "split": None} for row in stored]}  # there is no phase 0.1
    assert [row["label"] for row in stored] == LABELS  # those that could not be judged too


def test_activations_are_a_row_for_each_problem_and_layer(data, tmp_path):
    assert export(data, "--to", "hf-dataset", tmp_path / "out", "--activations") == 0
    found = as_read_by_datasets(tmp_path / "out", "resid_post", tmp_path / "home")["unsplit"]
    assert len(found) == 3 * len(LABELS)
    for layer in range(3):
        stored = load_file(newest(data) / "activations" / f"layer_{layer:02d}.safetensors")
        own = [row for row in found if row["layer"] == layer]
        assert [row["task_id"] for row in own] == stored["task_id"].tolist()
        assert {row["position"] for row in own} == {"last"}
        written = np.array([row["resid_post"] for row in own], np.float32)
        assert written.shape == (len(LABELS), D) and written.tobytes() == stored["resid_post"].tobytes()


def test_the_card_says_what_every_column_holds_and_how_it_was_made(data, tmp_path):
    export(data, "--to", "hf-dataset", tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\npretty_name: 'google/gemma-2-2b on mbpp")
    assert "python3 run.py 1" in card  # the command of the run that was made by hand
    for column, field in GENERATION_FIELDS.items():
        assert f"| {column} | {field.type} | {field.meaning.replace('|', chr(92) + '|')} |" in card
    assert "@software{pvasae" in (tmp_path / "out" / "references.bib").read_text()


def test_lines_of_json_are_the_same_rows(data, tmp_path):
    assert export(data, "--to", "json", tmp_path / "out") == 0
    lines = [json.loads(line) for line in (tmp_path / "out" / "programs.jsonl").read_text().splitlines()]
    assert lines == [{**row, "split": None} for row in rows(newest(data) / "dataset.parquet")]
    told = json.loads((tmp_path / "out" / "experiment.json").read_text())
    assert told["experiment"]["dataset"] == "mbpp" and [one["phase"] for one in told["phases"].values()] == ["1"]


def test_what_is_not_a_number_is_null_in_json():
    from common.exchange.folders import without_nan

    assert without_nan({"a": math.nan, "b": 0.5, "c": None}) == {"a": None, "b": 0.5, "c": None}


def test_npz_is_one_kind_among_others(data, tmp_path):
    assert export(data, "--to", "npz", tmp_path / "new") == 0
    assert export(data, "--layout", "npz", "--out", tmp_path / "old") == 0
    files = [
        sorted(str(path.relative_to(tmp_path / name)) for path in (tmp_path / name).rglob("*"))
        for name in ("new", "old")
    ]
    assert files[0] == files[1] and len(files[0]) > 12


@pytest.mark.parametrize("kind", ["hf-dataset", "json"])
def test_nothing_is_overwritten(data, tmp_path, kind):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(ConfigError, match=r"out is not empty.*\n.*new folder"):
        export(data, "--to", kind, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_what_is_not_there_is_named_with_the_command_that_makes_it(data, tmp_path):
    with pytest.raises(MissingArtifactError, match=r"humaneval.*\n"):
        export(data, "--to", "json", tmp_path / "out", "--dataset", "humaneval")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--to", "parquet", "x"],
        ["--layout", "npz"],
        ["--out", "x"],
        ["--to", "json", "x", "--layout", "npz", "--out", "y"],
    ],
)
def test_a_target_that_is_not_one_is_an_error_with_the_kinds(words, data):
    with pytest.raises(ConfigError, match="Give"):
        export(data, *words)


def test_the_door_reads_activations_of_a_run_that_knows_no_positions(data):
    """As an imported one does not."""
    from pva_sae import latest

    run = latest(data=data)
    assert run.resid(1).shape == (len(LABELS), D)
    with pytest.raises(ConfigError, match="Give one of: last"):
        run.resid(1, "tests_end")
