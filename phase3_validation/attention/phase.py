"""Phase 3.4: where the last prompt token looks, and how steering moves that."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.attention.config import AttentionConfig

PHASE = Phase(
    id="3.4",
    title="where the last prompt token looks, and how steering moves that",
    config=AttentionConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERAL_TEXT, handoffs.LATENTS, handoffs.COEFFICIENTS),
    output=handoffs.ATTENTION,
    run="phase3_validation.attention.measurement:run",
    report="phase3_validation.attention.report:section",
)
