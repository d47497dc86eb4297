"""Covers the parts of common/report: how numbers look, which drawings are let in, what a figure is called."""

import json

import pytest
import report_data

from common.handoffs import DETECTION, HANDOFFS, LATENTS
from common.report.blocks import (
    Figure,
    Paragraph,
    Scale,
    change,
    counted,
    estimate,
    scale_of_changes,
    share,
    text,
    value_cell,
)
from common.report.captions import caption_of
from common.report.collect import collect
from common.report.figures import UnsafeDrawing, figures_of, inline_svg, within_budget
from common.report.runs import TITLES
from common.words import (
    any_value,
    count,
    duration,
    interval,
    listed,
    number,
    p_value,
    p_words,
    percent,
    plural,
    points,
    sentence_case,
    title_of,
    typeset,
)

ESTIMATE = {"value": 0.618, "low": 0.559, "high": 0.671}
UNKNOWN = {"value": None, "low": None, "high": None}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (number(0.618), "0.62"),
        (number(-0.05, 1), "−0.1"),
        (number(-0.001), "0.00"),
        (number(None), "–"),
        (number(0.0, signed=True), "0.00"),
        (number(float("nan")), "–"),
        (number(3, 1, signed=True), "+3.0"),
        (interval(ESTIMATE), "0.62 (0.56 to 0.67)"),
        (interval(UNKNOWN), "–"),
        (interval(None), "–"),
        (interval({"value": 0.5, "low": None, "high": None}), "0.50"),
        (percent(ESTIMATE), "61.8 % (55.9 to 67.1)"),
        (percent(UNKNOWN), "–"),
        (percent({"value": 0.5}), "50.0 %"),
        (points({"value": -0.041, "low": -0.09, "high": 0.0}), "−4.1 points (−9.0 to 0.0)"),
        (p_value(0.0004), "< 0.001"),
        (p_value(0.031), "0.031"),
        (p_value(0.31), "0.31"),
        (p_value(1.0), "1.00"),
        (p_words(0.0004), "p < 0.001"),
        (p_words(0.2), "p = 0.20"),
        (p_value(None), "–"),
        (count(16384), "16,384"),
        (count(2.0), "2"),
        (count(12.5), "12.5"),
        (plural(1, "phase"), "1 phase"),
        (plural(2000, "phase"), "2,000 phases"),
        (listed(["a"]), "a"),
        (listed(["a", "b", "c"]), "a, b and c"),
        (listed([]), ""),
        (duration(7.44), "7.4 s"),
        (duration(59), "59 s"),
        (duration(125), "2 min 5 s"),
        (duration(4980), "1 h 23 min"),
        (sentence_case("p, Holm"), "p, Holm"),
        (sentence_case("rate"), "Rate"),
        (title_of("by_layer"), "By layer"),
        (any_value({"value": 0.5, "low": 0.4, "high": 0.6}), "0.50 (0.40 to 0.60)"),
        (any_value([1, True, None]), "1, yes, –"),
        (any_value(0.0123), "0.012"),
        (any_value(-3), "−3"),
        (any_value({"a": 1}), "a 1"),
    ],
)
def test_numbers_look_alike_everywhere(found, expected):
    assert found == expected


def test_words_are_set_as_in_print_but_names_stay():
    kept = "\N{NO-BREAK SPACE}"
    assert typeset("Steer_correct and predict_incorrect: by_layer") == "Steer-correct and predict-incorrect: by_layer"
    assert typeset("-1.2 points (-1.5 to 0.9), 5 %") == f"−1.2 points (−1.5{kept}to{kept}0.9), 5{kept}%"
    assert (
        typeset("2026-11-20T09-00-00Z, layer-3, predict-incorrect")
        == "2026-11-20T09-00-00Z, layer-3, predict-incorrect"
    )


def test_cells_sort_by_their_value_and_unknown_ones_by_nothing():
    assert estimate(ESTIMATE).sort == 0.618 and estimate(UNKNOWN).sort is None and estimate(None).text == "–"
    assert share(0.5).text == "50.0 %" and share(None).text == "–" and share(ESTIMATE).under == "(55.9 to 67.1)"
    assert value_cell("56.1 % (51.1 to 61.0)").sort == 56.1 and value_cell("steer_correct").sort is None
    assert value_cell(True).sort is None and value_cell("1,234").sort == 1234 and value_cell("3.8e-58").sort == 3.8e-58
    assert counted({"n": 3, "of": 40, "rate": ESTIMATE}).under == "3 of 40 (55.9 to 67.1)"
    assert change(None).text == "–" and change(ESTIMATE).text == "+61.8"


def test_an_interval_is_drawn_where_its_numbers_are():
    bar = estimate(ESTIMATE, scale=Scale(0, 1, 0.5)).bar
    assert bar == {"low": 55.9, "high": 67.1, "value": 61.8, "nothing": 50.0}
    assert estimate({"value": 2, "low": -1, "high": 3}, scale=Scale(0, 1)).bar == {"low": 0, "high": 100, "value": 100}
    assert scale_of_changes([{"value": 0.1, "low": -0.3, "high": 0.2}, None, UNKNOWN]) == Scale(-30, 30, 0)


