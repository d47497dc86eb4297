"""Covers what the report lets through of other people's text: programs and links."""

from pages import words
from report_data import USUAL, build, write_report

from run import CATALOGUE

NAMES = [schema.name for schema in USUAL]


def page(data, tmp_path, **given) -> str:
    return write_report(CATALOGUE, data, out=tmp_path / "report.html", **given).path.read_text()


def test_a_program_that_does_not_end_is_cut(tmp_path):
    def lengthen(result):
        result["steer_correct"][0]["diff"] = "--- a\n+++ b\n@@ -1 +1 @@\n" + "+" + "x" * 5000 + "\n y" * 500

    text = words(page(build(tmp_path / "data", changes={"examples.json": lengthen}), tmp_path))
    assert "… 4,760 more characters" in text and "… 441 more lines" in text


def test_a_link_that_is_no_web_page_is_words_only(tmp_path):
    def change(result):
        for latent in result["directions"]["predict_incorrect"]["latents"]:
            latent["neuronpedia"] = "javascript:alert(1)"

    source = page(build(tmp_path / "data", NAMES[:6], changes={"selected.json": change}), tmp_path)
    assert "javascript:" not in source and "neuronpedia.org" not in source


def test_a_page_without_texts_shows_no_problem_and_no_program(tmp_path):
    data = build(tmp_path / "data")
    whole, without = words(page(data, tmp_path)), words(page(data, tmp_path, texts=False))
    for shown in ("Write function", "def f(x)", "assert f(1)"):
        assert shown in whole and shown not in without
    assert "left out of this page, as all texts are" in without


def test_a_page_without_texts_says_no_place_of_this_machine(tmp_path):
    data = build(tmp_path / "data", NAMES[:6])  # phases that are left have commands with the folder
    whole, without = page(data, tmp_path), page(data, tmp_path, texts=False)
    assert f"--data-dir {data}" in words(whole) and str(tmp_path) not in without
    assert "--data-dir data" in words(without)
