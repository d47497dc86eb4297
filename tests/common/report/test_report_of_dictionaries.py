"""Covers what the page says of the dictionaries that latents are from."""

from pages import words
from report_data import build, write_report

from run import CATALOGUE


def test_a_dictionary_that_is_not_sparse_is_a_warning(tmp_path):
    """Its mean rate lifts the limit to 1, so that the filter leaves nothing out, which nobody was told."""

    def dense(result):
        site = result["sites"][0]
        site["general_text"] = {**site["general_text"], "mean_rate": 0.5, "limit": 1.0}

    data = build(tmp_path / "data", changes={"selected.json": dense})
    text = words(write_report(CATALOGUE, data).path.read_text())
    assert "Not a sparse dictionary" in text and "fires on 50 % of general text on average" in text
    assert "Not a sparse dictionary" not in write_report(CATALOGUE, build(tmp_path / "sparse")).path.read_text()
