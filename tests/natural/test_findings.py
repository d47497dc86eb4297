"""Covers natural.findings: tables of a page from the artifacts of a study."""

import shutil

import pytest
from report_data import build

from common.errors import ConfigError
from natural.findings import main, newest_detectors, tables_of


def test_every_artifact_of_a_study_becomes_a_table(tmp_path):
    build(tmp_path / "data")
    tables = tables_of(tmp_path)
    of_phases = ("latents", "limits", "sparse probing", "directions", "scores", "beyond difficulty")
    for name in (*of_phases, "screening", "steering", "detectors"):
        lines = tables[name].splitlines()
        assert len(lines) > 2 and len({line.count(" | ") for line in lines if "---" not in line}) == 1, name
    assert "before" in tables["scores"] and "after" in tables["scores"]
    assert tables["transfer"].startswith("- ") and "nulls" not in tables


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no finished run of a phase\n.*natural\.study"):
        main(["--folder", str(tmp_path), "--page", str(tmp_path / "page.md")])


def test_the_newest_detector_of_each_kind_of_text_counts_and_its_card_is_copied(tmp_path):
    build(tmp_path / "data")
    [(read, first)] = newest_detectors(tmp_path / "data").items()
    shutil.copytree(first.path, first.path.with_name("2000-01-01T00-00-00Z_older"))
    assert [run.path for run in newest_detectors(tmp_path / "data").values()] == [first.path]
    (first.path / "detector" / "README.md").write_text("what it is worth\n")
    (tmp_path / "page.md").write_text(
        "".join(f"<!-- {name} -->\n<!-- end of {name} -->\n" for name in tables_of(tmp_path))
    )
    words = ["--folder", str(tmp_path), "--page", str(tmp_path / "page.md"), "--cards"]
    assert main([*words, str(tmp_path)]) == 0
    assert (tmp_path / f"detector_of_{read}.md").read_text() == "what it is worth\n"
    with pytest.raises(ConfigError, match=r"is no folder\n.*mkdir"):
        main([*words, str(tmp_path / "nowhere")])


def test_a_page_without_a_place_for_a_table_is_refused(tmp_path):
    build(tmp_path / "data")
    page = tmp_path / "page.md"
    page.write_text("<!-- scores -->\n<!-- end of scores -->\n")
    with pytest.raises(ConfigError, match=r"has no place for"):
        main(["--folder", str(tmp_path), "--page", str(page)])
