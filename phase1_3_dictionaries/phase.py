"""Phase 1.3: dictionaries of one's own."""

from common import handoffs
from common.phases.phase import Phase
from phase1_3_dictionaries.config import DictionariesConfig


def _without(config: DictionariesConfig) -> tuple[handoffs.ArtifactSchema, ...]:
    return () if config.reads_problems else (handoffs.SPLIT,)


PHASE = Phase(
    id="1.3",
    title="dictionaries of one's own: SAEs or transcoders of any model",
    config=DictionariesConfig,
    inputs=(handoffs.SPLIT,),
    output=handoffs.DICTIONARIES,
    run="phase1_3_dictionaries.dictionaries:run",
    report="phase1_3_dictionaries.report:section",
    without=_without,
)
