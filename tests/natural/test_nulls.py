"""Covers natural.nulls: labels dealt out anew, through the study's own phases, and how often they say what is wrong."""

import json

import pytest
from npz_folders import LABELS, make_data, newest, rows
from support import ROOT, command, in_whole_sweeps

from natural.experiment import Experiment
from natural.nulls import FALSE, permuted, permuted_rows, summary


def test_labels_are_dealt_out_among_what_could_be_judged(tmp_path):
    made = rows(newest(make_data(tmp_path)) / "dataset.parquet")
    dealt = [permuted_rows(made, seed) for seed in range(20)]
    for rows_of_a_seed in dealt:
        labels = [row["label"] for row in rows_of_a_seed]
        assert sorted(labels) == sorted(LABELS)
        assert [(label in ("correct", "incorrect")) for label in labels] == [
            (label in ("correct", "incorrect")) for label in LABELS
        ]
        for before, after in zip(made, rows_of_a_seed, strict=True):
            own = {name for name in before if before[name] != after[name]}
            assert own <= {"label", "error", "failed_test"}
    assert len({tuple(row["label"] for row in one) for one in dealt}) > 3
    assert permuted_rows(made, 7) == dealt[7]


@pytest.mark.parametrize(("n_wrong", "words"), [(18, "at most"), (19, "MORE THAN")])
def test_more_wrong_verdicts_than_sampling_explains_are_said(n_wrong, words):
    """Of 200 runs at 5 % each, 18 are the 99 % bound of the binomial distribution."""
    lines = [dict.fromkeys(FALSE, "cannot tell") for _ in range(200)]
    for line in lines[:n_wrong]:
        line["detector"] = "ranks"
    latent, beyond, detector = summary(lines)
    assert latent == "latent: 'ranks' in 0 of 200 runs (at most 18)" and "beyond difficulty" in beyond
    assert detector == f"detector: 'ranks' in {n_wrong} of 200 runs ({words} 18)"


@pytest.mark.sweep
@in_whole_sweeps
def test_the_phases_of_the_study_judge_labels_that_were_dealt_out(tmp_path):
    """On the organism, with a small dictionary of its own."""
    lines = (ROOT / "model_organism" / "problems_974.jsonl").read_text().splitlines(keepends=True)
    dataset = tmp_path / "few.jsonl"
    dataset.write_text("".join(lines[:160]))
    experiment = Experiment("organism", str(dataset), tmp_path / "folder", 1, "float32")
    model, problems = ["--model", "organism", "--threads", 1], ["--dataset", dataset]
    for phase, words in {
        "0": problems,
        "0.1": [*problems, "--fractions", "0.4,0.25,0.35"],
        "1": [*model, *problems, "--max-new-tokens", 60],
        "1.1": [*model, "--documents", 100, "--text", "organism"],
        "1.3": [*model, *problems, "--layers", 3, "--tokens", 60_000, "--preset", "demo"],
    }.items():
        done = command("run.py", "phase", phase, *words, "--data-dir", experiment.data)
        assert done.returncode == 0, done.stderr
    [found] = permuted(experiment, [3])
    assert found["seed"] == 3 and found.keys() == {"seed", *FALSE}
    assert not (experiment.folder / "null_3").exists()
    [stored] = (experiment.data / "phase1_0").glob("*/manifest.json")  # nothing was written beside it
    assert json.loads(stored.read_text())["command"].startswith("python3 run.py phase 1")
