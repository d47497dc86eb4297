"""Settings that several makers of graphs share: phases 5.4 and 5.5, and `run.py trace`."""

from dataclasses import dataclass

from common.phases.settings import setting
from common.saes.settings import TranscoderConfig

MAX_LATENTS = 7500  # that get a row
MAX_MEMORY_MB = 32.0  # beside the edges themselves
NODE_SHARE, EDGE_SHARE = 0.8, 0.98  # of the influence: what a pruned graph keeps, as in circuit-tracer
N_EDGES = 50  # strongest, and as many random ones, that are tried by interventions


@dataclass(frozen=True, kw_only=True)
class GraphSizeConfig(TranscoderConfig):
    """How large a graph may be."""

    max_latents: int = setting(
        MAX_LATENTS, "latents that get a row in a graph; of more, those with the largest influence", minimum=1
    )
    max_memory: float = setting(
        MAX_MEMORY_MB, "memory of a graph beside the edges themselves", unit="MB", minimum=1, changes_results=False
    )


@dataclass(frozen=True, kw_only=True)
class ShownGraphConfig(GraphSizeConfig):
    """What of a graph is shown, and what of it is tried."""

    node_share: float = setting(NODE_SHARE, "share of the influence that the nodes shown hold", minimum=0.01, maximum=1)
    edge_share: float = setting(EDGE_SHARE, "share of it that the edges shown hold", minimum=0.01, maximum=1)
    n_verified: int = setting(
        N_EDGES, "strongest edges, and random ones, that are tried by interventions in each graph", minimum=1
    )
