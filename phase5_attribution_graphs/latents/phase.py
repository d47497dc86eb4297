"""Phase 5.3: transcoder latents on prompts of behaviours."""

from common import handoffs
from common.phases.phase import Phase
from phase5_attribution_graphs.latents.config import CircuitLatentsConfig, left_out

PHASE = Phase(
    id="5.3",
    title="transcoder latents on prompts of behaviours, and how well the transcoders stand in for the MLPs there",
    config=CircuitLatentsConfig,
    inputs=(handoffs.CIRCUIT_PROMPTS,),
    output=handoffs.CIRCUIT_LATENTS,
    run="phase5_attribution_graphs.latents.latents:run",
    report="phase5_attribution_graphs.latents.report:section",
    n_records="phase5_attribution_graphs.latents.latents:count_records",
    left_out=left_out,
    n_kept_vectors=lambda config, n_layers: 2 * n_layers,
)
