"""Random sets that a named set of latents is compared with, and what its rank among them is worth.

A null set has, for each latent of the named one, another latent of the same layer and position, drawn from the ten
nearest in activation. Sets that match layer and activation alone are too easy to beat: what stands at the last position
moves the answer most, and there most named latents are.

A rank counts from 1, for the largest; what equals the named set counts against it. p = (1 + #{null >= own}) / (1 + n).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.seeds import record_seed
from phase5_attribution_graphs.replacement.graph import Graph

N_NEAREST = 10


@dataclass(frozen=True)
class NullSets:
    """`unmatched` latents of the named set have no other active one at their layer and position: no set has a partner
    of theirs. `activation_ratio` is the mean activation of all sets, divided by that of the latents they match."""

    sets: list[Int[Tensor, " k"]]
    unmatched: int
    activation_ratio: float

    @property
    def members(self) -> Int[Tensor, " m"]:
        """All latents of all sets, each once."""
        return torch.cat([*self.sets, torch.zeros(0, dtype=torch.long)]).unique()


def null_sets(graph: Graph, named: Int[Tensor, " k"], n_sets: int, seed: int) -> NullSets:
    """Sets of other latents of the graph, by their indices. A latent of the named set is in none."""
    rng, near = random.Random(seed), [_nearest(graph, index, named) for index in named.tolist()]
    sets = [_drawn(near, rng) for _ in range(n_sets)]
    matched = named[[place for place, candidates in enumerate(near) if candidates]]
    drawn = torch.cat([*sets, torch.zeros(0, dtype=torch.long)])
    ratio = float(graph.activation[drawn].mean() / graph.activation[matched].mean()) if len(drawn) else float("nan")
    return NullSets(sets, len(named) - len(matched), ratio)


def partners(
    graph: Graph, named: Int[Tensor, " k"], excluded: Int[Tensor, " m"], n_each: int, seed: int
) -> Int[Tensor, " drawn"]:
    """Other latents, up to `n_each` for each named one, none twice; no named one, and none of `excluded`."""
    rng, without = random.Random(seed), torch.cat([named, excluded])
    return _drawn([_nearest(graph, index, without) for index in named.tolist()] * n_each, rng)


def _nearest(graph: Graph, index: int, excluded: Tensor) -> list[int]:
    """Other latents of its layer and position, the nearest in activation first."""
    here = (graph.layer == graph.layer[index]) & (graph.pos == graph.pos[index])
    here[excluded] = False
    others = here.nonzero()[:, 0]
    distance = (graph.activation[others] - graph.activation[index]).abs()
    return others[distance.argsort(stable=True)].tolist()


def _drawn(near: Sequence[Sequence[int]], rng: random.Random) -> Int[Tensor, " k"]:
    """One of the nearest that are left for each latent that has some."""
    taken: dict[int, None] = {}
    for candidates in near:
        free = [one for one in candidates[: len(taken) + N_NEAREST] if one not in taken][:N_NEAREST]
        if free:
            taken[rng.choice(free)] = None
    return torch.tensor([*taken], dtype=torch.long)


def seed_of(base_seed: int, record: int, purpose: int) -> int:
    """Depends on the prompt alone, not on slices; `purpose` keeps draws of one prompt apart."""
    return record_seed(base_seed, record, 0.0, purpose)


def rank(value: float, null: Float[np.ndarray, " n"]) -> int:
    return 1 + int((null >= value).sum())


def p_of_rank(own_rank: int, n: int) -> float:
    return own_rank / (1 + n)


def p_of_means(values: Float[np.ndarray, " prompt"], null: Float[np.ndarray, "prompt n"]) -> float:
    """Of a behaviour: the mean over prompts beside the means of the first sets, of the second ones, and so on."""
    return p_of_rank(rank(float(values.mean()), null.mean(0)), null.shape[1])


def pooled_p(values: Float[np.ndarray, " k"], null: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
    """Of each of several values beside one null for all of them; 1 where there is none."""
    ascending = np.sort(null)
    return (1 + len(null) - np.searchsorted(ascending, values, side="left")) / (1 + len(null))
