"""Phase 5.1: prompts of behaviours."""

from common import handoffs
from common.phases.phase import Phase
from phase5_attribution_graphs.prompts.config import CircuitPromptsConfig

PHASE = Phase(
    id="5.1",
    title="prompts of simple behaviours, each with a right and a wrong answer, as token ids",
    config=CircuitPromptsConfig,
    inputs=(),
    output=handoffs.CIRCUIT_PROMPTS,
    run="phase5_attribution_graphs.prompts.prompts:run",
    report="phase5_attribution_graphs.prompts.report:section",
)
