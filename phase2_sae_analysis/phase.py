"""Phase 2: latents that separate correct from incorrect."""

from common import handoffs
from common.phases.phase import Phase
from phase2_sae_analysis.config import LatentConfig


def _optional_inputs(config: LatentConfig) -> tuple[handoffs.ArtifactSchema, ...]:
    """Samples describe the validation split; the latents are selected by what the model writes greedily."""
    return (handoffs.TEMPERATURE,) if config.split == "validation" else ()


PHASE = Phase(
    id="2",
    title="latents that separate correct from incorrect",
    config=LatentConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERATIONS, handoffs.GENERAL_TEXT),
    output=handoffs.LATENTS,
    run="phase2_sae_analysis.analysis:run",
    report="phase2_sae_analysis.report:section",
    optional_inputs=_optional_inputs,
)
