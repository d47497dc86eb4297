"""Covers the figures of what phases 2 and 6.3 find on the organism: that the page shows them."""

import json
from pathlib import Path

import pytest

from common.errors import ConfigError
from model_organism import evaluate_attribution
from model_organism.evaluate_attribution import SITES, finished_run
from model_organism.evaluate_selection import refresh_readme

ORGANISM = Path(__file__).resolve().parents[2] / "model_organism"


def test_the_readme_shows_the_figures(tmp_path):
    figures = json.loads((ORGANISM / "weights" / "selection.json").read_text())
    readme = (ORGANISM / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme.replace(figures["conclusion"], ""), encoding="utf-8")
    refresh_readme(copy, figures)
    assert copy.read_text(encoding="utf-8") == readme


def test_the_readme_shows_what_each_site_carries(tmp_path):
    figures = json.loads((ORGANISM / "weights" / "attribution.json").read_text())
    assert list(figures) == list(SITES) and len({json.dumps(one["pairs"]) for one in figures.values()}) == 1
    readme = (ORGANISM / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme, encoding="utf-8")
    evaluate_attribution.refresh_readme(copy, figures)
    assert copy.read_text(encoding="utf-8") == readme


def test_the_nodes_of_a_layer_of_the_stream_add_up_to_the_whole_effect():
    figures = json.loads((ORGANISM / "weights" / "attribution.json").read_text())
    for layer in figures["hook_resid_post"]["layers"].values():
        assert layer["worth"] == pytest.approx(1, abs=1e-3) and layer["sum"] == pytest.approx(1, abs=0.021)


def test_what_is_no_run_of_phase_6_3_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"is no finished run of phase 6.3\nMake one with: python3 run.py phase 6.3"):
        finished_run(tmp_path / "none")
