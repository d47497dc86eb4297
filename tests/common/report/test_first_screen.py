"""Covers the report's first screen: badges in the verdicts' own words, the forest plot's rows, what stands open."""

import re

import pytest
import report_data
from pages import Reader, words
from report_data import build, collect

from common.handoffs import DETECTION
from common.handoffs.detection import Known
from common.handoffs.score_verdicts import DifficultyVerdict, RankingVerdict
from common.handoffs.steering import Change
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
from common.report.folding import figures_and_tables, fold_away, placed
from common.report.forest import SPARSE_PROBE, forest_of
from common.report.outcomes import Tone, can_be_steered, knows
from common.words import direction_words, interval
from run import CATALOGUE

BEFORE_DETECTION = ["difficulty", "split", "generations", "latents"]
DETECTED = [*BEFORE_DETECTION, "detection"]
STEERED = [*DETECTED, "coefficients", "steering"]


def known_with(tmp_path, ranking, beyond=DifficultyVerdict.BEYOND):
    def change(result):
        for entry in result["directions"].values():
            entry["verdict"] = ranking.value
            entry["beyond_difficulty"]["verdict"] = beyond.value

    return knows(collect(build(tmp_path / "data", DETECTED, changes={"detection.json": change}), {}))


@pytest.mark.parametrize(("error", "said"), [("truncated", True), ("wrong_answer", False)])
def test_failures_that_are_programs_cut_off_are_told_beside_what_ranks_them(tmp_path, monkeypatch, error, said):
    whole = report_data.program
    failed = {"error": error}
    monkeypatch.setattr(report_data, "program", lambda i: {**whole(i), **(failed if i % 3 == 0 else {})})
    sentence = known_with(tmp_path, RankingVerdict.RANKS).sentence
    n = len(range(0, 3 * report_data.N, 3))
    assert (f"{n} of the {n} failing programs of phase 1 were cut off at the token limit" in sentence) == said


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
        (
            "cannot tell (an effect of 9 points would show in 80 % of such runs, a smaller one less often)",
            Change.CANNOT_TELL,
            Tone.OPEN,
        ),
        (f"breaks the output; {Change.RAISES}", f"breaks the output; {Change.RAISES}", Tone.PARTLY),
        (str(Change.BEYOND_ITS_FEW), Change.BEYOND_ITS_FEW, Tone.PARTLY),
        (str(Change.NO_MORE), Change.NO_MORE, Tone.NO),
        (str(Change.NOTHING), Change.NOTHING, Tone.NO),
    ],
)
def test_every_outcome_of_steering_has_its_words_and_its_look(tmp_path, verdict, said, tone):
    found = steered_with(tmp_path, verdict, verdict)
    assert (found.verdict, found.tone) == (said, tone)
    assert f"“{verdict}”; the same verdict for steer-correct." in found.sentence


def test_a_badge_of_what_was_not_run_says_so_and_what_to_type(tmp_path):
    data = build(tmp_path / "data", BEFORE_DETECTION)
    for outcome, phase in zip((knows, can_be_steered), ("3.1", "3.3"), strict=True):
        found = outcome(collect(data, {}))
        assert (found.verdict, found.tone) == ("not measured", Tone.MISSING)
        assert found.sentence.startswith(f"Phase {phase} is not begun.")
        assert found.command.startswith(f"python3 run.py phase {phase} --preset demo")
    page = report_data.write_report(CATALOGUE, data).path.read_text()
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
        "difficulty and text": (0.6, Known.BEFORE),
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


def test_a_table_below_long_words_is_folded():
    few, many = ([Paragraph("x" * n), table("a")] for n in (1200, 1201))
    assert not fold_away([Section("s", blocks=few)])[0].blocks[-1].folded
    assert fold_away([Section("s", blocks=many)])[0].blocks[-1].folded


def test_no_warning_is_folded():
    warnings = [Paragraph(str(n), "warning", "Careful") for n in range(30)]
    blocks = [*warnings, Commands(["type this"])]
    assert fold_away([Section("warnings", blocks=blocks)])[0].blocks == blocks


def test_the_answer_of_a_part_is_read_without_a_click():
    blocks = [Heading("Circuits"), Paragraph("Six latents carry it.", "verdict"), table("a")]
    [fold] = fold_away([Section("s", blocks=blocks)])[0].blocks
    assert fold.says == "Six latents carry it." and fold.blocks == [table("a")]


def test_every_figure_and_table_has_a_place_of_its_own():
    sections = placed([Section("s", blocks=[table("a"), Fold("", "a", "", [table("a"), figure("a")]), table("no", 0)])])
    assert [place.id for place in figures_and_tables(sections[0])] == ["s-a", "s-a-2", "s-a-3"]


def test_every_link_of_the_index_leads_somewhere_and_to_every_figure(tmp_path):
    found = Reader(report_data.write_report(CATALOGUE, build(tmp_path / "data")).path.read_text()).elements
    ids = [attributes["id"] for _, attributes in found if "id" in attributes]
    links = {attributes["href"][1:] for tag, attributes in found if tag == "a" and attributes["href"].startswith("#")}
    assert links - {"main"} <= {*ids} and len(ids) == len({*ids})
    figures = [attributes for tag, attributes in found if tag == "figure"]
    assert len(figures) > 20 and all(one["id"] in links for one in figures if one["class"] != "forest")


def test_a_badge_says_what_the_same_is_worth_without_the_model_and_what_the_other_latent_is(tmp_path):
    collected = collect(build(tmp_path / "data", DETECTED), {})
    document = collected.finished(DETECTION).document()
    name, entry = document.headline
    (other,) = set(document.predicting) - {name}
    sentence = knows(collected).sentence
    assert f"Difficulty and text alone have {interval(entry.beyond_difficulty.auroc_of_covariates)}" in sentence
    assert f"the latent adds {interval(entry.beyond_difficulty.gain, 3, signed=True)}" in sentence
    assert f"{direction_words(other)} has {interval(document.predicting[other].card.auroc)}" in sentence


def test_what_is_taken_away_is_not_said_to_be_added(tmp_path):
    def change(result):
        for entry in result["directions"].values():
            entry["coefficient"] = -0.25

    steered = can_be_steered(collect(build(tmp_path / "data", STEERED, changes={"steering.json": change}), {}))
    assert steered.sentence.startswith("Subtracting steer-")


def test_where_controls_are_few_the_badge_says_how_many_there_were(tmp_path):
    few = "cannot tell (no effect would show in such a run); fewer than 19 controls of a kind"
    sentence = steered_with(tmp_path, few, few).sentence
    assert re.search(r"of a kind” \(\d+ matched latents? and \d+ random directions?\)", sentence), sentence


def test_a_page_of_the_organism_says_on_its_first_screen_that_it_is_a_toy(tmp_path):
    page = report_data.write_report(CATALOGUE, build(tmp_path / "data", DETECTED)).path.read_text()
    header = page[: page.index("</header>")]
    assert "no evidence about natural models" in header
