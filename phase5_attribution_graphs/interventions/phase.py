"""Phase 5.5: what graphs name, tried in the model itself."""

from common import handoffs
from common.phases.phase import Phase
from common.saes.settings import without_transcoders
from phase5_attribution_graphs.interventions.config import CircuitInterventionsConfig

PHASE = Phase(
    id="5.5",
    title="latents that graphs name, set, patched and steered, against matched latents",
    config=CircuitInterventionsConfig,
    inputs=(handoffs.CIRCUIT_PROMPTS,),
    output=handoffs.INTERVENTIONS,
    run="phase5_attribution_graphs.interventions.trying:run",
    report="phase5_attribution_graphs.interventions.report:section",
    n_records="phase5_attribution_graphs.interventions.trying:count_records",
    left_out=without_transcoders,
)
