"""Phase 0.1: split into selection, tuning and reporting."""

from common import handoffs
from common.phases.phase import Phase
from phase0_1_split.config import SplitConfig

PHASE = Phase(
    id="0.1",
    title="split into selection, tuning and reporting",
    config=SplitConfig,
    inputs=(handoffs.DIFFICULTY,),
    output=handoffs.SPLIT,
    run="phase0_1_split.splitting:run",
    report="phase0_1_split.report:section",
)
