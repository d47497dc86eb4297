"""Phase 6.3: attribution to latents and errors."""

from common import handoffs
from common.phases.phase import Phase
from phase6_error_circuits.attribution.config import ErrorAttributionConfig

PHASE = Phase(
    id="6.3",
    title="which latents carry the difference between two errors, and how much of it no latent carries",
    config=ErrorAttributionConfig,
    inputs=(handoffs.ERROR_PAIRS, handoffs.ERROR_GATE),
    output=handoffs.ERROR_ATTRIBUTION,
    run="phase6_error_circuits.attribution.attribution:run",
    report="phase6_error_circuits.attribution.report:section",
    n_records="phase6_error_circuits.attribution.attribution:count_records",
)
