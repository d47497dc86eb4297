"""How much each head and neuron adds to the effect, by integrated gradients over the embeddings.

1. The embeddings move on the line from the clean prompt's to the corrupted one's; at midpoints of equal steps the
   gradient of the metric for every node is taken.
2. A node's importance is its clean value minus its corrupted one, times the mean of those gradients: positive supports
   the clean answer. Nodes lie behind each other, so importances do not sum to the total; only a full cut would.

Source: Hanna, Pezzelle & Belinkov 2024, arXiv:2403.17806 (EAP-IG on inputs), of nodes.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float

from phase6_error_circuits.arms import Arms
from phase6_error_circuits.dense.config import ABSOLUTE, POSITIVE
from phase6_error_circuits.dense.nodes import Mask, Nodes, summed


@dataclass(frozen=True, eq=False)
class Ranking:
    """`importance` is the mean over pairs; `differs` are nodes that differ between the arms of some pair.

    By absolute importance, what supports the clean answer and what speaks against it come together. Where only what
    supports it comes first, a circuit may keep more than all of the total: six times of it on Qwen2.5-Coder-0.5B.
    """

    importance: Float[np.ndarray, " n_nodes"]
    differs: Mask
    by: str = ABSOLUTE

    @cached_property
    def order(self) -> np.ndarray:
        """Nodes that differ, the first of the ranking first."""
        rank = self.importance if self.by == POSITIVE else np.abs(self.importance)
        order = np.argsort(-rank, kind="stable")
        return order[self.differs[order]]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.order.tobytes()).hexdigest()[:16]

    def top(self, size: int) -> Mask:
        """The first `size` nodes."""
        mask = np.zeros(len(self.differs), dtype=bool)
        mask[self.order[:size]] = True
        return mask


def ranking_of(arms: Arms, nodes: Nodes, n_midpoints: int, pairs_at_once: int) -> Ranking:
    """Over all pairs of the arms."""
    device = arms.clean.ids.device
    importance = [torch.zeros(nodes.n_positions, part.n_units, device=device) for part in nodes.parts]
    differs = [torch.zeros(nodes.n_positions, part.n_units, device=device, dtype=torch.bool) for part in nodes.parts]
    for some in arms.in_parts(pairs_at_once):
        differences, gradients = _differences(some, nodes), _mean_gradients(some, nodes, n_midpoints)
        for number, part in enumerate(nodes.parts):
            difference = differences[number].float()
            importance[number] += summed(part, difference * gradients[number])
            differs[number] |= summed(part, (difference != 0).float()) > 0
    flat = torch.cat([of_part.flatten() for of_part in importance]) / len(arms.pairs)
    return Ranking(flat.cpu().numpy(), torch.cat([of_part.flatten() for of_part in differs]).cpu().numpy())


@torch.no_grad()
def _differences(arms: Arms, nodes: Nodes) -> list[torch.Tensor]:
    (_, clean), (_, corrupted) = (arm.run_keeping(arm.embedded, nodes.sites) for arm in (arms.clean, arms.corrupted))
    return [one - other for one, other in zip(clean, corrupted, strict=True)]


def _mean_gradients(arms: Arms, nodes: Nodes, n_midpoints: int) -> list[torch.Tensor]:
    clean, corrupted = arms.clean.embedded, arms.corrupted.embedded
    total: list[torch.Tensor] = []
    for step in range(n_midpoints):
        embedded = clean + (step + 0.5) / n_midpoints * (corrupted - clean)
        with torch.enable_grad():
            metric, values = arms.clean.run_keeping(embedded.detach().requires_grad_(True), nodes.sites)
        gradients = [gradient.float() / n_midpoints for gradient in torch.autograd.grad(metric.sum(), values)]
        total = [a + b for a, b in zip(total, gradients, strict=True)] if total else gradients
    return total
