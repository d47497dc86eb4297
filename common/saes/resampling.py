"""Neuron resampling (Bricken et al. 2023): latents that no longer fire start again at what a batch shows to be missing.

A latent that starts at a sample's error writes in its direction, and reads that of the sample, an SAE's that of the
error. Many start at once, and what they write adds up; with their bias at zero they fire on whatever is far from the
mean, and the error grows a hundredfold. So

1. no two start from rows that miss nearly the same: of prompts that end in one token there are a hundred;
2. each fires on as few rows of the batch as a latent does that is used twice as often as the others;
3. each lowers the error of the batch, taken alone.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from common.saes.mixture import Batch

SAME_DIRECTION = 0.7  # cosine
USED_MORE = 2  # times the mean rate at which latents fire


@dataclass(frozen=True)
class Latents:
    """What latents read and write, with unit norm, and their bias."""

    reads: Float[Tensor, "latent d_in"]
    writes: Float[Tensor, "latent d_out"]
    b_enc: Float[Tensor, " latent"]

    def __len__(self) -> int:
        return len(self.b_enc)

    def __getitem__(self, kept: Tensor | slice) -> "Latents":
        return Latents(self.reads[kept], self.writes[kept], self.b_enc[kept])


@torch.no_grad()
def resampled(
    batch: Batch,
    missing: Float[Tensor, "row d_out"],
    *,
    most: int,
    threshold: float,
    rate: float,
    is_autoencoder: bool,
    generator: torch.Generator,
) -> Latents:
    """At most `most` latents for what is `missing`: the rows of a batch minus their reconstruction.

    Rows come up in proportion to their weighted squared error. `threshold` is the one that latents must exceed to fire,
    `rate` the share of rows on which one does, on average.
    """
    chances = (missing.pow(2).sum(1) * batch.weights).cpu()
    n_rows = min(most, int((chances > 0).sum()))
    if n_rows == 0 or not threshold > 0:
        return Latents(batch.inputs[:0], missing[:0], missing.new_zeros(0))
    drawn = torch.multinomial(chances, n_rows, generator=generator).to(missing.device)
    drawn = drawn[_unlike(missing[drawn])]
    writes = functional.normalize(missing[drawn], dim=1)
    reads = writes if is_autoencoder else functional.normalize(batch.inputs[drawn], dim=1)
    pre = batch.inputs @ reads.T
    n_fired = min(max(2, math.ceil(USED_MORE * rate * len(pre))), len(pre) - 1)
    b_enc = threshold - pre.topk(n_fired + 1, dim=0).values[-1]
    acts = functional.threshold(pre + b_enc, threshold, 0.0)
    gained = 2 * acts * (missing @ writes.T) - acts.pow(2)  # |m|^2 - |m - a w|^2
    return Latents(reads, writes, b_enc)[batch.weights @ gained > 0]


def _unlike(missing: Float[Tensor, "row d"]) -> Tensor:
    """Which rows have another direction than every row before, as a mask."""
    directions = functional.normalize(missing, dim=1)
    return torch.triu(directions @ directions.T, diagonal=1).amax(dim=0) < SAME_DIRECTION
