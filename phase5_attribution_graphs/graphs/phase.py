"""Phase 5.4: attribution graphs."""

from common import handoffs
from common.phases.phase import Phase
from common.saes.settings import without_transcoders
from phase5_attribution_graphs.graphs.config import GraphsConfig

PHASE = Phase(
    id="5.4",
    title="attribution graphs of the prompts' answers, each checked by interventions",
    config=GraphsConfig,
    inputs=(handoffs.CIRCUIT_PROMPTS,),
    optional_inputs=lambda config: (handoffs.CIRCUIT_LATENTS,),
    output=handoffs.CIRCUIT_GRAPHS,
    run="phase5_attribution_graphs.graphs.graphs:run",
    report="phase5_attribution_graphs.graphs.report:section",
    n_records="phase5_attribution_graphs.graphs.graphs:count_records",
    left_out=without_transcoders,
)
