"""What a prompt's graph names: the sets of latents that are tried in the model itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.handoffs.graphs import GraphScores
from common.model.language_model import LanguageModel
from phase5_attribution_graphs.replacement.clean_run import CleanRun, clean_run
from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.influence import influence, scores, signed_effect
from phase5_attribution_graphs.replacement.interventions import Change, SetLatents
from phase5_attribution_graphs.replacement.local_model import LocalModel, local_model
from phase5_attribution_graphs.replacement.pruning import prune
from phase5_attribution_graphs.replacement.sweep import build_graph
from phase5_attribution_graphs.replacement.targets import Target, contrast
from phase5_attribution_graphs.replacement.transcoders import Transcoder

TOP_SIGNED, TOP_INFLUENCE, KEPT = "top_signed_effect", "top_influence", "kept"


@dataclass(frozen=True)
class Latents:
    """Latents at places of a prompt, with their activations there."""

    layer: Int[Tensor, " n"]
    pos: Int[Tensor, " n"]
    latent: Int[Tensor, " n"]
    activation: Float[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.layer)

    def __getitem__(self, index: Tensor) -> "Latents":
        return Latents(self.layer[index], self.pos[index], self.latent[index], self.activation[index])

    @classmethod
    def of(cls, graph: Graph | LocalModel) -> "Latents":
        return cls(graph.layer.cpu(), graph.pos.cpu(), graph.latent.cpu(), graph.activation.cpu())

    def set_to(self, value: Tensor | float) -> Change:
        """The change that gives them these values."""
        values = torch.as_tensor(value, dtype=self.activation.dtype).expand(len(self))
        return Change(SetLatents(self.layer, self.pos, self.latent, values))

    def places(self) -> list[tuple[int, int, int]]:
        return list(zip(self.layer.tolist(), self.pos.tolist(), self.latent.tolist(), strict=True))


@dataclass(frozen=True)
class Circuit:
    """The graph of a prompt's contrast, and the sets that it names, as indices of its latents.

    `kept` are those of the pruned graph. `active` are all latents that are active, also those that a cap left without a
    row; `others` those of them that are not kept.
    """

    run: CleanRun
    target: Target
    graph: Graph
    scores: GraphScores
    influence: Float[Tensor, " n"]
    signed_effect: Float[Tensor, " n"]
    top_signed: Int[Tensor, " k"]
    top_influence: Int[Tensor, " k"]
    kept: Int[Tensor, " m"]
    active: Latents

    @property
    def latents(self) -> Latents:
        return Latents.of(self.graph)

    @property
    def named(self) -> dict[str, Int[Tensor, " k"]]:
        return {TOP_SIGNED: self.top_signed, TOP_INFLUENCE: self.top_influence}

    def others(self) -> Latents:
        kept = {*self.latents[self.kept].places()}
        return self.active[torch.tensor([place not in kept for place in self.active.places()])]


def find_circuit(
    lm: LanguageModel,
    transcoders: Sequence[Transcoder | None],
    token_ids: Sequence[int],
    answers: tuple[int, int],
    *,
    set_size: int,
    max_latents: int,
    max_memory_mb: float,
) -> Circuit:
    """The graph of the logit of `answers[0]` minus that of `answers[1]` after a prompt, and what it names."""
    run = clean_run(lm, torch.tensor(token_ids))
    model, target = local_model(run, transcoders), contrast(run, lm, *answers)
    graph = build_graph(model, [target], max_latents=max_latents, max_memory_mb=max_memory_mb)
    n = graph.n_latents
    of_latents, signed = influence(graph)[:n], signed_effect(graph)[:n]
    return Circuit(
        run=run,
        target=target,
        graph=graph,
        scores=scores(graph),
        influence=of_latents,
        signed_effect=signed,
        top_signed=largest(signed, set_size),
        top_influence=largest(of_latents, set_size),
        kept=prune(graph).latents(graph),
        active=Latents.of(model),
    )


def largest(values: Float[Tensor, " n"], k: int) -> Int[Tensor, " k"]:
    """Indices of the largest values, which come first; of equal ones the first."""
    return values.argsort(descending=True, stable=True)[:k]
