"""Phase 3.8: steering that is known to work, judged as any other."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.positive_control.config import PositiveControlConfig, left_out

PHASE = Phase(
    id="3.8",
    title="a positive control of steering: from one operation to another, against random directions",
    config=PositiveControlConfig,
    inputs=(),
    output=handoffs.POSITIVE_CONTROL,
    run="phase3_validation.positive_control.control:run",
    report="phase3_validation.positive_control.report:section",
    n_records="phase3_validation.positive_control.control:count_records",
    left_out=left_out,
)
