"""That a detector was evaluated on a validation split, in the log (common/runs/held_out_log.py): detectors among
themselves.
"""

from __future__ import annotations

from typing import Any

from common import handoffs
from common.files import digest_of
from common.phases.context import RunContext
from common.runs import held_out_log
from phase4_anomaly_detection.config import DetectorPhaseConfig
from phase4_anomaly_detection.detector import AnomalyDetector
from phase4_anomaly_detection.population import PROMPTS


def note_use(ctx: RunContext[DetectorPhaseConfig], detector: AnomalyDetector, reuse: bool) -> int:
    """Note that this detector is evaluated on its validation split; returns how many detectors have by now.

    A detector is its latents and weights, and how their sum is read. Raises: ConfigError when another one was
    evaluated on this split before, unless `reuse`.
    """
    entry = _entry(ctx, detector)

    def refusal(other: dict[str, Any]) -> str:
        return (
            f"the validation split was evaluated with another detector on {other['utc']} ({other['words']}); this one "
            f"is {entry['words']}\nChoosing by what validation says makes its figures worthless. Go back to the "
            f"earlier settings; or, if you know why you read it again: {ctx.again} --reuse-validation, or from Python "
            f".run_discovery(..., reuse_validation=True) (the model card will count the readings)"
        )

    return held_out_log.note(
        ctx.data_dir, entry, reuse, lambda one, other: one["selection"] == other["selection"], refusal
    )


def _entry(ctx: RunContext[DetectorPhaseConfig], detector: AnomalyDetector) -> dict[str, Any]:
    known, document = ctx.config.experiment(), detector.document
    weights = {str(latent["latent"]): latent["weight"] for latent in detector.latents}
    decided = {key: document[key] for key in ("threshold", "abstain", "calibration")}
    chosen = {"sae": known["sae"], "layer": detector.layer, "latents": weights, **decided}
    target, n = document["target"], len(detector.latents)
    words = f"{n} latents of layer {detector.layer} of {known['sae']}, {target['kind']}={target['wanted']:g}"
    entry = {"kind": held_out_log.DETECTOR, "phase": ctx.phase.id, "model": known["model"], **_validation(ctx)}
    entry |= {"selection": digest_of(chosen), "steering": None}
    return {**entry, "words": f"{words}, threshold {detector.threshold:.6g}"}


def _validation(ctx: RunContext[DetectorPhaseConfig]) -> dict[str, str]:
    """What was held out. A labelled file is known by its content alone: neither its name nor a seed makes it unseen.

    Prompts and programs are different texts: a detector of the one is no second try at the other.
    """
    if ctx.config.labelled:
        from phase4_anomaly_detection.labelled import labelled_sha256

        return {"dataset": "labelled texts", "split": labelled_sha256(ctx.config.labelled)}
    known = ctx.config.experiment()
    split = ctx.read(handoffs.SPLIT).content_sha256
    read = ctx.config.read_from_phase_1
    dataset = known["dataset"] if read == PROMPTS else f"{known['dataset']}, {read}"
    return {"dataset": dataset, "prompt": known["prompt"], "split": split}