def test_only_web_pages_become_links():
    assert (
        text("a", "https://example.org").link and not text("a", "http://x").link and not text("a", "javascript:x").link
    )


def test_a_drawing_of_the_phases_is_taken_over_with_ids_of_its_own():
    svg, width = inline_svg(report_data.drawing("roc"), "detection-roc", 'Roc. "Axes" & <more>')
    assert width == 576 and svg.startswith("<svg ") and 'aria-label="Roc. &quot;Axes&quot; &amp; &lt;more&gt;"' in svg
    assert "currentColor" in svg and "false positive rate" in svg and "<style" not in svg and "xmlns" not in svg
    assert "stroke-linejoin: round" in svg
    ids = {part.split('"')[0] for part in svg.split(' id="')[1:]}
    assert ids and all(name.startswith("detection-roc-") for name in ids)
    assert {part.split(")")[0] for part in svg.split("url(#")[1:]} <= ids
    assert {part.split('"')[0] for part in svg.split('href="#')[1:]} <= ids


UNSAFE = {
    "a script": "<script>alert(1)</script>",
    "a handler": '<path onclick="alert(1)"/>',
    "a page inside": "<foreignObject><body/></foreignObject>",
    "an animation": '<animate attributeName="href" to="javascript:alert(1)"/>',
    "a link": '<a href="javascript:alert(1)"><path/></a>',
    "a picture from elsewhere": '<image href="https://example.org/a.png"/>',
    "a drawing in a picture": '<image href="data:image/svg+xml;base64,AAAA"/>',
    "a fill from elsewhere": '<path fill="url(https://example.org/a.svg#b)"/>',
    "a style from elsewhere": "<style>@import url(https://example.org)</style>",
    "a style for the page": "<style>body { display: none }</style>",
    "another namespace": '<x:script xmlns:x="http://www.w3.org/1999/xhtml">alert(1)</x:script>',
}


@pytest.mark.parametrize("inside", UNSAFE.values(), ids=UNSAFE)
def test_a_drawing_that_could_do_anything_is_refused(inside):
    whole = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 10 10"><g>{inside}</g></svg>'
    with pytest.raises(UnsafeDrawing):
        inline_svg(whole.encode(), "a", "a")


@pytest.mark.parametrize(
    "whole",
    [
        '<!DOCTYPE svg [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1">&a;</svg>',
        '<html xmlns="http://www.w3.org/2000/svg"/>',
        '<svg xmlns="http://www.w3.org/2000/svg"/>',
    ],
)
def test_what_is_no_plain_drawing_is_refused(whole):
    with pytest.raises(UnsafeDrawing):
        inline_svg(whole.encode(), "a", "a")


def test_the_largest_figures_make_room_and_are_named_with_their_place():
    small, large = (Figure(name, "", f"data/{name}.svg", 100, source="x" * n) for name, n in (("a", 400), ("b", 900)))
    blocks = [[large, small], [small]]
    within_budget(blocks, 1000)
    words = "b: at 0.0 MB too large for this page. It lies in data/b.svg."
    assert blocks == [[Paragraph(words, "note"), small], [small]]
    within_budget(blocks, 800)
    assert blocks[0][1] == blocks[1][0] == small


@pytest.mark.parametrize(("name", "content"), [("roc.svg", b"<svg"), ("roc.png", b"no picture"), ("roc.gif", b"GIF")])
def test_a_file_that_is_no_figure_is_named(tmp_path, monkeypatch, name, content):
    monkeypatch.setitem(report_data._FILL, "detection", lambda out: out.file(f"figures/{name}", content))
    data = report_data.build(tmp_path, ["generations", "detection"])
    (block,) = figures_of(collect(data, {}).phases["detection"])
    assert block.kind == "paragraph" and name in block.text


def test_figures_have_titles_with_the_direction_and_an_order():
    assert caption_of("steering", "among_controls_steer_correct").title == "Steer-correct among its controls"
    assert caption_of("coefficients", "dose_response_x_y").title == "Dose and response of x-y"
    assert caption_of("detection", "baselines").place < caption_of("detection", "roc").place
    assert caption_of("transfer", "some_figure").title == "Some figure"


def test_every_phase_has_words_for_what_it_does():
    assert set(TITLES) == {handoff.name for handoff in HANDOFFS}


def test_the_best_predictor_is_the_one_with_the_largest_auroc(tmp_path):
    from common.report.detection import best_predictor

    data = report_data.build(tmp_path, ["generations", DETECTION.name])
    result = json.loads(next(data.glob("phase3_1/*/detection.json")).read_text())
    assert best_predictor(result)[0] == "predict_incorrect"
    result["directions"]["predict_incorrect"]["card"]["auroc"]["value"] = None
    assert best_predictor(result)[0] == "predict_correct"
    assert best_predictor({"directions": {}}) is None


def test_a_run_for_description_only_is_not_reported(tmp_path):
    data = report_data.build(tmp_path, ["generations", LATENTS.name])
    manifest = next(data.glob("phase2/*/manifest.json"))
    document = json.loads(manifest.read_text())
    from common.files import write_sealed_json

    del document["sha256_of_all_other_entries"]
    write_sealed_json(manifest, {**document, "settings": {"split": "validation"}})
    assert collect(data, {}).finished(LATENTS) is None
