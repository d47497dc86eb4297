"""Phase 4.1: a detector of failures, with its evaluation card."""

from common import handoffs
from common.phases.phase import Phase
from phase4_anomaly_detection.config import DetectorPhaseConfig


def _optional_inputs(config: DetectorPhaseConfig) -> tuple[handoffs.ArtifactSchema, ...]:
    """Where no baseline is needed, one that there is still tells whether the SAEs fit, without a model."""
    return () if config.leaves_general_text_out else (handoffs.GENERAL_TEXT,)


def _without(config: DetectorPhaseConfig) -> tuple[handoffs.ArtifactSchema, ...]:
    """Labelled texts need no problems; a limit of 1 needs no baseline."""
    spared = (handoffs.SPLIT, handoffs.GENERATIONS) if config.labelled else ()
    return spared if config.leaves_general_text_out else (*spared, handoffs.GENERAL_TEXT)


PHASE = Phase(
    id="4.1",
    title="a detector of failures, with its evaluation card",
    config=DetectorPhaseConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERATIONS, handoffs.GENERAL_TEXT),
    output=handoffs.DETECTOR,
    run="phase4_anomaly_detection.detector_run:run",
    report="phase4_anomaly_detection.report:section",
    optional_inputs=_optional_inputs,
    without=_without,
)
