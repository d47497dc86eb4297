"""Selective steering: steer a problem only where its stored activation says that it is needed.

The predictor is the one of the opposite label: what is to make programs correct is given to problems that
predict_incorrect takes for failing, and the other way round. Its latent is read at the last prompt token of the pass
that starts generation, so the decision is made before the first token, and steering begins with that very pass.
As a problem is either steered as in the full run or not at all, no program is generated anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from common.handoffs.detection import LATENT
from common.handoffs.steering import RAISE, Selective
from common.interventions.outcomes import effect, paired
from common.runs.artifacts import Artifact
from common.tables import TableRow

Flags = tuple[set[int], float]  # problems above the threshold, and the threshold


def predictor_of(wanted: str) -> str:
    return "predict_incorrect" if wanted == RAISE else "predict_correct"


def flagged_problems(detection: Artifact, predictor: str) -> Flags | None:
    """Validation problems on which phase 3.1 has the predictor's latent above its threshold.

    None where the direction was not evaluated there, or has no threshold.
    """
    rows = [
        row
        for row in detection.table("predictions.parquet")
        if row["direction"] == predictor and row["score"] == LATENT and row["split"] == "validation"
    ]
    thresholds = {row["threshold"] for row in rows if row["threshold"] is not None}
    thresholds = {threshold for threshold in thresholds if threshold == threshold}  # without NaN
    if len(thresholds) != 1:
        return None
    threshold = thresholds.pop()
    return {row["task_id"] for row in rows if row["value"] > threshold}, threshold


def selective(before: Sequence[TableRow], after: Sequence[TableRow], flags: Flags, predictor: str) -> Selective:
    """The effect when only flagged problems are steered; the others keep their unsteered program."""
    flagged, threshold = flags
    by_task = {row["task_id"]: row for row in after}
    mixed = [by_task[row["task_id"]] if row["task_id"] in flagged else row for row in before]
    n_steered = sum(row["task_id"] in flagged for row in before)
    return Selective(by=predictor, threshold=threshold, n_steered=n_steered, effect=effect(paired(before, mixed)))
