"""What phase 3.1 says of a direction in a data folder made by hand."""

from collections.abc import Callable
from typing import Any

N = 12  # problems of each split
SIMPLE_SCORES = (
    ("always positive", 0.5, 0.5),
    ("prompt length", 0.57, 0.52),
    ("mean log-probability", 0.7, 0.6),
)
PROBES = (("logistic regression", 0.74), ("full probe", 0.75))
KNOWN = {"prompt length": "before", "full probe": "before", "mean log-probability": "after"}


def judgement(place: int, interval: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """All but latent, card and baselines; the first direction ranks. `interval` makes one of a value and a width."""
    return {
        "verdict": "ranks" if place == 0 else "cannot tell",
        "random_latents": {"n": 100, "auroc": {"median": 0.51, "q05": 0.45, "q95": 0.56, "rank": 2}},
        "auroc_within_strata": interval(0.53),
        "auroc_within": {"prompt length": interval(0.58)},
        "strata": [{"stratum": "complexity 1", "n": 3, "n_positive": 1, "auroc": interval(None), "f1": interval(None)}],
        "temperatures": [
            {
                "temperature": 0.6,
                "n_problems": N,
                "n_programs": N,
                "base_rate": 0.4,
                "auroc": interval(0.6),
                "f1": interval(0.5),
            }
        ],
        "differences": {name: {"auroc": interval(-0.1), "known": known} for name, known in KNOWN.items()},
        "beyond_difficulty": beyond(interval(0.04, 0.03), interval),
        "probe_beyond_difficulty": beyond(interval(0.08, 0.02), interval),
        "against_always": {"verdict": "cannot tell", "f1_difference": interval(0.02)},
        "power": {"smallest_auroc": 0.71, "power": 0.8, "n_positive": 4, "n_negative": 8},
        "stability": {
            "draws": 10,
            "same_latent": 7,
            "same_layer": 9,
            "auroc": interval(0.6),
            "selected_on": 20,
            "read_on": 4,
        },
    }


def beyond(gain: dict[str, Any], interval: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return {
        "verdict": "beyond difficulty",
        "gain": gain,
        "auroc_of_covariates": interval(0.6),
        "auroc_with_score": interval(0.64),
        "partial_z": 3.1,
        "covariates": ["prompt length", "complexity"],
    }
