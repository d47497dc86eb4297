"""Covers the report's section on the detector: it says what the card says."""

import pytest
import report_data
from report_data import collect, write_report

from phase4_anomaly_detection.report import section as section_of
from run import CATALOGUE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return report_data.build(tmp_path_factory.mktemp("data"), ["generations", "detector"])


def test_the_section_says_what_the_card_says(data):
    collected = collect(data, {})
    section = section_of(collected.phases["detector"], collected)
    facts = dict(next(block for block in section.blocks if block.kind == "facts").pairs)
    assert facts["AUROC"].text == "0.66 (0.61 to 0.71)"
    assert facts["Target"].text == (
        "flag rate of 0.2: 0.40 (0.35 to 0.45), not met; no threshold reached it on the texts for tuning"
    )
    assert facts["Probability"].text == "careful: the score does not rise"
    assert facts["Readings"].text.startswith("2 detectors were evaluated on these texts so far")
    tables = {block.title: block for block in section.blocks if block.kind == "table"}
    card = next(table for title, table in tables.items() if "simpler scores" in title)
    assert [row[0].text for row in card.rows] == ["this detector", "always flag"]
    assert "text length" in card.note and tables["Its latents"].rows[0][0].text == "7"


def says(data) -> str:
    collected = collect(data, {})
    blocks = section_of(collected.phases["detector"], collected).blocks
    return next(block.text for block in blocks if getattr(block, "tone", "") == "verdict")


def test_the_answer_has_the_auroc_and_whether_it_beats_the_always_answer_and_the_single_latent(data, tmp_path):
    assert (
        says(data) == "Its AUROC is 0.66 (0.61 to 0.71). Its F1 of 0.60 (0.55 to 0.65) is not clearly above that of "
        "always flagging, 0.60."
    )

    def of_prompts(area: float):
        def change(found):
            found["population"] = {"read": "prompts"}
            found["card"]["detector"] |= {"auroc": {"value": area, "low": area - 0.05, "high": area + 0.05}}
            found["card"]["baselines"]["always flag"]["f1"] = {"value": 0.5, "low": 0.5, "high": 0.5}

        return change

    for number, (area, verdict) in enumerate(
        ((0.61, "it does not beat that"), (0.66, "no difference between the two is shown"), (0.8, "it beats that."))
    ):
        names = ["generations", "detection", "detector"]
        changes = {"detector/detector.json": of_prompts(area)}
        told = says(report_data.build(tmp_path / str(number), names, changes=changes))
        assert "The single latent predict-" in told and verdict in told
        assert told.endswith("is above that of always flagging, 0.50.")


def test_the_page_has_the_section_with_its_run(data):
    page = write_report(CATALOGUE, data).path.read_text()
    assert 'id="detector"' in page and "Can a few latents" in page and "phase4_1/" in page
