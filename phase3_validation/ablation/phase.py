"""Phase 3.7: programs and latents without the tests, with other tests, without the description."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.ablation.config import AblationConfig

PHASE = Phase(
    id="3.7",
    title="programs and latents without the tests, with other tests, without the description",
    config=AblationConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERATIONS, handoffs.LATENTS),
    output=handoffs.ABLATION,
    run="phase3_validation.ablation.prompt_ablation:run",
    report="phase3_validation.ablation.report:section",
    n_records="phase3_validation.ablation.prompt_ablation:count_programs",
)
