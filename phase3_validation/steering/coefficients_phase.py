"""Phase 3.2: steering coefficients, chosen on the hyperparams split."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.steering.config import CoefficientsConfig

PHASE = Phase(
    id="3.2",
    title="steering coefficients, chosen on the hyperparams split",
    config=CoefficientsConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERATIONS, handoffs.GENERAL_TEXT, handoffs.LATENTS),
    output=handoffs.COEFFICIENTS,
    run="phase3_validation.steering.coefficients:run",
    report="phase3_validation.steering.dose_report:dose_section",
    n_records="phase3_validation.steering.coefficients:count_records",
)
