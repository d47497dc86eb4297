"""What phase 6.4b computes, record by record, and what is said of each."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from common.seeds import direction_seed
from phase6_error_circuits.arms import Arms
from phase6_error_circuits.dense.circuits import circuit_metrics, direction_metrics
from phase6_error_circuits.dense.config import ErrorDenseConfig
from phase6_error_circuits.dense.nodes import Mask, Nodes, nodes_of
from phase6_error_circuits.dense.ranking import Ranking, ranking_of

CLEAN, CORRUPTED, NULLS, DIRECTION = "clean", "corrupted", "nulls", "direction"
EVERYTHING, NOTHING, CIRCUIT, COMPLEMENT, RANDOM = KEEPING = (
    "everything",
    "nothing",
    "circuit",
    "complement",
    "random",
)
N_NODES_TOLD = 1000
PAIRS_AT_ONCE = 8  # of gradients, which hold what every block computes


@dataclass(frozen=True)
class Job:
    """One record."""

    what: str
    size: int = -1
    draw: int = -1
    layer: int = -1


def jobs_of(config: ErrorDenseConfig, n_layers: int) -> list[Job]:
    """Those that keep nodes stand together: they are tried in one pass."""
    keeping = [Job(EVERYTHING), Job(NOTHING)]
    for size in config.sizes:
        keeping += [Job(CIRCUIT, size), Job(COMPLEMENT, size)]
        keeping += [Job(RANDOM, size, draw) for draw in range(config.n_random)]
    directions = [Job(DIRECTION, layer=layer) for layer in config.layers_of(n_layers)]
    return [Job(CLEAN), Job(CORRUPTED), Job(NULLS), *keeping, *directions]


class Jobs:
    """Computes jobs. The first `n_select` pairs of the arms select nodes and fit directions.

    `null_arms` makes the arms of the null pairs, None where there are none.
    """

    def __init__(
        self, arms: Arms, n_select: int, null_arms: Callable[[], Arms | None], config: ErrorDenseConfig
    ) -> None:
        self.arms, self.n_select, self._null_arms, self.config = arms, n_select, null_arms, config

    @cached_property
    def nodes(self) -> Nodes:
        return nodes_of(self.arms)

    @cached_property
    def select(self) -> Arms:
        return self.arms.of_pairs(0, self.n_select)

    @cached_property
    def held_out(self) -> Arms:
        return self.arms.of_pairs(self.n_select, len(self.arms.pairs))

    @cached_property
    def ranking(self) -> Ranking:
        """By the pairs that select."""
        ranking = ranking_of(self.select, self.nodes, self.config.midpoints, PAIRS_AT_ONCE)
        return replace(ranking, by=self.config.ranking)

    def rows(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        """A row of metrics.parquet for each job, without its number."""
        keeping = [job for job in jobs if job.what in KEEPING]
        masks = [self._mask(job) for job in keeping]
        metrics = circuit_metrics(self.arms, self.nodes, masks, self.config.batch_size) if masks else []
        kept = {job: (mask, metric) for job, mask, metric in zip(keeping, masks, metrics, strict=True)}
        return [self._kept(job, *kept[job]) if job in kept else self._other(job) for job in jobs]

    def _mask(self, job: Job) -> Mask:
        """Which nodes have their clean values. Those that do not differ are the same either way."""
        top, differs = self.ranking.top(job.size), self.ranking.differs
        if job.what == RANDOM:
            rng = np.random.default_rng(direction_seed(self.config.seed, f"nodes {job.size}", job.draw))
            return self.nodes.alike(top, differs, rng)
        made = {EVERYTHING: np.ones_like(differs), NOTHING: np.zeros_like(differs), CIRCUIT: top, COMPLEMENT: ~top}
        return made[job.what]

    def _kept(self, job: Job, mask: Mask, metric: np.ndarray) -> dict[str, Any]:
        ranking = self.ranking
        n_nodes = int((mask & ranking.differs).sum())
        nodes = json.dumps(self._told()) if job.what == EVERYTHING else ""
        return {**_row(job, metric), "n_nodes": n_nodes, "ranking": ranking.digest, "nodes": nodes}

    def _told(self) -> dict[str, Any]:
        """How many heads are among the nodes that differ, and the first nodes of the ranking."""
        first = []
        for index in self.ranking.order[:N_NODES_TOLD].tolist():
            node = self.nodes.node(index)
            place = node.pos + self.arms.offset
            first.append([node.kind, node.layer, node.unit, place, float(self.ranking.importance[index])])
        return {"n_heads": self.nodes.n_heads(self.ranking.differs), "first": first}

    def _other(self, job: Job) -> dict[str, Any]:
        if job.what == NULLS:
            return {**_row(job, self._nulls()), "ranking": self.ranking.digest}
        if job.what == DIRECTION:
            named = self.arms.named_positions()
            values = direction_metrics(self.select, self.held_out, job.layer, [*named.values()])
            return {**_row(job, values), "positions": [*named]}
        arm = self.arms.clean if job.what == CLEAN else self.arms.corrupted
        return _row(job, arm.metric.cpu().numpy().astype(float))

    def _nulls(self) -> np.ndarray:
        """How many null pairs there are, their largest importance, and how many real nodes exceed it."""
        arms = self._null_arms()
        if arms is None:
            return np.zeros(0)
        null = ranking_of(arms, self.nodes, self.config.midpoints, PAIRS_AT_ONCE)
        largest = np.abs(null.importance).max()
        return np.array([len(arms.pairs), largest, (np.abs(self.ranking.importance) > largest).sum()], dtype=float)


def _row(job: Job, values: np.ndarray) -> dict[str, Any]:
    named = {"what": job.what, "size": job.size, "draw": job.draw, "layer": job.layer}
    return {**named, "positions": [], "n_nodes": 0, "values": values.ravel().tolist(), "ranking": "", "nodes": ""}
