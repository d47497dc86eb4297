"""Phase 6.1b: the gate, between pairs and what carries their answers."""

from common import handoffs
from common.phases.phase import Phase
from phase6_error_circuits.gate.config import ErrorGateConfig

PHASE = Phase(
    id="6.1b",
    title="the gate: which of these errors the model tells apart, and in which format of the prompt",
    config=ErrorGateConfig,
    inputs=(handoffs.ERROR_PAIRS,),
    output=handoffs.ERROR_GATE,
    run="phase6_error_circuits.gate.gate:run",
    report="phase6_error_circuits.gate.report:section",
)
