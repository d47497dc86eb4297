"""Settings of phase 6.5."""

from dataclasses import dataclass

from common.phases.settings import RecordsConfig, batches, resamples, setting
from phase6_error_circuits.latents.settings import ContrastsConfig


@dataclass(frozen=True, kw_only=True)
class ErrorNodesConfig(ContrastsConfig, RecordsConfig):
    """Which nodes are told of, and on how many programs."""

    n_nodes: int = setting(40, "strongest nodes of each contrast's circuit that are told of", demo=24, minimum=1)
    n_shapes: int = setting(
        0, "shapes of each template that are read, those with most pairs first; 0: all", demo=1, minimum=0
    )
    n_pairs: int = setting(50, "pairs of each shape that are read in either split, at most", demo=4, minimum=1)
    n_points: int = setting(
        10,
        "points of the line from clean to corrupted at which effects are taken; more where phase 6.3 took more",
        demo=3,
        minimum=1,
    )
    n_snippets: int = setting(
        5, "programs of each split that are kept for a latent, those in which it fires most", demo=3, minimum=1
    )
    n_examples: int = setting(2, "pairs of each split whose two programs are kept for every latent", demo=1, minimum=1)
    batch_size: int = batches("pairs", 32, demo=32)
    n_resamples: int = resamples(demo=1000)
    seed: int = setting(456, "seed of the resamples", minimum=0)
