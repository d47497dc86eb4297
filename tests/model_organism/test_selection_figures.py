"""Covers the figures of what phase 2 selects on the organism: that the page shows them."""

import json
from pathlib import Path

from model_organism.evaluate_selection import refresh_readme

ORGANISM = Path(__file__).resolve().parents[2] / "model_organism"


def test_the_readme_shows_the_figures(tmp_path):
    figures = json.loads((ORGANISM / "weights" / "selection.json").read_text())
    readme = (ORGANISM / "README.md").read_text(encoding="utf-8")
    copy = tmp_path / "README.md"
    copy.write_text(readme.replace(figures["conclusion"], ""), encoding="utf-8")
    refresh_readme(copy, figures)
    assert copy.read_text(encoding="utf-8") == readme
