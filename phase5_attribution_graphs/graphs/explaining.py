"""From a list of tokens to a graph that was checked: all steps of one prompt, for phases and for `run.py trace`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from common.handoffs.graphs import GraphScores, Verification
from common.model.language_model import LanguageModel
from phase5_attribution_graphs.replacement.clean_run import CleanRun, clean_run
from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.influence import scores
from phase5_attribution_graphs.replacement.interventions import Interventions
from phase5_attribution_graphs.replacement.local_model import LocalModel, local_model
from phase5_attribution_graphs.replacement.pruning import Pruned, prune
from phase5_attribution_graphs.replacement.sweep import build_graph
from phase5_attribution_graphs.replacement.targets import Target, contrast, likeliest
from phase5_attribution_graphs.replacement.transcoders import Transcoder
from phase5_attribution_graphs.replacement.verify import verify
from phase5_attribution_graphs.settings import EDGE_SHARE, MAX_LATENTS, MAX_MEMORY_MB, N_EDGES, NODE_SHARE


@dataclass(frozen=True)
class Limits:
    """How large a graph may be, what of it is shown, and how many edges are tried."""

    max_latents: int = MAX_LATENTS
    max_memory_mb: float = MAX_MEMORY_MB
    node_share: float = NODE_SHARE
    edge_share: float = EDGE_SHARE
    n_verified: int = N_EDGES
    seed: int = 0


@dataclass(frozen=True)
class Explained:
    """A graph with all that it was made from. `beside` targets have rows of weight 0 behind the others."""

    run: CleanRun
    model: LocalModel
    targets: list[Target]
    graph: Graph
    pruned: Pruned
    scores: GraphScores
    verification: Verification

    def pruned_for(self, target: int, limits: Limits) -> Pruned:
        """What would be shown if another target were explained."""
        weights = torch.zeros_like(self.graph.weights)
        weights[target] = 1
        return prune(replace(self.graph, weights=weights), limits.node_share, limits.edge_share)


class Explainer:
    """Makes graphs of one model with its transcoders."""

    def __init__(self, lm: LanguageModel, transcoders: Sequence[Transcoder | None], limits: Limits) -> None:
        self.lm, self.transcoders, self.limits = lm, list(transcoders), limits

    def run(self, token_ids: Sequence[int]) -> CleanRun:
        return clean_run(self.lm, torch.tensor(token_ids))

    def contrast(self, token_ids: Sequence[int], pair: tuple[int, int], beside: Sequence[tuple[int, int]]) -> Explained:
        """The graph of the logit of pair[0] minus that of pair[1], with other pairs of weight 0 beside it."""
        run = self.run(token_ids)
        others = [replace(contrast(run, self.lm, *other), weight=0.0) for other in beside]
        return self._explained(run, [contrast(run, self.lm, *pair), *others])

    def logits(self, token_ids: Sequence[int]) -> Explained:
        """The graph of the likeliest next tokens."""
        run = self.run(token_ids)
        return self._explained(run, likeliest(run, self.lm))

    def _explained(self, run: CleanRun, targets: list[Target]) -> Explained:
        limits, model = self.limits, local_model(run, self.transcoders)
        graph = build_graph(model, targets, max_latents=limits.max_latents, max_memory_mb=limits.max_memory_mb)
        runner = Interventions(self.lm, run, self.transcoders)
        return Explained(
            run=run,
            model=model,
            targets=targets,
            graph=graph,
            pruned=prune(graph, limits.node_share, limits.edge_share),
            scores=scores(graph),
            verification=verify(graph, model, targets, runner, n_edges=limits.n_verified, seed=limits.seed),
        )
