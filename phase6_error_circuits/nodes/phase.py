"""Phase 6.5: what nodes are."""

from common import handoffs
from common.phases.phase import Phase
from phase6_error_circuits.nodes.config import ErrorNodesConfig

PHASE = Phase(
    id="6.5",
    title="what the nodes of circuits are: where they fire, on which errors and templates, which tokens they write",
    config=ErrorNodesConfig,
    inputs=(handoffs.ERROR_PAIRS, handoffs.ERROR_GATE, handoffs.ERROR_ATTRIBUTION),
    output=handoffs.ERROR_NODES,
    run="phase6_error_circuits.nodes.nodes:run",
    report="phase6_error_circuits.nodes.report:section",
    n_records="phase6_error_circuits.nodes.nodes:count_records",
    optional_inputs=lambda config: (handoffs.ERROR_LATENT_CIRCUITS,),
)
