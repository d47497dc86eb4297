"""What phase 4.1 leaves on disk: a detector in a folder of its own, and what it said of every text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.handoffs.schema import ArtifactSchema, Field

if TYPE_CHECKING:
    from common.handoffs.detector import DetectorDocument

DETECTOR: ArtifactSchema[DetectorDocument] = ArtifactSchema(
    name="detector",
    phase="4.1",
    version=2,
    scope=("model", "dataset", "sae"),
    tables={
        "scores.parquet": {
            "score": Field("string", "detector, or the name of a baseline"),
            "task_id": Field("int64", "number of the problem in its dataset; with --labelled the 0-based text"),
            "split": Field("string", "sae | hyperparams | validation"),
            "label": Field("string", "correct | incorrect"),
            "value": Field("float64", "the score: larger speaks for incorrect"),
            "threshold": Field("float64", "value above which a text is flagged"),
            "probability": Field("float64", "calibrated probability of incorrect, 0 to 1; NaN for baselines"),
            "route": Field("string", "proceed | verify | abstain; empty for baselines"),
        }
    },
    documents={"detector/detector.json": "detector:DetectorDocument"},
    feeds={"labelled": ""},  # detectors of somebody's own texts are no part of an experiment on problems
)
