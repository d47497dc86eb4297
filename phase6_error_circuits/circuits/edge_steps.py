"""The step on edges: their weights, circuits of them beside random ones, and the largest beside path patching."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from common.handoffs.document import as_json
from common.handoffs.error_latent_circuits import EdgeCircuits, EdgePoint, PathPatching
from common.handoffs.estimates import Interval
from phase6_error_circuits.circuits.config import LAYERS
from phase6_error_circuits.circuits.edge_circuits import (
    Link,
    PathPatched,
    all_links,
    path_patched,
    random_links,
    run_links,
)
from phase6_error_circuits.circuits.edges import Edge, edges_of, layer_pairs
from phase6_error_circuits.circuits.ranking import first_of_layers
from phase6_error_circuits.circuits.scoring import Scorer, of_random, sizes_of
from phase6_error_circuits.circuits.subject import Subject
from phase6_error_circuits.latents.gradients import midpoints
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.shares import rank_correlation


def edges_step(subject: Subject) -> dict[str, Any]:
    """Edges among the first nodes of each layer; nothing where no two layers of the residual stream are neighbours."""
    config = subject.config
    batches = subject.batches(subject.shape.select[: config.edge_pairs])
    depth = [subject.lm.n_layers, subject.dictionaries.layers[-1]]
    if not config.edge_nodes or not layer_pairs(batches[0]):
        return {"edges": None, "links": [], "depth": depth}
    circuit = first_of_layers(subject.order(LAYERS), config.edge_nodes)
    edges = edges_of(batches, circuit, midpoints(config.edge_points))
    exact = [path_patched(batches, edge) for edge in edges[: config.n_exact]]
    held_out = subject.batches(subject.shape.held_out[: config.edge_pairs])
    told = edge_circuits(subject.scorer_of(held_out), circuit, edges, subject)
    told = EdgeCircuits(**told, path_patching=beside_exact(edges, exact))
    return {"edges": as_json(told), "links": rows_of(edges, exact), "depth": depth}


def edge_circuits(scorer: Scorer, circuit: Sequence[Node], edges: Sequence[Edge], subject: Subject) -> dict[str, Any]:
    """Circuits of the largest edges, and of random ones, on the scorer's pairs."""
    config, every = subject.config, all_links(scorer.batches[0], circuit)
    links = [(edge.source, edge.target) for edge in edges]

    def share(chosen: Sequence[Link]) -> Interval:
        return scorer.share(torch.cat([run_links(arms, circuit, chosen) for arms in scorer.batches]))

    points = []
    for size in sizes_of(config.edge_sizes, len(links)):
        beside = None
        if size < len(links):
            generator = random.Random(f"{config.seed} {size}")
            drawn = [share(random_links(links[:size], links, generator)).value for _ in range(config.n_random)]
            beside = of_random(drawn)
        points.append(EdgePoint(size=size, faithfulness=share(links[:size]), random=beside))
    return {
        "n": sum(arms.n_pairs for arms in scorer.batches),
        "n_nodes": len(circuit),
        "n_edges": len(edges),
        "n_pairs": len(every),
        "node_circuit": scorer.faithfulness(circuit),
        "all_pairs": share(every),
        "points": points,
        "absolute": absolute_parts(edges),
    }


def absolute_parts(edges: Sequence[Edge]) -> dict[str, float]:
    """Sums of absolute weights and of their parts; those that the model does not tell are left out."""
    parts = {name: [getattr(edge, name) for edge in edges] for name in ("weight", "skip", "attention", "mlp")}
    return {name: float(sum(map(abs, values))) for name, values in parts.items() if None not in values}


def beside_exact(edges: Sequence[Edge], exact: Sequence[PathPatched]) -> PathPatching:
    """How the largest edges agree with what a change along each of them does."""
    weights = [edge.weight for edge in edges[: len(exact)]]
    means = [(noising + denoising) / 2 for noising, denoising in exact]
    same = [np.sign(weight) == np.sign(value) for weight, value in zip(weights, means, strict=True)]
    return PathPatching(
        n=len(exact),
        sign=float(np.mean(same)) if same else None,
        rank_correlation=rank_correlation(weights, means),
        noising=rank_correlation(weights, [noising for noising, _ in exact]),
        denoising=rank_correlation(weights, [denoising for _, denoising in exact]),
    )


def rows_of(edges: Sequence[Edge], exact: Sequence[PathPatched]) -> list[list[Any]]:
    """Of each edge: source, target, weight, its parts, and what path patching did where it was tried."""
    return [
        [[*edge.source], [*edge.target], edge.weight, edge.skip, edge.attention, edge.mlp, *known]
        for edge, known in zip(edges, [*exact, *[(None, None)] * (len(edges) - len(exact))], strict=True)
    ]
