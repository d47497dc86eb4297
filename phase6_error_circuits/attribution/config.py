"""Settings of phase 6.3."""

from dataclasses import dataclass

from common.phases.settings import RecordsConfig, batches, resamples, setting
from phase6_error_circuits.latents.chosen import PASSING, STUDIED
from phase6_error_circuits.latents.settings import CONTRASTS_HELP, ContrastsConfig


@dataclass(frozen=True, kw_only=True)
class ErrorAttributionConfig(ContrastsConfig, RecordsConfig):
    """Which pairs are looked at, and how closely."""

    contrasts: tuple[str, ...] = setting(
        (PASSING,),
        CONTRASTS_HELP,
        demo=(STUDIED,),
    )
    n_shapes: int = setting(0, "shapes of each contrast, those with most pairs first; 0: all", demo=1, minimum=0)
    n_pairs: int = setting(100, "pairs of each shape that select, held out and null, at most", demo=4, minimum=2)
    n_points: int = setting(
        10, "points of the line from clean to corrupted; more where a layer's nodes do not add up", demo=4, minimum=1
    )
    n_exact: int = setting(100, "largest nodes that are really changed, one by one", demo=12, minimum=0)
    n_top: int = setting(25, "latents of each contrast that are told of", minimum=1)
    batch_size: int = batches("pairs", 32, demo=32)
    n_resamples: int = resamples()
    seed: int = setting(456, "seed of the resamples", minimum=0)
