"""Phase 0: difficulty of the problems."""

from common import handoffs
from common.phases.phase import Phase
from phase0_difficulty.config import DifficultyConfig

PHASE = Phase(
    id="0",
    title="difficulty of the problems",
    config=DifficultyConfig,
    inputs=(),
    output=handoffs.DIFFICULTY,
    run="phase0_difficulty.problems:run",
    report="phase0_difficulty.report:section",
)
