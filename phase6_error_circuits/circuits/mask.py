"""A learned mask: how far each node is open, found by descent on what the circuit misses plus a price of being open.

1. Every candidate has a score s and is open by sigmoid(s / t): its value is its corrupted one plus that part of its
   difference. t falls from 1 to COLDEST over the steps, so that in the end a node is open or closed.
2. Loss: mean |m(circuit) - m(clean)| / |mean effect|, plus the weight times the mean of how far nodes are open (the L1
   norm of gates that are never negative, as a share).
3. Several weights give several circuits. A node's place in the ranking is how far it is open in the mean of them.

Source: Cao et al. 2021, arXiv:2104.03514, of masks for subnetworks; Marks et al. 2024, of nodes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from phase6_error_circuits.latents.cutting import LayerCut, kept
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import SplitArms

COLDEST = 0.1
FIRST_SCORE = 1.0  # open by .73: what is closed from the start has no gradient to speak of


@dataclass(frozen=True)
class Learned:
    """`scores` after the last step: above 0 the node is open. `loss` without the price of being open."""

    scores: Mapping[Node, float]
    loss: float

    @property
    def open(self) -> list[Node]:
        return [node for node, score in self.scores.items() if score > 0]


def learn_mask(
    arms: SplitArms, candidates: Sequence[Node], weight: float, n_steps: int, learning_rate: float
) -> Learned:
    """The scores of the candidates for one weight of the open share; other nodes stay closed."""
    scores = torch.full((len(candidates),), FIRST_SCORE, device=arms.device, requires_grad=True)
    optimizer = torch.optim.Adam([scores], lr=learning_rate)
    layout, scale, missed = _Layout(arms, candidates), arms.effect.mean().abs(), 0.0
    for step in range(n_steps):
        temperature = COLDEST ** (step / max(n_steps - 1, 1))
        gates = torch.sigmoid(scores / temperature)
        with torch.enable_grad():
            metric = kept(arms, layout.cut(gates), arms.corrupted.values)
            misses = (metric - arms.clean.metric).abs().mean() / scale
            loss = misses + weight * gates.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        missed = float(misses.detach())
    return Learned(dict(zip(candidates, scores.detach().tolist(), strict=True)), missed)


def open_in_the_mean(masks: Sequence[Learned]) -> dict[Node, float]:
    """How far each candidate is open, mean over the masks, the furthest first."""
    opened = [{node: float(torch.tensor(score).sigmoid()) for node, score in mask.scores.items()} for mask in masks]
    means = {node: sum(one[node] for one in opened) / len(opened) for node in opened[0]}
    return dict(sorted(means.items(), key=lambda entry: -entry[1]))


class _Layout:
    """Where the gates of a list of nodes stand in the cut of each layer."""

    def __init__(self, arms: SplitArms, nodes: Sequence[Node]) -> None:
        self._n_pos, self._parts = arms.n_pos, {}
        for layer in arms.dictionaries.layers:
            of_layer = [(place, node) for place, node in enumerate(nodes) if node.layer == layer]
            latents = [(place, node) for place, node in of_layer if node.latent is not None]
            errors = [(place, node) for place, node in of_layer if node.latent is None]
            known, columns = _long([node.latent or 0 for _, node in latents], arms).unique(return_inverse=True)
            self._parts[layer] = (
                known,
                _long([place for place, _ in latents], arms),
                _long([node.pos for _, node in latents], arms),
                columns,
                _long([place for place, _ in errors], arms),
                _long([node.pos for _, node in errors], arms),
            )

    def cut(self, gates: Tensor) -> dict[int, LayerCut]:
        cuts = {}
        for layer, (known, places, rows, columns, error_places, error_rows) in self._parts.items():
            empty = gates.new_zeros(self._n_pos, len(known))
            open_latents = empty.index_put((rows, columns), gates[places])
            cuts[layer] = LayerCut(known, open_latents, error_rows, gates[error_places])
        return cuts


def _long(values: Sequence[int], arms: SplitArms) -> Tensor:
    return torch.tensor([*values], dtype=torch.long, device=arms.device)
