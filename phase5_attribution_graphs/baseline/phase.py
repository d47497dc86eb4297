"""Phase 5.2: how well the model does on the prompts of behaviours."""

from common import handoffs
from common.phases.phase import Phase
from phase5_attribution_graphs.baseline.config import CircuitBaselineConfig

PHASE = Phase(
    id="5.2",
    title="how well the model does on prompts of behaviours: a circuit is only worth tracing where it does",
    config=CircuitBaselineConfig,
    inputs=(handoffs.CIRCUIT_PROMPTS,),
    output=handoffs.CIRCUIT_BASELINE,
    run="phase5_attribution_graphs.baseline.baseline:run",
    report="phase5_attribution_graphs.baseline.report:section",
)
