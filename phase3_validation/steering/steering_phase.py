"""Phase 3.3: steering, against matched latents and random directions, on the validation split."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.steering.config import SteeringConfig

PHASE = Phase(
    id="3.3",
    title="steering, against matched latents and random directions, on the validation split",
    config=SteeringConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERATIONS, handoffs.GENERAL_TEXT, handoffs.LATENTS, handoffs.COEFFICIENTS),
    output=handoffs.STEERING,
    run="phase3_validation.steering.steering:run",
    report="phase3_validation.steering.report:steering_section",
    n_records="phase3_validation.steering.steering:count_records",
    optional_inputs=lambda config: (handoffs.DETECTION,),
)
