"""Settings of phase 6.2."""

from dataclasses import dataclass

from common.phases.settings import RecordsConfig, batches, setting
from phase6_error_circuits.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class ErrorPatchingConfig(StudyConfig, RecordsConfig):
    """How many pairs are patched, and how many heads exactly."""

    n_pairs: int = setting(24, "pairs that are patched, all of one template and shape", demo=8, minimum=2)
    n_heads: int = setting(
        20, "heads that are patched in each direction, those with the largest first-order effect", demo=6, minimum=0
    )
    other_shapes: int = setting(
        2, "other shapes and templates of the contrast, patched at named positions alone", demo=1, minimum=0
    )
    batch_size: int = batches("patched prompts", 256, demo=256)
