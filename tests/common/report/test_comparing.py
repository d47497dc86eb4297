"""Covers run.py report --compare: a row for each experiment, what may not be compared, the page, the terminal."""

import pytest
import report_data
from pages import words
from report_data import build
from support import command

from common.errors import MissingArtifactError
from common.handoffs import DETECTION, LATENTS
from common.report.comparing.page import table_of_rows, terminal_lines, write_comparison
from common.report.comparing.rows import compared_in, not_comparable
from common.runs import discovery

NAMES = ["difficulty", "split", "generations", "latents", "detection", "coefficients", "steering"]
OTHER = "other@99999999"


@pytest.fixture
def data(tmp_path):
    return build(tmp_path / "data", NAMES)


def texts(rows):
    table = table_of_rows(rows)
    return [dict(zip([column.title for column in table.columns], row, strict=True)) for row in table.rows]


def test_each_experiment_has_a_row_with_its_auroc_verdicts_probe_and_steering(data):
    build(data, NAMES[:4], model=OTHER)
    rows = texts(compared_in([data]))
    assert [row["Model"].text for row in rows] == ["other", "organism"]
    measured, missing = rows[1], rows[0]
    assert (measured["AUROC"].text, measured["AUROC"].under) == ("0.62", "(0.57 to 0.67)")
    assert measured["Knows"].text == "ranks, beyond difficulty" and measured["Probe"].text == "0.75"
    assert (
        measured["Can be steered"].text == "raises the pass rate" and "+4.1 points" in measured["Can be steered"].under
    )
    assert {missing[name].text for name in ("Knows", "Can be steered")} == {"not measured"}


def test_experiments_of_the_same_problems_and_split_form_one_group(data):
    build(data, NAMES, model=OTHER)
    rows = compared_in([data])
    assert [row.group for row in rows] == ["A", "A"] and not_comparable(rows) == []


def test_another_split_of_the_same_problems_is_not_comparable_and_that_is_said(data, tmp_path):
    def change(split):
        split["seed"] = 43

    other = build(tmp_path / "other", NAMES, changes={"split_metadata.json": change})
    rows = compared_in([data, other])
    assert [row.group for row in rows] == ["A", "B"]
    assert not_comparable(rows) == ["B is not comparable with A: another split of the same dataset."]
    assert [str(other) in row.made_of for row in rows] == [False, True]


def test_other_problems_are_not_comparable_and_are_named(data, tmp_path, monkeypatch):
    monkeypatch.setattr(report_data, "DATASET", "mbpp@22222222")
    rows = compared_in([data, build(tmp_path / "other", NAMES)])
    assert not_comparable(rows) == ["B is not comparable with A: another dataset, mbpp."]


def test_a_second_selection_of_latents_that_was_judged_has_a_row_of_its_own(data):
    def from_layer_0(selected):
        selected["problems"] = 11

    first = discovery.list_runs(DETECTION, data)[0].document
    lineage = {name: digest for name, digest in first["lineage"].items() if name != LATENTS.name}
    latents = report_data.write_run(data, LATENTS, lineage, changes={"selected.json": from_layer_0})
    assert len(compared_in([data])) == 2  # judged once, with the older one
    lineage[LATENTS.name] = discovery.read_run(latents, LATENTS).document["content_sha256"]
    report_data.write_run(data, DETECTION, lineage)
    rows = compared_in([data])
    found = [row.collected.phases[LATENTS.name].artifact.path.name for row in rows]
    assert len(found) == 2 and found[0] == latents.name > found[1]
    assert [row.steered.verdict for row in rows] == ["not measured", "raises the pass rate"]


def test_the_page_shows_one_plot_one_table_and_what_to_type_for_what_is_missing(data, tmp_path):
    build(data, NAMES[:4], model=OTHER)
    path = tmp_path / "comparison.html"
    n_bytes = write_comparison(compared_in([data]), path)
    page = path.read_text()
    assert n_bytes == len(path.read_bytes()) and page.count('class="forest"') == page.count("<table") == 1
    assert "python3 run.py phase 3.1 --preset demo --model other" in words(page)


def test_the_command_writes_the_page_and_prints_the_table(data):
    done = command("run.py", "report", "--compare", "--data-dir", data)
    assert done.returncode == 0, done.stderr
    head, row, where = done.stdout.splitlines()
    assert head.split("  ")[0] == "Model" and row.startswith("organism, saes") and "0.62 (0.57 to 0.67)" in row
    assert where == f"Comparison: {data / 'comparison.html'}" and (data / "comparison.html").is_file()
    assert done.stdout.splitlines()[:2] == terminal_lines(compared_in([data]))


def test_folders_are_named_and_one_without_an_experiment_is_an_error_that_says_what_to_type(data, tmp_path):
    done = command("run.py", "report", "--compare", data, tmp_path / "empty")
    assert done.returncode == 2 and f"{tmp_path / 'empty'} holds none\nBuild one with: python3 run.py" in done.stderr
    with pytest.raises(MissingArtifactError):
        compared_in([data], {"model": "third"})


def test_files_for_papers_are_not_of_a_comparison(data, tmp_path):
    done = command("run.py", "report", "--compare", "--data-dir", data, "--tables", tmp_path / "tables")
    assert done.returncode == 2 and "a comparison has no files for papers\nLeave out --tables" in done.stderr
