"""Phase 3.6: the same latents, thresholds and coefficients in another model, or on another dataset."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.transfer.config import TransferConfig

PHASE = Phase(
    id="3.6",
    title="the same latents, thresholds and coefficients in another model of the same shape, or on another dataset",
    config=TransferConfig,
    inputs=(
        handoffs.SPLIT,
        handoffs.GENERAL_TEXT,
        handoffs.LATENTS,
        handoffs.DETECTION,
        handoffs.COEFFICIENTS,
        handoffs.STEERING,
    ),
    output=handoffs.TRANSFER,
    run="phase3_validation.transfer.second_model:run",
    report="phase3_validation.transfer.report:section",
    n_records="phase3_validation.transfer.second_model:count_records",
)
