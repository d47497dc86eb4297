"""Phase 3.5: a model that cannot write a direction, against matched latents, on the validation split."""

from common import handoffs
from common.phases.phase import Phase
from phase3_validation.orthogonalisation.config import OrthogonalisationConfig

PHASE = Phase(
    id="3.5",
    title="a model that cannot write a direction, against matched latents, on the validation split",
    config=OrthogonalisationConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERATIONS, handoffs.GENERAL_TEXT, handoffs.LATENTS),
    output=handoffs.ORTHOGONALISATION,
    run="phase3_validation.orthogonalisation.removal:run",
    report="phase3_validation.orthogonalisation.report:section",
    n_records="phase3_validation.orthogonalisation.removal:count_records",
)
