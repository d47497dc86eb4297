"""Muon on the matrices, Adam on everything else, with the work shared between processes.

Source of Muon: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. Each group of matrices
of one shape has one owner among the processes, which alone updates it in the shared master weights.
"""

from collections.abc import Sequence

import torch

MUON_DECAY = 0.02
ADAM_BETAS = (0.9, 0.97)
HEAD_BETAS = (0.9, 0.999)
NORM_LEARNING_RATE_FACTOR = 0.5


class Adam:
    """Adam whose state is a flat dict of tensors; `factors` scale the learning rate of each parameter."""

    def __init__(self, parameters: Sequence[torch.Tensor], betas: tuple[float, float], epsilon: float) -> None:
        self.parameters = parameters
        self.betas = betas
        self.epsilon = epsilon
        self.first = [torch.zeros_like(parameter) for parameter in parameters]
        self.second = [torch.zeros_like(parameter) for parameter in parameters]
        self.n_updates = torch.zeros(1, dtype=torch.int64)

    @torch.no_grad()
    def update(self, gradients: Sequence[torch.Tensor], learning_rates: Sequence[float]) -> None:
        self.n_updates += 1
        beta1, beta2 = self.betas
        corrections = [1 - beta ** int(self.n_updates) for beta in self.betas]
        for parameter, gradient, first, second, learning_rate in zip(
            self.parameters, gradients, self.first, self.second, learning_rates, strict=True
        ):
            first.lerp_(gradient, 1 - beta1)
            second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            step = (first / corrections[0]) / ((second / corrections[1]).sqrt() + self.epsilon)
            parameter.add_(step, alpha=-learning_rate)

    def state(self, prefix: str) -> dict[str, torch.Tensor]:
        named = {f"{prefix}.n_updates": self.n_updates}
        for index, (first, second) in enumerate(zip(self.first, self.second, strict=True)):
            named[f"{prefix}.{index}.first"], named[f"{prefix}.{index}.second"] = first, second
        return named


class SharedOptimizer:
    """One process's part of the update of the shared master weights."""

    def __init__(
        self,
        names: Sequence[str],
        masters: Sequence[torch.Tensor],
        rank: int,
        n_ranks: int,
        muon_learning_rate: float,
        adam_learning_rate: float,
    ) -> None:
        self.masters = masters
        self.muon_learning_rate = muon_learning_rate
        self.adam_learning_rate = adam_learning_rate
        matrices = [index for index, name in enumerate(names) if masters[index].ndim == 2 and "embed" not in name]
        others = [index for index in range(len(names)) if index not in matrices]
        self.groups = _owned_groups(masters, matrices, rank, n_ranks)
        self.momenta = {shape: torch.zeros(len(group), *shape) for shape, group in self.groups.items()}
        self.adam_indices = [index for index in others if index % n_ranks == rank]
        self.adam = Adam([masters[index] for index in self.adam_indices], ADAM_BETAS, 1e-9)

    @torch.no_grad()
    def update(self, gradients: Sequence[torch.Tensor], step: int, schedule: float, clip: float) -> None:
        """Moves the owned masters along the averaged `gradients`; `schedule` and `clip` lie in 0 to 1."""
        momentum = 0.85 + 0.1 * min(step, 100) / 100
        learning_rate = self.muon_learning_rate * schedule
        for shape, group in self.groups.items():
            gradient = torch.stack([gradients[index] for index in group])
            self.momenta[shape].lerp_(gradient, 1 - momentum)
            updates = orthogonalise(gradient.lerp(self.momenta[shape], momentum))
            scale = learning_rate * max(1.0, shape[0] / shape[1]) ** 0.5
            for index, update in zip(group, updates, strict=True):
                self.masters[index].mul_(1 - learning_rate * MUON_DECAY).add_(update, alpha=-scale)
        rate = self.adam_learning_rate * schedule
        self.adam.update(
            [gradients[index] * clip for index in self.adam_indices],
            [rate * (NORM_LEARNING_RATE_FACTOR if master.ndim == 1 else 1.0) for master in self.adam.parameters],
        )

    def state(self) -> dict[str, torch.Tensor]:
        momenta = {f"muon.{rows}x{columns}": value for (rows, columns), value in self.momenta.items()}
        return {**momenta, **self.adam.state("adam")}


def orthogonalise(matrices: torch.Tensor, n_iterations: int = 5) -> torch.Tensor:
    """The matrices [matrix, row, column] with their singular values brought near 1, by Newton-Schulz in bfloat16."""
    is_tall = matrices.size(-2) > matrices.size(-1)
    product = matrices.bfloat16()
    if is_tall:
        product = product.mT
    product = product / (product.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(n_iterations):
        gram = product @ product.mT
        product = 3.4445 * product + (-4.7750 * gram + 2.0315 * (gram @ gram)) @ product
    return (product.mT if is_tall else product).float()


def _owned_groups(
    masters: Sequence[torch.Tensor], matrices: Sequence[int], rank: int, n_ranks: int
) -> dict[tuple[int, int], list[int]]:
    """The groups of equal shape that fall to `rank` when the costliest go first to the least loaded."""
    groups: dict[tuple[int, int], list[int]] = {}
    for index in matrices:
        n_rows, n_columns = masters[index].shape
        groups.setdefault((n_rows, n_columns), []).append(index)
    loads = [0] * n_ranks
    owned = {}
    costs = {shape: len(group) * shape[0] * shape[1] * min(shape) for shape, group in groups.items()}
    for shape in sorted(costs, key=lambda shape: costs[shape], reverse=True):
        owner = loads.index(min(loads))
        loads[owner] += costs[shape]
        if owner == rank:
            owned[shape] = groups[shape]
    return owned
