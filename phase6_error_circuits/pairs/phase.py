"""Phase 6.1: pairs of programs that raise different errors, as prompts of equal length."""

from common import handoffs
from common.phases.phase import Phase
from phase6_error_circuits.pairs.config import ErrorPairsConfig

PHASE = Phase(
    id="6.1",
    title="pairs of programs that raise different errors, as prompts of equal length",
    config=ErrorPairsConfig,
    inputs=(),
    output=handoffs.ERROR_PAIRS,
    run="phase6_error_circuits.pairs.pairs:run",
    report="phase6_error_circuits.pairs.report:section",
)
