"""Covers the parts of common/report: how numbers look, which drawings are let in, what a figure is called."""

import base64
import json
from dataclasses import replace

import pytest
import report_data
from report_data import collect

from common.handoffs import DETECTION, LATENTS, SCHEMAS
from common.handoffs.estimates import UNDEFINED, Counted, Interval
from common.plots import new_figure, whole_numbers
from common.report.blocks import (
    Figure,
    Paragraph,
    Scale,
    change,
    counted,
    estimate,
    figure_cell,
    scale_of_changes,
    share,
    text,
    value_cell,
)
from common.report.figures import caption_of, figures_of, within_budget
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
from phase3_validation.detection.report import CAPTIONS

ESTIMATE, UNKNOWN = Interval(0.618, 0.559, 0.671), UNDEFINED


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (number(0.618), "0.62"), (number(-0.05, 1), "−0.1"), (number(-0.001), "0.00"), (number(None), "–"),
        (number(0.0, signed=True), "0.00"), (number(float("nan")), "–"), (number(3, 1, signed=True), "+3.0"),
        (interval(ESTIMATE), "0.62 (0.56 to 0.67)"), (interval(UNKNOWN), "–"), (interval(None), "–"),
        (interval(Interval(0.5, None, None)), "0.50"),
        (percent(ESTIMATE), "61.8 % (55.9 to 67.1)"), (percent(UNKNOWN), "–"),
        (percent(Interval(0.5, None, None)), "50.0 %"),
        (points(Interval(-0.041, -0.09, 0.0)), "−4.1 points (−9.0 to 0.0)"),
        (p_value(0.0004), "< 0.001"), (p_value(0.031), "0.031"), (p_value(0.31), "0.31"), (p_value(1.0), "1.00"),
        (p_words(0.0004), "p < 0.001"), (p_words(0.2), "p = 0.20"), (p_value(None), "–"),
        (count(16384), "16,384"), (count(2.0), "2"), (count(12.5), "12.5"), (plural(1, "phase"), "1 phase"),
        (plural(2000, "phase"), "2,000 phases"), (listed(["a"]), "a"), (listed(["a", "b", "c"]), "a, b and c"),
        (listed([]), ""), (duration(7.44), "7.4 s"), (duration(59), "59 s"), (duration(125), "2 min 5 s"),
        (duration(4980), "1 h 23 min"), (sentence_case("p, Holm"), "p, Holm"), (sentence_case("rate"), "Rate"),
        (title_of("by_layer"), "By layer"), (any_value(Interval(0.5, 0.4, 0.6)), "0.50 (0.40 to 0.60)"),
        (any_value([1, True, None]), "1, yes, –"), (any_value(0.0123), "0.012"), (any_value(-3), "−3"),
        (any_value({"a": 1}), "a 1"),
    ],
)  # fmt: skip
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
    assert counted(Counted(3, 40, ESTIMATE)).under == "3 of 40 (55.9 to 67.1)"
    assert change(None).text == "–" and change(ESTIMATE).text == "+61.8"


def test_an_interval_is_drawn_where_its_numbers_are():
    bar = estimate(ESTIMATE, scale=Scale(0, 1, 0.5)).bar
    assert bar == {"low": 55.9, "high": 67.1, "value": 61.8, "nothing": 50.0}
    assert estimate(Interval(2, -1, 3), scale=Scale(0, 1)).bar == {"low": 0, "high": 100, "value": 100}
    assert scale_of_changes([Interval(0.1, -0.3, 0.2), None, UNKNOWN]) == Scale(-30, 30, 0)


def test_only_web_pages_become_links():
    assert (
        text("a", "https://example.org").link and not text("a", "http://x").link and not text("a", "javascript:x").link
    )


def test_a_drawing_is_a_picture_in_which_nothing_runs(tmp_path):
    data = report_data.build(tmp_path, ["generations", "detection"])
    (block,) = figures_of(collect(data, {}).phases["detection"], CAPTIONS, "roc")
    kind, _, encoded = block.source.partition(";base64,")
    assert kind == "data:image/svg+xml" and base64.b64decode(encoded) == report_data.drawing("roc")
    assert block.width == 576 and block.alt.startswith("True against false positives.")


def test_the_largest_figures_make_room_and_are_named_with_their_place():
    small, large = (
        Figure(name, "", f"data/{name}.svg", 100, 50, source="x" * n) for name, n in (("a", 400), ("b", 900))
    )
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
    (block,) = figures_of(collect(data, {}).phases["detection"], CAPTIONS)
    assert block.kind == "paragraph" and name in block.text


def test_figures_have_titles_with_the_direction_and_an_order():
    titles = {"baselines": "Scores", "roc": "Curves", "among_controls_*": "{} among its controls"}
    captions = {pattern: (title, "its axes") for pattern, title in titles.items()}
    assert caption_of("among_controls_steer_correct", captions).title == "Steer-correct among its controls"
    assert caption_of("baselines", captions).place < caption_of("roc", captions).place
    assert caption_of("some_figure", captions).title == "Some figure"


def test_every_phase_has_words_for_what_it_does():
    assert set(TITLES) == {schema.name for schema in SCHEMAS}


def test_the_headline_is_what_the_selection_split_chose_whatever_validation_says(tmp_path):
    data = report_data.build(tmp_path, ["generations", DETECTION.name])
    result = collect(data, {}).phases[DETECTION.name].document()
    worse, better = result.directions["predict_correct"], result.directions["predict_incorrect"]
    assert worse.card.auroc.value < better.card.auroc.value
    for t, name in ((-7.0, "predict_correct"), (None, "predict_correct"), (-5.0, "predict_incorrect")):
        changed = replace(worse, latent=replace(worse.latent, t=t))
        found = replace(result, directions=result.directions | {"predict_correct": changed})
        assert found.headline == (name, found.directions[name])
    assert replace(result, directions={}).headline is None


def test_a_run_for_description_only_is_not_reported(tmp_path):
    data = report_data.build(tmp_path, ["generations", LATENTS.name])
    manifest = next(data.glob("phase2/*/manifest.json"))
    document = json.loads(manifest.read_text())
    from common.files import write_sealed_json

    del document["sha256_of_all_other_entries"]
    write_sealed_json(manifest, {**document, "settings": {"split": "validation"}})
    assert collect(data, {}).finished(LATENTS) is None


def test_a_small_number_has_as_many_digits_as_it_needs():
    cells = [figure_cell(value, 3).text for value in (0.02, 0.0004, -0.00004, 0.0, 1e-12)]
    assert cells == ["0.020", "0.0004", "\N{MINUS SIGN}0.00004", "0.000", "0.000000000"]


@pytest.mark.parametrize(("layers", "some"), [([5], {"5"}), ([3, 4], {"3", "4"}), (list(range(26)), {"0", "25"})])
def test_ticks_of_layers_are_whole_numbers(layers, some):
    with new_figure() as (figure, axis):
        axis.plot(layers, layers, marker="o")
        whole_numbers(axis.xaxis)
        figure.canvas.draw()
        texts = {label.get_text() for label in axis.get_xticklabels()}
    assert some <= texts and all(text.lstrip("\N{MINUS SIGN}").isdigit() for text in texts)
