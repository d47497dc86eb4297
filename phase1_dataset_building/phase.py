"""Phase 1: solutions, labels and activations."""

from common import handoffs
from common.phases.phase import Phase
from phase1_dataset_building.config import GenerationConfig

PHASE = Phase(
    id="1",
    title="solutions, labels and activations",
    config=GenerationConfig,
    inputs=(handoffs.DIFFICULTY,),
    output=handoffs.GENERATIONS,
    run="phase1_dataset_building.building:run",
    report="phase1_dataset_building.report:programs_section",
    n_records="phase1_dataset_building.counting:count_problems",
    n_kept_vectors=lambda config, n_layers: n_layers * len(config.positions),
)
