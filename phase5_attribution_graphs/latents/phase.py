"""Phase 5.3: transcoder latents on prompts of behaviours."""

from common import handoffs
from common.phases.phase import Phase
from common.saes.settings import without_transcoders
from phase5_attribution_graphs.latents.config import CircuitLatentsConfig

PHASE = Phase(
    id="5.3",
    title="transcoder latents on prompts of behaviours, and how well the transcoders stand in for the MLPs there",
    config=CircuitLatentsConfig,
    inputs=(handoffs.CIRCUIT_PROMPTS,),
    output=handoffs.CIRCUIT_LATENTS,
    run="phase5_attribution_graphs.latents.latents:run",
    report="phase5_attribution_graphs.latents.report:section",
    n_records="phase5_attribution_graphs.latents.latents:count_records",
    left_out=without_transcoders,
    n_kept_vectors=lambda config, n_layers: 2 * n_layers,
)
