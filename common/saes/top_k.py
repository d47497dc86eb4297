"""The largest pre-activations of each row, in training; and what tells them apart once it is over.

TopK (Gao et al. 2024, arXiv:2406.04093) gives every row as many active latents, however little it differs from others.
One threshold for all gives text many, and few to rows that are nearly alike. But a detector of eight latents computes
only those eight, and cannot know whether they are among the k largest: each needs a threshold of its own. So the
finished dictionary is a JumpReLU, which the paper's is not: a latent's threshold is the mean of what it had to exceed
where it was kept, times a factor at which as many are active over the whole mixture as were; not at each token.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

REMEMBERED = 0.98  # of each step's counts, at the next: those of the last fifty count
STEP = 0.05


def largest(pre: Float[Tensor, "row latent"], k: int) -> Float[Tensor, "row 1"]:
    """What the `k` largest of each row exceed, at least 0."""
    smallest = pre.topk(k, dim=1, sorted=False).values.amin(1, keepdim=True)
    return torch.nextafter(smallest, torch.full_like(smallest, -math.inf)).clamp(min=0)


@dataclass
class KeptLatents:
    """`exceeded` adds up, for each latent, what it had to exceed in the rows where it was kept; `n_kept` counts them.
    `factor` moves so that the thresholds let through as many as are kept.
    """

    exceeded: Float[Tensor, " latent"]
    n_kept: Float[Tensor, " latent"]
    factor: float = 1.0

    @classmethod
    def none_of(cls, n_latents: int, device: torch.device | str) -> "KeptLatents":
        return cls(torch.zeros(n_latents, device=device), torch.zeros(n_latents, device=device))

    def note(self, pre: Float[Tensor, "row latent"], gate: Float[Tensor, "row 1"]) -> None:
        """A step, in which those above their row's `gate` were kept."""
        kept = (pre > gate).to(pre)
        self.exceeded.mul_(REMEMBERED).add_(gate[:, 0] @ kept)
        self.n_kept.mul_(REMEMBERED).add_(kept.sum(0))
        n_let_through = torch.count_nonzero(pre > self.thresholds()).item()
        too_many = n_let_through / max(1.0, kept.sum().item()) - 1
        self.factor *= math.exp(STEP * max(-1.0, min(1.0, too_many)))
        self.factor = max(0.1, min(10.0, self.factor))  # where fewer than k are above 0, no threshold lets through less

    def thresholds(self) -> Float[Tensor, " latent"]:
        """Of a latent that was kept nowhere: the mean of the others'."""
        mean = self.exceeded.sum() / self.n_kept.sum().clamp(min=1.0)
        was_kept = self.n_kept > 0.01
        return self.factor * torch.where(was_kept, self.exceeded / self.n_kept.clamp(min=0.01), mean)

    def forget(self, latents: Tensor) -> None:
        """They start again."""
        self.exceeded[latents] = 0.0
        self.n_kept[latents] = 0.0
