"""Covers natural.probes: what it finds where something is planted, and that it finds nothing where there is nothing."""

import json
import re

import numpy as np
import pytest
from detectable import detectable
from experiments import save_saes
from sklearn import metrics as sk
from support import ROOT, cold_command

from common.errors import ConfigError, MissingArtifactError
from natural.labelled_run import read_run

PAGE = ROOT / "docs" / "natural" / "README.md"
PLACEHOLDER = "nothing was measured here"


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Three layers; a dimension of layer 1 is larger where the program fails, one of layer 2 much larger."""
    folder = tmp_path_factory.mktemp("probed")
    return detectable(folder, save_saes(folder / "saes")).build()


@pytest.fixture(scope="module")
def measured(experiment):
    out, page = experiment.data.parent / "probes.json", experiment.data.parent / "page.md"
    page.write_text(
        re.sub(r"(<!-- (?!end)[^>]+ -->\n).*?(<!-- end)", rf"\1{PLACEHOLDER}\n\2", PAGE.read_text(), flags=re.S)
    )
    words = ["--data-dir", experiment.data, "--out", out, "--page", page, "--n-resamples", 200]
    done = cold_command("-m", "natural.probes", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(out.read_text()), page.read_text()


def test_the_layer_that_knows_is_found_by_cross_validation(measured):
    found, _ = measured
    best = max(found["probes"], key=lambda row: row["cross_validated"])
    assert (best["layer"], best["position"]) == (2, "last")
    assert best["fitted_on_sae"]["low"] > 0.6
    assert found["gains"][0]["layer"] == 2 and found["gains"][0]["gain"]["low"] > 0


def test_the_areas_are_scikit_learns(experiment, measured):
    found, _ = measured
    run = read_run(experiment.data)
    own, judging = run.of("sae"), run.of("validation")
    x, incorrect = run.resid(1, "last"), run.problems.incorrect
    direction = x[own & incorrect].mean(0) - x[own & ~incorrect].mean(0)
    row = next(row for row in found["probes"] if row["layer"] == 1)
    expected = sk.roc_auc_score(incorrect[judging], x[judging] @ direction)
    assert row["difference_of_means"]["value"] == pytest.approx(expected)


def test_the_rates_add_up_to_all_programs(measured):
    found, _ = measured
    *strata, everything = found["by_difficulty"]
    assert sum(row["n"] for row in strata) == everything["n"] == sum(found["n"].values())
    assert sum(row["n"] for row in found["errors"]) == everything["n"] - everything["correct"]
    assert found["by_temperature"][0]["temperature"] == 0


def test_the_page_has_a_place_for_every_table(measured):
    _, page = measured
    assert PLACEHOLDER not in page.split("## What it costs")[0]
    assert page.count("| last: cross-validated |") == 1
    assert "| always positive | before | 0.500 (0.500 to 0.500)" in page


def test_activations_are_in_the_order_of_the_problems(experiment):
    run = read_run(experiment.data)
    assert np.array_equal(run.resid(2, "last"), experiment.resid[2][run.problems.task_ids].astype(float))


def test_a_folder_without_programs_says_how_to_make_some(tmp_path):
    with pytest.raises(MissingArtifactError, match=rf"{tmp_path} .*phase 1\n.*python3 -m natural\.run"):
        read_run(tmp_path)


def test_an_impossible_number_of_resamples_is_refused(tmp_path):
    from natural.probes import parse

    with pytest.raises(ConfigError, match="--n-resamples is 3"):
        parse(["--data-dir", str(tmp_path), "--out", str(tmp_path / "x.json"), "--n-resamples", "3"])
