"""Edges between nodes of neighbouring layers of the residual stream: what one node adds to the metric through another.

1. weight(u, d) = mean over points of the line from clean to corrupted of (d's gradient) . (d's derivative in the stream
   of u) . (u's difference). At points along the line latents that switch on keep their edges: a JumpReLU that is off in
   the clean run has no derivative there.
2. d is a latent or an error; the error's own derivative is kept. So at one point the edges out of u add up to u's
   importance there: what d's gradient takes from the stream is taken once.
3. All that leads from one layer to the next is the stream itself (skip), attention, and the MLP. The skip part is the
   cotangent of d as it is; the attention part is what is left with the MLPs' outputs held; the MLP part the rest. Every
   path to a later layer goes through the next one, so no gradient has to be stopped at nodes between.

Source: Marks et al. 2024, arXiv:2403.19647, of edges; measured beside path patching (edge_circuits.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from common.model.hooks import change_sites, parts_of_blocks
from common.model.sites import MLP_OUT, RESID_POST, site_name
from phase6_error_circuits.latents.gradients import node_change
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import SplitArms


@dataclass(frozen=True)
class Edge:
    """`attention` and `mlp` are None where a block of the model does not tell them apart."""

    source: Node
    target: Node
    weight: float
    skip: float
    attention: float | None
    mlp: float | None


def layer_pairs(arms: SplitArms) -> list[tuple[int, int]]:
    """Neighbouring layers that have dictionaries; none where these do not read the residual stream."""
    layers = arms.dictionaries.layers
    return [*zip(layers[:-1], layers[1:], strict=True)] if arms.dictionaries.kind == RESID_POST else []


def edges_of(batches: Sequence[SplitArms], circuit: Sequence[Node], points: Sequence[float]) -> list[Edge]:
    """The edges between nodes of the circuit that have a weight, mean over all pairs, the largest first."""
    edges = []
    for layer, following in layer_pairs(batches[0]):
        sources = [node for node in circuit if node.layer == layer]
        targets = [node for node in circuit if node.layer == following]
        if sources and targets:
            edges += _between(batches, sources, targets, points)
    return sorted(edges, key=lambda edge: -abs(edge.weight))


def _between(
    batches: Sequence[SplitArms], sources: Sequence[Node], targets: Sequence[Node], points: Sequence[float]
) -> list[Edge]:
    n = sum(arms.n_pairs for arms in batches)
    sums = torch.zeros(3, len(targets), len(sources))
    for arms in batches:
        weighing = _Weighing(arms, sources, targets[0].layer)
        for point in points:
            sums += weighing.parts(targets, point) / (n * len(points))
    whole, skip, without_mlp = sums.tolist()
    told = _tells_parts(batches[0])
    return [
        Edge(
            source=source,
            target=target,
            weight=weight,
            skip=skip[row][column],
            attention=without_mlp[row][column] - skip[row][column] if told else None,
            mlp=weight - without_mlp[row][column] if told else None,
        )
        for row, target in enumerate(targets)
        for column, source in enumerate(sources)
        if (weight := whole[row][column])
    ]


def _tells_parts(arms: SplitArms) -> bool:
    return all(parts.attn is not None and parts.mlp is not None for parts in parts_of_blocks(arms.replay.model))


class _Weighing:
    """Edges out of some nodes of one layer, in one batch."""

    def __init__(self, arms: SplitArms, sources: Sequence[Node], following: int) -> None:
        self.arms, self.layer, self.following = arms, sources[0].layer, following
        self._positions = torch.tensor([node.pos for node in sources], device=arms.device)
        # What the stream loses when a source takes its corrupted value: [pair, source, d_model].
        self._changes = -torch.stack([node_change(arms, *node, arms.corrupted.values) for node in sources], 1)

    def parts(self, targets: Sequence[Node], point: float) -> Float[Tensor, "3 target source"]:
        """Sums over pairs of the whole weight, its skip part, and the part without MLPs, at a point of the line."""
        clean, corrupted = (arm.values.whole[self.layer] for arm in (self.arms.clean, self.arms.corrupted))
        stream = (clean + point * (corrupted - clean)).detach().requires_grad_(True)
        with torch.enable_grad():
            following = self._run(stream)
            held = self._run(stream, hold_mlps=True) if _tells_parts(self.arms) else following
        cotangent = Cotangents(self.arms, self.following, following.detach())
        rows = []
        for target in targets:
            direction = cotangent.of(target).to(following.dtype)
            grads = [torch.autograd.grad(end, stream, direction, retain_graph=True)[0] for end in (following, held)]
            rows.append(torch.stack([self._weights(grad) for grad in (grads[0], direction, grads[1])]))
        return torch.stack(rows, 1).cpu()

    def _run(self, stream: Tensor, hold_mlps: bool = False) -> Tensor:
        """The stream of the next layer; with the outputs of the MLPs between held as they are."""
        between = range(self.layer + 1, self.following + 1)
        holds = {site_name(layer, MLP_OUT): torch.Tensor.detach for layer in between} if hold_mlps else {}
        with ExitStack() as held:
            held.enter_context(change_sites(self.arms.replay.model, holds))
            for layer in between:
                stream = self.arms.replay.block(layer, stream)
        return stream

    def _weights(self, grad: Float[Tensor, "pair pos d_model"]) -> Float[Tensor, " source"]:
        return torch.einsum("bsd,bsd->s", grad[:, self._positions].float(), self._changes)


class Cotangents:
    """What nodes of a layer hand back to the stream of that layer: gradient of the metric, through each node alone."""

    def __init__(self, arms: SplitArms, layer: int, stream: Float[Tensor, "pair pos d_model"]) -> None:
        leaf = stream.requires_grad_(True)
        with torch.enable_grad():
            metric = arms.metric_with(layer, leaf).sum()
        self._grad = torch.autograd.grad(metric, leaf)[0].float()
        sae = arms.dictionaries.by_layer[layer]
        self._W_enc, W_dec = sae.W_enc, sae.W_dec
        with torch.no_grad():
            gates = sae.encode(leaf) != 0
            self._by_latent = gates * (self._grad @ W_dec.T)

    def of(self, node: Node) -> Float[Tensor, "pair pos d_model"]:
        """Zero but at the node's position. A latent's: its gradient along its encoder; an error's: all the rest."""
        direction = torch.zeros_like(self._grad)
        by_latent = self._by_latent[:, node.pos]
        if node.latent is None:
            direction[:, node.pos] = self._grad[:, node.pos] - by_latent @ self._W_enc.T
        else:
            direction[:, node.pos] = by_latent[:, node.latent, None] * self._W_enc[:, node.latent]
        return direction
