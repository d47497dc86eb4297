"""Phase 3.1: whether the selected latents predict that a program fails."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.detection.config import DetectionConfig

PHASE = Phase(
    id="3.1",
    title="whether the selected latents predict that a program fails",
    config=DetectionConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERATIONS, handoffs.GENERAL_TEXT, handoffs.LATENTS),
    output=handoffs.DETECTION,
    run="phase3_validation.detection.prediction:run",
    report="phase3_validation.detection.report:section",
    optional_inputs=lambda config: (handoffs.TEMPERATURE,),
)
