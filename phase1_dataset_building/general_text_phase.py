"""Phase 1.1: general text: activations and norms of the residual stream."""

from common import handoffs
from common.phases.phase import Phase
from phase1_dataset_building.config import GeneralTextConfig

PHASE = Phase(
    id="1.1",
    title="general text: activations and norms of the residual stream",
    config=GeneralTextConfig,
    inputs=(),
    output=handoffs.GENERAL_TEXT,
    run="phase1_dataset_building.general_text:run",
    report="phase1_dataset_building.report:general_text_section",
    n_records="phase1_dataset_building.general_text:count_documents",
    n_kept_vectors=lambda config, n_layers: n_layers,
)
