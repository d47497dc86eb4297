"""Documents of phases 6.1 to 6.4b, made by hand in the form that the phases give them, for tests of the report."""

from collections.abc import Callable
from typing import Any

from report_selection import interval

WEAK = "leans to the right side, without giving the right answer"
CONTRAST = "TypeError/SyntaxError"


def of_errors(hostile: str) -> dict[str, Callable[[Any], None]]:
    """What fills a run of each phase, by its artifact."""
    made = (error_pairs, error_gate, error_patching, error_dense)
    return {fill.__name__: fill(hostile) for fill in made}


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


def error_patching(hostile: str) -> Callable[[Any], None]:
    """Fills a run of phase 6.2: a weak answer, one place and head of each kind, and another shape."""
    pairs = _studied(hostile)
    place = {"layer": 1, "token": hostile, "denoising": interval(0.5), "noising": interval(0.25)}
    places = [
        {**place, "part": part, "pos": pos} for part, pos in (("resid_post", 3), ("attn_out", -1), ("mlp_out", 3))
    ]
    head = {"layer": 1, "head": 2, "first_order": 0.4, "exact": interval(0.5)}
    ways = {way: {"heads": [head], "largest_miss": 0.1} for way in ("denoising", "noising")}
    given = {"contrast": CONTRAST, "format": "seed", "verdict": WEAK, "n": 10, "pairs": pairs}
    given |= {"path": places[:1], "strongest": places, "heads": ways, "sentences": [f"patched {hostile}"]}
    given |= {"others": [{"pairs": pairs, "largest_difference": 0.2}]}
    return lambda out: out.document("patching.json", given)


def error_dense(hostile: str) -> Callable[[Any], None]:
    """Fills a run of phase 6.4b: two sizes, one node, one direction."""
    curves = dict.fromkeys(("faithfulness", "completeness", "random"), [interval(0.3), interval(0.9)])
    node = {"kind": "head", "layer": 1, "unit": 2, "pos": 3, "token": hostile, "importance": 0.2}
    direction = {"layer": 1, "position": "end", "direction": interval(0.5), "whole": interval(0.6)}
    given = {"contrast": CONTRAST, "format": "seed", "gate": WEAK, "n": 10, "pairs": _studied(hostile), **curves}
    given |= {"n_nodes": 5000, "n_heads": 30, "sizes": [30, 300], "held_out": {**curves, "n": 10}}
    given |= {"nodes": [node], "directions": [direction], "sentences": [f"circuits of {hostile}"]}
    return lambda out: out.document("dense.json", given)


def _studied(hostile: str) -> dict[str, Any]:
    return {"template": hostile, "n": 10, "n_tokens": 20, "total": interval(3.0), "tokens": [hostile] * 20}
