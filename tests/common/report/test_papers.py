"""Covers common/report/papers: tables as CSV and LaTeX, figures as SVG and PDF, references."""

import csv
import io
import re
from xml.etree import ElementTree

import pytest
import report_data
from markupsafe import Markup

from common.errors import PipelineError
from common.handoffs.estimates import Interval
from common.report.blocks import Cell, Column, Drawing, Fold, Paragraph, Section, Table, count_cell, estimate
from common.report.papers.figures import files_of
from common.report.papers.tables import csv_of, escaped, latex_of
from common.report.papers.writing import write_for_papers

TABLE = Table(
    "Scores & costs",
    [Column("Score", numeric=False), Column("AUROC", "of 100 % of the problems"), Column("Programs")],
    [
        [Cell('a "quoted", name'), estimate(Interval(0.75, 0.5, 0.9)), count_cell(1200)],
        [Cell("x_1 < y"), Cell("–"), count_cell(3)],
    ],
    note="Held out.",
)
DRAWING = Drawing(
    "A drawing",
    "",
    Markup(
        '<svg viewBox="0 0 40 20" style="width: 340px; height: auto"><rect width="9" height="9" style="fill: '
        'var(--accent)"/><text y="9" style="font: 9px var(--mono); fill: var(--ink)">a</text></svg>'
    ),
)


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    data = report_data.build(tmp_path_factory.mktemp("data"), {"difficulty", "split", "generations", "detector"})
    return report_data.collect(data, {})


def test_a_csv_has_what_is_shown_and_the_numbers_it_sorts_by():
    head, first, second = csv.reader(io.StringIO(csv_of(TABLE)))
    assert head == ["Score", "AUROC", "Programs", "AUROC (number)", "Programs (number)"]
    assert first == ['a "quoted", name', "0.75 (0.50 to 0.90)", "1,200", "0.75", "1200"]
    assert second == ["x_1 < y", "–", "3", "", "3"]


def test_latex_escapes_what_it_would_read_and_balances_its_braces():
    latex = latex_of(TABLE, "scores")
    assert r"\caption{Scores \& costs. Held out. AUROC: of 100 \% of the problems.}" in latex
    assert r"x\_1 \textless{} y & -- & 3 \\" in latex and r"\begin{tabular}{lrr}" in latex
    assert escaped("\\{~^}") == r"\textbackslash{}\{\textasciitilde{}\textasciicircum{}\}"
    bare = re.sub(r"\\[{}]", "", latex)
    assert bare.count("{") == bare.count("}") and latex.count(r"\begin") == latex.count(r"\end")


def test_a_drawing_leaves_the_page_with_its_colours_and_size():
    files = files_of(DRAWING)
    svg = ElementTree.fromstring(files["svg"])
    assert (svg.get("width"), svg.get("height")) == ("40", "20") and b"var(" not in files["svg"]
    assert re.search(rb"fill: #[0-9a-f]{6}", files["svg"]) and b"font-family: monospace" in files["svg"]
    assert files["pdf"].startswith(b"%PDF") and files["pdf"] == files_of(DRAWING)["pdf"]


def test_tables_in_folds_and_of_one_title_all_have_files(collected, tmp_path):
    empty = Table("Nothing", [Column("x")], [])
    section = Section("one", blocks=[TABLE, Fold("f", "", "", [TABLE, DRAWING]), Paragraph("words"), empty])
    n = write_for_papers(collected, [section], tmp_path / "paper")
    names = {path.name for path in (tmp_path / "paper").iterdir()}
    assert n == len(names) == 7
    assert names == {
        "references.bib",
        "one_a_drawing.svg",
        "one_a_drawing.pdf",
        *(f"one_scores_costs{again}.{ending}" for again in ("", "_2") for ending in ("csv", "tex")),
    }


def test_a_file_in_the_place_of_the_folder_is_an_error_with_what_to_do(collected, tmp_path):
    (tmp_path / "paper").write_text("mine")
    with pytest.raises(PipelineError, match="paper"):
        write_for_papers(collected, [], tmp_path / "paper")
    assert (tmp_path / "paper").read_text() == "mine"


def test_references_name_what_was_used_and_nothing_else(collected, tmp_path):
    write_for_papers(collected, [], tmp_path)
    text = (tmp_path / "references.bib").read_text()
    keys = re.findall(r"^@\w+{(\w+),$", text, re.MULTILINE)
    assert keys == ["pvasae", "tahimic2025correctness", "model", "dictionaries", "problems"]
    assert "ACE" in text and text.count("{") == text.count("}")


def test_the_command_writes_every_table_of_the_report(collected, cli, tmp_path):
    done = cli("run.py", "report", "--data-dir", collected.data_dir, "--tables", tmp_path / "paper")
    assert done.returncode == 0 and f"Tables and figures: {tmp_path / 'paper'}" in done.stdout, done.stderr
    page = (collected.data_dir / "report.html").read_text()
    titles = {path.stem for path in (tmp_path / "paper").glob("*.csv")}
    assert len(titles) == page.count("<table") > 5 and any(name.startswith("detector_") for name in titles)
