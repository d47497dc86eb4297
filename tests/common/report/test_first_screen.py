"""Covers the report's first screen: badges in the verdicts' own words, the forest plot's rows, what stands open."""

import pytest
import report_data
from pages import Reader, words
from report_data import build, collect

from common.handoffs.detection import Known
from common.handoffs.steering import Change
from common.handoffs.verdicts import DifficultyVerdict, RankingVerdict
from common.report.blocks import (
    Cell,
    Commands,
    Example,
    Facts,
    Figure,
    Fold,
    Heading,
    Paragraph,
    Section,
    Table,
    parts_of,
)
from common.report.folding import MOST_WARNINGS, figures_and_tables, fold_away, placed
from common.report.forest import SPARSE_PROBE, forest_of
from common.report.outcomes import Tone, can_be_steered, knows
from run import PROGRAM

BEFORE_DETECTION = ["difficulty", "split", "generations", "latents"]
DETECTED = [*BEFORE_DETECTION, "detection"]
STEERED = [*DETECTED, "coefficients", "steering"]


def known_with(tmp_path, ranking, beyond=DifficultyVerdict.BEYOND):
    def change(result):
        for entry in result["directions"].values():
            entry["verdict"] = ranking.value
            entry["beyond_difficulty"]["verdict"] = beyond.value

    return knows(collect(build(tmp_path / "data", DETECTED, changes={"detection.json": change}), {}))


@pytest.mark.parametrize(
    ("beyond", "tone"),
    [
        (DifficultyVerdict.BEYOND, Tone.YES),
        (DifficultyVerdict.NOT_BEYOND, Tone.PARTLY),
        (DifficultyVerdict.CANNOT_TELL, Tone.PARTLY),
    ],
)
def test_what_ranks_is_a_yes_only_where_it_goes_beyond_difficulty(tmp_path, beyond, tone):
    found = known_with(tmp_path, RankingVerdict.RANKS, beyond)
    assert found.tone is tone and found.verdict.startswith(f"{RankingVerdict.RANKS}, ")
    assert found.verdict.endswith(beyond)


@pytest.mark.parametrize(
    ("ranking", "tone"),
    [
        (RankingVerdict.LIKE_RANDOM, Tone.NO),
        (RankingVerdict.DOES_NOT_RANK, Tone.NO),
        (RankingVerdict.CANNOT_TELL, Tone.OPEN),
    ],
)
def test_what_does_not_rank_says_so_in_its_own_words(tmp_path, ranking, tone):
    found = known_with(tmp_path, ranking)
    assert (found.verdict, found.tone) == (ranking, tone)


def steered_with(tmp_path, *verdicts):
    def change(result):
        for entry, verdict in zip(result["directions"].values(), verdicts, strict=True):
            entry["verdict"] = verdict

    return can_be_steered(collect(build(tmp_path / "data", STEERED, changes={"steering.json": change}), {}))


def test_the_direction_whose_verdict_says_most_is_on_the_badge_and_the_others_beside_it(tmp_path):
    found = steered_with(tmp_path, str(Change.NOTHING), str(Change.RAISES))
    assert (found.verdict, found.tone) == (Change.RAISES, Tone.YES)
    assert found.sentence == (
        "Adding steer-correct changes the pass rate on 12 problems by +4.1 points (-0.9 to +9.1): "
        "“raises the pass rate”; steer-incorrect: “no measurable effect”."
    ).replace("-0.9", "\N{MINUS SIGN}0.9")


@pytest.mark.parametrize(
    ("verdict", "said", "tone"),
    [
        ("cannot tell (an effect of 9 points would have been found)", Change.CANNOT_TELL, Tone.OPEN),
        (f"breaks the output; {Change.RAISES}", f"breaks the output; {Change.RAISES}", Tone.PARTLY),
        (str(Change.BEYOND_FEW), Change.BEYOND_FEW, Tone.PARTLY),
        (str(Change.NO_MORE), Change.NO_MORE, Tone.NO),
        (str(Change.NOTHING), Change.NOTHING, Tone.NO),
    ],
)
def test_every_outcome_of_steering_has_its_words_and_its_look(tmp_path, verdict, said, tone):
    found = steered_with(tmp_path, verdict, verdict)
    assert (found.verdict, found.tone) == (said, tone)
    assert f"“{verdict}”; the same of steer-correct." in found.sentence


