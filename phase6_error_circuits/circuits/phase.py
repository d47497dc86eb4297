"""Phase 6.4: circuits of latents."""

from common import handoffs
from common.phases.phase import Phase
from phase6_error_circuits.circuits.config import ErrorCircuitsConfig

PHASE = Phase(
    id="6.4",
    title="circuits of latents and errors: how faithful they are, on other words and templates, node by node and edge "
    "by edge",
    config=ErrorCircuitsConfig,
    inputs=(handoffs.ERROR_PAIRS, handoffs.ERROR_GATE, handoffs.ERROR_ATTRIBUTION),
    output=handoffs.ERROR_LATENT_CIRCUITS,
    run="phase6_error_circuits.circuits.circuits:run",
    report="phase6_error_circuits.circuits.report:section",
    n_records="phase6_error_circuits.circuits.circuits:count_records",
)
