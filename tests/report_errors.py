"""Documents of phases 6.1 and 6.1b, made by hand in the form that the phases give them, for tests of the report."""

from collections.abc import Callable
from typing import Any

from report_selection import interval

WEAK = "leans to the right side, without giving the right answer"
CONTRAST = "TypeError/SyntaxError"


def error_pairs(hostile: str) -> Callable[[Any], None]:
    """Fills a run of phase 6.1: one template in one format, and a format that the tokenizer has not."""
    shape = {"n_tokens": 20, "select": 10, "held_out": 10, "null_pairs": 20, "roles": [hostile]}
    lengths = {"clean": {"1": 20}, "corrupted": {"0": 20}, "tells": 1.0, "tells_within": 1.0}
    pairs = {"n_draws": 90, "n_aligned": 30, "n": 20, "held_out": 10, "null_pairs": 20, "shapes": [shape]}
    pairs |= {"refused": {"unequal length": 60, hostile: 10}, "lengths": {"close": lengths}}
    template = {"corruption": hostile, "changed": ["close"], "formats": {"seed": pairs}}
    given = {"n": 20, "held_out": 10, "null_pairs": 20, "python": "3.11.7", "without": [hostile]}
    given |= {"formats": {"seed": {}, "chat": {"refused": "it has no template"}}}
    given |= {"front": [{"id": 2, "text": "<bos>", "is_sink": True}], "contrasts": {CONTRAST: {hostile: template}}}
    return lambda out: out.document("pairs.json", given)


def error_gate(hostile: str) -> Callable[[Any], None]:
    """Fills a run of phase 6.1b: one contrast that leans to the right side, whose null pairs do so too."""
    share = {"n": 9, "of": 10, "rate": interval(0.9)}
    shares = dict.fromkeys(("both_signs", "clean_above", "accuracy", "prior_corrected", "top"), share)
    figures = {**shares, "n": 10, "clean": 2.0, "corrupted": -1.0, "mass": 0.9, "top_tokens": {hostile: 9}}
    result = {"select": {**figures, "verdict": WEAK}, "held_out": None, "null_pairs": {**figures, "verdict": WEAK}}
    form = {**{name: share for name in ("accuracy", "prior_corrected", "top")}, "n": 20, "mass": 0.9}
    form |= {"by_error": {"TypeError": share}, "prior_corrected_by_error": {"TypeError": share}}
    form |= {"predicted": {"TypeError": 0.5}}
    gate = {"verdict": WEAK, "templates": [hostile], "together": result, "by_template": {hostile: result}}
    studied = {"contrast": CONTRAST, "format": "seed", "templates": [hostile], "verdict": WEAK}
    given = {"n": 10, "both_signs": share, "held_out": None, "null_pairs": result["null_pairs"], "studied": studied}
    given |= {"formats": {"seed": form}, "contrasts": {CONTRAST: {"seed": gate}}}
    return lambda out: out.document("gate.json", given)
