"""Documents of phase 6, made by hand in the form that the phases give them, for tests of the report."""

from collections.abc import Callable
from functools import partial
from typing import Any

from report_error_latents import error_attribution, error_latent_circuits
from report_selection import counted

WEAK = "leans to the right side, without giving the right answer"


def of(hostile: str, n: int) -> dict[str, Callable[[Any], None]]:
    """What fills a run, by the name of its artifact."""
    fills = {"error_pairs": _pairs, "error_gate": _gate, "error_patching": _patching, "error_dense": _dense}
    latents = {"error_attribution": error_attribution, "error_latent_circuits": error_latent_circuits}
    told = {name: fill(hostile, n) for name, fill in latents.items()}
    return told | {name: partial(fill, hostile=hostile) for name, fill in fills.items()}


def _pairs(out: Any, hostile: str) -> None:
    shape = {"n_tokens": 20, "select": 10, "held_out": 10, "null_pairs": 20, "roles": [hostile]}
    lengths = {"close": {"clean": {"1": 20}, "corrupted": {"0": 20}, "tells": 1.0, "tells_within": 1.0}}
    pairs = {
        "n_draws": 90,
        "n_aligned": 30,
        "n": 20,
        "held_out": 10,
        "null_pairs": 20,
        "shapes": [shape],
        "refused": {"unequal length": 60, hostile: 10},
        "lengths": lengths,
    }
    template = {"corruption": hostile, "changed": ["close"], "formats": {"seed": pairs}}
    out.document(
        "pairs.json",
        {
            "n": 20,
            "held_out": 10,
            "null_pairs": 20,
            "python": "3.11.7",
            "without": [hostile],
            "formats": {"seed": {}, "chat": {"refused": "no"}},
            "front": [{"id": 2, "text": "<bos>", "is_sink": True}],
            "contrasts": {"TypeError/SyntaxError": {hostile: template}},
        },
    )


def _gate(out: Any, hostile: str) -> None:
    shares = {name: counted(9, 10) for name in ("both_signs", "clean_above", "accuracy", "prior_corrected", "top")}
    weak = "leans to the right side, without giving the right answer"
    figures = {**shares, "n": 10, "clean": 2.0, "corrupted": -1.0, "mass": 0.9, "top_tokens": {hostile: 9}}
    figures["verdict"] = weak
    result = {"select": figures, "held_out": None, "null_pairs": figures}
    form = {
        **{name: shares[name] for name in ("accuracy", "prior_corrected", "top")},
        "n": 20,
        "mass": 0.9,
        "by_error": {"TypeError": counted(9, 10)},
        "prior_corrected_by_error": {"TypeError": counted(8, 10)},
        "predicted": {"TypeError": 0.5},
    }
    gate = {"verdict": weak, "templates": [hostile], "together": result, "by_template": {hostile: result}}
    studied = {"contrast": "TypeError/SyntaxError", "format": "seed", "templates": [hostile], "verdict": weak}
    out.document(
        "gate.json",
        {
            "n": 10,
            "both_signs": counted(9, 10),
            "held_out": None,
            "null_pairs": figures,
            "studied": studied,
            "formats": {"seed": form},
            "contrasts": {"TypeError/SyntaxError": {"seed": gate}},
        },
    )


def _patching(out: Any, hostile: str) -> None:
    out.document("patching.json", {"contrast": hostile, "verdict": WEAK, "sentences": [hostile]})


def _dense(out: Any, hostile: str) -> None:
    out.document("dense.json", {"contrast": hostile})
