"""Circuits of edges, run: each node reads a stream in which only its sources are not corrupted. Path patching.

A node of the first layer is computed from the clean program. Any other reads a stream that is the corrupted one, in
which those nodes of the layer before that have an edge to it stand with the values that they have in this run. With an
edge for every pair of nodes that is the circuit of the nodes.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from phase6_error_circuits.circuits.edges import Edge, layer_pairs
from phase6_error_circuits.latents.exact import mean_over_pairs
from phase6_error_circuits.latents.gradients import node_change
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import SplitArms, take_latents

Link = tuple[Node, Node]
Changes = dict[Node, Float[Tensor, "pair d_model"]]


def all_links(arms: SplitArms, circuit: Sequence[Node]) -> list[Link]:
    """Every pair of nodes of neighbouring layers."""
    return [
        (source, target)
        for layer, following in layer_pairs(arms)
        for source in circuit
        if source.layer == layer
        for target in circuit
        if target.layer == following
    ]


def random_links(links: Sequence[Link], candidates: Iterable[Link], generator: random.Random) -> list[Link]:
    """As many links out of each layer, drawn from the candidates."""
    pools: defaultdict[int, list[Link]] = defaultdict(list)
    for link in candidates:
        pools[link[0].layer].append(link)
    wanted = Counter(link[0].layer for link in links)
    return [link for layer, n in sorted(wanted.items()) for link in generator.sample(pools[layer], n)]


@torch.no_grad()
def run_links(arms: SplitArms, circuit: Sequence[Node], links: Iterable[Link]) -> Float[Tensor, " pair"]:
    """The metric of each pair when the circuit's nodes see each other along these links alone."""
    sources: defaultdict[Node, set[Node]] = defaultdict(set)
    for source, target in links:
        sources[target].add(source)
    before: dict[int, int | None] = {layer: None for layer in arms.dictionaries.layers[:1]}
    before |= {following: layer for layer, following in layer_pairs(arms)}
    changes: Changes = {}  # of each node so far, what it adds to the corrupted stream
    for layer, previous in before.items():
        groups: defaultdict[frozenset[Node], list[Node]] = defaultdict(list)
        for node in (node for node in circuit if node.layer == layer):
            groups[frozenset(sources[node]) if previous is not None else frozenset()].append(node)
        for seen, nodes in groups.items():
            if previous is None:
                changes |= _changes_in(arms, layer, arms.clean.values.whole[layer], nodes)
            elif any(bool(changes[node].any()) for node in seen):
                stream = _with(arms, previous, changes, seen)
                for between in range(previous + 1, layer + 1):
                    stream = arms.replay.block(between, stream)
                changes |= _changes_in(arms, layer, stream, nodes)
            else:  # what reads the corrupted stream has its corrupted value
                nothing = torch.zeros_like(arms.corrupted.values.errors[layer][:, 0])
                changes |= dict.fromkeys(nodes, nothing)
    last = arms.dictionaries.layers[-1]
    return arms.metric_with(last, _with(arms, last, changes, [node for node in circuit if node.layer == last]))


def _with(arms: SplitArms, layer: int, changes: Changes, nodes: Iterable[Node]) -> Tensor:
    """The corrupted stream of a layer in which some nodes stand with other values."""
    stream = arms.corrupted.values.whole[layer].clone()
    for node in sorted(nodes, key=lambda node: (node.pos, -1 if node.latent is None else node.latent)):
        stream[:, node.pos] += changes[node].to(stream.dtype)
    return stream


def _changes_in(arms: SplitArms, layer: int, stream: Tensor, nodes: Sequence[Node]) -> Changes:
    """What nodes of a layer, computed from a stream, add to the corrupted one."""
    corrupted, changes = arms.corrupted.values, {}
    for pos in sorted({node.pos for node in nodes}):
        here = [node for node in nodes if node.pos == pos]
        latents = torch.tensor(
            [node.latent for node in here if node.latent is not None], dtype=torch.long, device=arms.device
        )
        now = arms.dictionaries.some_latents(layer, stream[:, pos], latents)
        then = take_latents(arms.columns[layer], corrupted.latents[layer][:, pos], latents)
        rows = arms.dictionaries.rows(layer, latents)
        for number, latent in enumerate(latents.tolist()):
            changes[Node(layer, pos, latent)] = (now - then)[:, number, None] * rows[number]
        if any(node.is_error for node in here):
            _, error = arms.dictionaries.split(layer, stream[:, pos])
            changes[Node(layer, pos, None)] = error - corrupted.errors[layer][:, pos]
    return changes


class PathPatched(NamedTuple):
    """Mean over pairs of what the clean run loses when the target of an edge alone takes the value that it has with the
    source corrupted (noising), and of what the corrupted run gains by the same the other way round.
    """

    noising: float
    denoising: float


def path_patched(batches: Sequence[SplitArms], edge: Edge) -> PathPatched:
    """What a change along an edge does at either end of the line along which its weight is averaged.

    Latents that switch on are off at one end: there the edge does nothing, whatever its weight.
    """
    lost = [_path_patched(arms, edge.source, edge.target) for arms in batches]
    gained = [-_path_patched(arms.swapped(), edge.source, edge.target) for arms in batches]
    return PathPatched(mean_over_pairs(lost), mean_over_pairs(gained))


@torch.no_grad()
def _path_patched(arms: SplitArms, source: Node, target: Node) -> Float[Tensor, " pair"]:
    """What the clean run loses."""
    clean = arms.clean.values
    stream = clean.whole[source.layer].clone()
    stream[:, source.pos] += node_change(arms, *source, arms.corrupted.values).to(stream.dtype)
    for layer in range(source.layer + 1, target.layer + 1):
        stream = arms.replay.block(layer, stream)
    latents, errors = arms.dictionaries.split(target.layer, stream[:, target.pos])
    value = clean.whole[target.layer].clone()
    if target.latent is None:
        change = errors - clean.errors[target.layer][:, target.pos]
    else:
        wanted = torch.tensor([target.latent], device=arms.device)
        old = take_latents(arms.columns[target.layer], clean.latents[target.layer][:, target.pos], wanted)
        change = (latents[:, wanted] - old) * arms.dictionaries.rows(target.layer, wanted)
    value[:, target.pos] += change.to(value.dtype)
    return arms.clean.metric - arms.metric_with(target.layer, value)
