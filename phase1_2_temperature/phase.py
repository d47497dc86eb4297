"""Phase 1.2: programs sampled at several temperatures, for the validation split."""

from common import handoffs
from common.phases.phase import Phase
from phase1_2_temperature.config import TemperatureConfig

PHASE = Phase(
    id="1.2",
    title="programs sampled at several temperatures, for the validation split",
    config=TemperatureConfig,
    inputs=(handoffs.SPLIT,),
    output=handoffs.TEMPERATURE,
    run="phase1_2_temperature.sampling:run",
    report="phase1_2_temperature.report:section",
    n_records="phase1_2_temperature.sampling:count_samples",
)
