"""Phase 6.2: activation patching."""

from common import handoffs
from common.phases.phase import Phase
from phase6_error_circuits.patching.config import ErrorPatchingConfig

PHASE = Phase(
    id="6.2",
    title="activation patching: at which layers, positions and heads the answer is carried",
    config=ErrorPatchingConfig,
    inputs=(handoffs.ERROR_PAIRS, handoffs.ERROR_GATE),
    output=handoffs.ERROR_PATCHING,
    run="phase6_error_circuits.patching.patching:run",
    report="phase6_error_circuits.patching.report:section",
    n_records="phase6_error_circuits.patching.patching:count_records",
)