def test_a_badge_of_what_was_not_run_says_so_and_what_to_type(tmp_path):
    data = build(tmp_path / "data", BEFORE_DETECTION)
    for outcome, phase in zip((knows, can_be_steered), ("3.1", "3.3"), strict=True):
        found = outcome(collect(data, {}))
        assert (found.verdict, found.tone) == ("not measured", Tone.MISSING)
        assert found.sentence.startswith(f"Phase {phase} is not begun.")
        assert found.command.startswith(f"python3 run.py phase {phase} --preset demo")
    page = report_data.write_report(PROGRAM, data).path.read_text()
    assert "Knows: not measured" in words(page) and "Can be steered: not measured" in words(page)
    assert 'class="forest"' not in page


def test_the_forest_plot_has_what_phases_3_1_and_4_1_declare_each_with_when_it_is_known(tmp_path):
    data = build(tmp_path / "data", [*DETECTED, "detector"])
    plot = forest_of(collect(data, {}))
    found = {row.label: (row.value.value, row.known) for row in plot.rows}
    assert found == {
        "latent": (0.62, Known.BEFORE),
        SPARSE_PROBE: (0.66, Known.BEFORE),
        "full probe": (0.75, Known.BEFORE),
        "prompt length": (0.57, Known.BEFORE),
        "mean log-probability": (0.7, Known.AFTER),
    }
    assert plot.ticks[0] == (0.0, "0.4") and plot.ticks[-1] == (100.0, "1.0") and plot.chance == 16.67


def test_the_forest_plot_makes_do_with_one_of_the_two_phases(tmp_path):
    only_detector = forest_of(collect(build(tmp_path / "a", [*BEFORE_DETECTION, "detector"]), {}))
    assert [row.label for row in only_detector.rows] == [SPARSE_PROBE]
    assert forest_of(collect(build(tmp_path / "b", BEFORE_DETECTION), {})) is None


def figure(title, height=300):
    return Figure(title, "", "", 400, height, "data:,")


def table(title, n_rows=3):
    return Table(title, [], [[] for _ in range(n_rows)])


def test_a_section_shows_words_and_one_small_thing_and_folds_the_rest_without_losing_any():
    before = [Paragraph("words"), figure("tall", 900), figure("small"), table("a"), Example("e", "", "", [])]
    before += [Commands(["one"] * 9), Facts([("x", Cell("y"))] * 20)]
    blocks = [*before, Heading("part", "beside", "good"), figure("inside")]
    [folded] = fold_away([Section("s", blocks=blocks)])
    opened = [block for block in folded.blocks if not isinstance(block, Fold)]
    assert [getattr(block, "title", "words") for block in opened] == ["words", "small", "a"]
    assert opened[-1].folded
    folds = [block for block in folded.blocks if isinstance(block, Fold)]
    assert [fold.title for fold in folds] == ["9 commands", "Details", "1 more example", "1 more figure", "part"]
    assert (folds[-1].beside, folds[-1].tone) == ("beside", "good")
    inner = [block for part in parts_of(folded.blocks) for block in part if not isinstance(block, Fold)]
    assert len(inner) == len(blocks) - 1  # its heading is the part's title


def test_warnings_beyond_the_first_are_folded_with_what_is_to_be_typed_for_them():
    warnings = [Paragraph(str(n), "warning", "Careful") for n in range(MOST_WARNINGS + 2)]
    [folded] = fold_away([Section("warnings", blocks=[*warnings, Commands(["type this"])])])
    *opened, fold = folded.blocks
    assert opened == warnings[:MOST_WARNINGS] and fold.title == "2 more warnings"
    assert fold.blocks[-1] == Commands(["type this"])


def test_the_answer_of_a_part_is_read_without_a_click():
    blocks = [Heading("Circuits"), Paragraph("Six latents carry it.", "verdict"), table("a")]
    [fold] = fold_away([Section("s", blocks=blocks)])[0].blocks
    assert fold.says == "Six latents carry it." and fold.blocks == [table("a")]


def test_every_figure_and_table_has_a_place_of_its_own():
    sections = placed([Section("s", blocks=[table("a"), Fold("", "a", "", [table("a"), figure("a")]), table("no", 0)])])
    assert [place.id for place in figures_and_tables(sections[0])] == ["s-a", "s-a-2", "s-a-3"]


def test_every_link_of_the_index_leads_somewhere_and_to_every_figure(tmp_path):
    found = Reader(report_data.write_report(PROGRAM, build(tmp_path / "data")).path.read_text()).elements
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    links = {attributes["href"][1:] for tag, attributes in found if tag == "a" and attributes["href"].startswith("#")}
    assert links - {"main"} <= {*ids} and len(ids) == len({*ids})
    figures = [attributes for tag, attributes in found if tag == "figure"]
    assert len(figures) > 20 and all(one["id"] in links for one in figures if one["class"] != "forest")
