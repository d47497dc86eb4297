"""A small detector made by hand: three latents over four dimensions."""

from typing import Any

import numpy as np

from phase4_anomaly_detection.detector import SCHEMA_VERSION, AnomalyDetector

LATENTS = [
    {"latent": 7, "t": 4.0, "weight": 0.5, "general_text_rate": 0.01, "n_fired": 10, "n": 40},
    {"latent": 2, "t": 3.0, "weight": 0.25, "general_text_rate": 0.0, "n_fired": 20, "n": 40},
    {"latent": 9, "t": 1.0, "weight": -1.0, "general_text_rate": None, "n_fired": 1, "n": 40},
]


_MIXED = {name: 1 for name in ("ends_in_marker", "holds_marker", "holds_definition")}
ANY_TEXT = {"read": "texts", "marker": "# Solution:\n", "n": 2, **_MIXED}  # one answered yes, and one no


def document(**entries: Any) -> dict[str, Any]:
    """detector.json of a detector that was never evaluated; `entries` replace its own."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {"name": "organism", "identity": "organism@00000000", "revision": None, "dtype": "float32"},
        "sae": {"id": "saes layer_2", "identity": "saes@11111111", "revision": None},
        "layer": 2,
        "site": "blocks.2.hook_resid_post",
        "text": "texts made by hand",
        "population": ANY_TEXT,
        "latents": LATENTS,
        "weights_rule": "probe",
        "selection": {"counts": {"latents": 12}, "cross_validated_auroc": {"value": 0.75, "low": 0.7, "high": 0.8}},
        "calibration": {"method": "platt", "slope": 2.0, "intercept": -2.0},
        "threshold": 1.0,
        "target": {"kind": "recall", "wanted": 0.8, "value": 0.85, "n": 40, "reached": True, "low": None},
        "abstain": {"low": 0.9, "high": 1.1},
        "levels": [0.25, 0.5, 0.75, 0.9],
        "settings": {"calibration": "auto", "abstain": 0.1},
        "layers_tried": {},
        "card": None,
        "verdict": "made by hand",
        "experiment": {"model": "organism@00000000"},
        "seed": 42,
        **entries,
    }


def small_detector(**entries: Any) -> AnomalyDetector:
    """Latent 7 reads dimension 0, latent 2 dimension 1, latent 9 dimension 2, each above a gate of 0.5."""
    return AnomalyDetector(
        W_enc=np.eye(4, 3, dtype=np.float32),
        b_enc=np.zeros(3, dtype=np.float32),
        gate=np.full(3, 0.5, dtype=np.float32),
        document=document(**entries),
    )
