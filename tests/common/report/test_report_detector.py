"""Covers the report's section on the detector: it says what the card says, and is tested on what phase 4.1 writes."""

import json

import pytest
import report_data
from detectable import detectable
from experiments import save_saes

from common.report import write_report
from common.report.collect import collect
from common.report.detector import detector_section
from phase4_anomaly_detection.config import DetectorPhaseConfig
from phase4_anomaly_detection.phase import PHASE


def missing(made_by_hand: object, real: object, where: str = "") -> list[str]:
    """Entries that were made by hand, but are not in what the code makes."""
    if isinstance(made_by_hand, list) and made_by_hand and isinstance(real, list) and real:
        return missing(made_by_hand[0], real[0], f"{where}[]")
    if not isinstance(made_by_hand, dict) or not isinstance(real, dict):
        return []
    lacking = [f"{where}/{key}" for key in made_by_hand if key not in real]
    return lacking + [
        entry
        for key in made_by_hand
        if key in real
        for entry in missing(made_by_hand[key], real[key], f"{where}/{key}")
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return report_data.build(tmp_path_factory.mktemp("data"), ["generations", "detector"])


def test_the_section_says_what_the_card_says(data):
    section = detector_section(collect(data, {}).phases["detector"])
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


def test_the_page_has_the_section_with_its_run(data):
    page = write_report(data).path.read_text()
    assert 'id="detector"' in page and "Can a few latents" in page and "phase4_1/" in page


def test_it_is_tested_on_what_the_phase_writes(data, tmp_path):
    experiment = detectable(tmp_path, save_saes(tmp_path / "saes")).build()
    words = {key: str(getattr(experiment, key)) for key in ("dataset", "model", "sae")}
    run = experiment.run_phase(PHASE, DetectorPhaseConfig(**words, n_permutations=100))
    real = json.loads((run / "detector" / "detector.json").read_text())
    (path,) = data.glob("phase4_1/*/detector/detector.json")
    by_hand = json.loads(path.read_text())
    by_hand["calibration"].pop("note")  # of a score that does not rise
    assert len(by_hand["card"]) > 5 and not missing(by_hand, real)
