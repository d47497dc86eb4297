"""Phase 6.4b: circuits of heads and neurons."""

from common import handoffs
from common.phases.phase import Phase
from phase6_error_circuits.dense.config import ErrorDenseConfig

PHASE = Phase(
    id="6.4b",
    title="circuits of heads and neurons that carry the answer, without a dictionary, on held-out pairs too",
    config=ErrorDenseConfig,
    inputs=(handoffs.ERROR_PAIRS, handoffs.ERROR_GATE),
    output=handoffs.ERROR_DENSE,
    run="phase6_error_circuits.dense.dense:run",
    report="phase6_error_circuits.dense.report:section",
    n_records="phase6_error_circuits.dense.dense:count_records",
)
