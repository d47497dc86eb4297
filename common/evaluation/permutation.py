"""Which |t| chance alone reaches somewhere among all latents: labels are dealt out anew, many times.

The largest |t| over all latents of all layers is taken for each permutation of the labels, the same
permutations for every layer. A latent's family-wise p is the share of permutations whose largest |t|
is at least its own, (1 + #) / (1 + n_permutations): valid however the latents depend on each other.

Welch's t of every latent under every permutation needs two matrix products. With each latent's
activations centred, S = P Z and Q = P Z^2 (P holds the permuted labels, [n_permutations, n]) give both
groups' means and variances, and t^2 = C^2 U / (D - G U) with U = S^2, D linear in Q. That grows with
U / D, so only the largest U / D is kept. The constant part of D goes into Z^2 before the product, since
every row of P has the same sum: three passes over [n_permutations, latents] remain.

The products are in float32, on activations scaled to unit variance. What that costs grows with t^2 / n and
stays below `RELATIVE_ERROR` up to |t| of ten times sqrt(n); a permuted |t| that falls short of the observed one
by no more counts as equal to it.

Source: Westfall & Young 1993, Resampling-Based Multiple Testing; the maximum statistic of Nichols & Holmes 2002.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

RELATIVE_ERROR = 1e-4
_CELLS_AT_ONCE = 2**20  # of [n_permutations, latents]: larger arrays leave the cache, and both passes are slower


def permuted_labels(pass_rate: Float[np.ndarray, " n"], n_permutations: int, seed: int) -> Float[Tensor, "n_perm n"]:
    """The pass rates in random orders, one permutation in each row."""
    rows = np.tile(pass_rate.astype(np.float32), (n_permutations, 1))
    return torch.from_numpy(np.random.default_rng(seed).permuted(rows, axis=1))


class NullMaximum:
    """The largest |t| over all latents seen so far, under each permutation of the labels."""

    def __init__(self, pass_rate: Float[np.ndarray, " n"], n_permutations: int, seed: int):
        self.labels = permuted_labels(pass_rate, n_permutations, seed)
        self.max_abs_t = np.zeros(n_permutations)
        self.n_latents = 0
        n_c, n_i = pass_rate.sum(), (1 - pass_rate).sum()
        free_c, free_i = n_c**2 / (pass_rate**2).sum() - 1, n_i**2 / ((1 - pass_rate) ** 2).sum() - 1
        # The squared error of the difference of means is a Q_correct + b Q_incorrect - g S^2.
        self._a, self._b = 1 / (n_c * free_c), 1 / (n_i * free_i)
        self._g = 1 / (n_c**2 * free_c) + 1 / (n_i**2 * free_i)
        self._c = 1 / n_c + 1 / n_i
        self._n_correct, self._n = n_c, len(pass_rate)

    @property
    def latents_at_once(self) -> int:
        return max(64, _CELLS_AT_ONCE // len(self.labels))

    def add(self, latent_acts: Float[Tensor, "n d_sae"], included: np.ndarray | None = None) -> None:
        """Take the latents of one layer; those that never vary cannot have a t and are passed over.

        `included` [d_sae] says which of them belong to the family; None means all.
        """
        varies = (latent_acts != latent_acts[0]).any(dim=0)
        wanted = varies if included is None else varies & torch.from_numpy(included)
        columns = wanted.nonzero().squeeze(1)
        for chunk in columns.split(self.latents_at_once) if len(columns) else ():
            self._add_chunk(latent_acts.index_select(1, chunk))
        self.n_latents += len(columns)

    def _add_chunk(self, acts: Float[Tensor, "n k"]) -> None:
        centred, squares = self.operands(acts)
        # Only the products are torch's: small operations on several threads wait for each other on a busy machine.
        ratio, denominator = (self.labels @ centred).numpy(), (self.labels @ squares).numpy()
        np.square(ratio, out=ratio)
        ratio /= denominator
        largest = ratio.max(axis=1).astype(np.float64) * self._n_correct / (self._b * self._n)
        left = 1 - self._g * largest
        with np.errstate(divide="ignore"):  # groups that are constant, but differ
            abs_t = self._c * np.sqrt(largest / np.maximum(left, 0))
        np.maximum(self.max_abs_t, abs_t, out=self.max_abs_t)

    def operands(self, acts: Float[Tensor, "n k"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
        """What the permuted labels are multiplied with: activations of unit variance, and k times their squares + 1."""
        z = acts.numpy().astype(np.float64)  # before centring: float32 would lose what is small beside the mean
        z -= z.mean(axis=0)
        z /= np.sqrt(np.einsum("ij,ij->j", z, z) / len(z))
        z = z.astype(np.float32)
        squares = z * z
        squares *= np.float32((self._a - self._b) * self._n_correct / (self._b * self._n))
        squares += 1
        return torch.from_numpy(z), torch.from_numpy(squares)


def family_wise_p(abs_t: np.ndarray, null_maximum: Float[np.ndarray, " n_perm"]) -> np.ndarray:
    """For each |t|, the share of permutations that reach it somewhere: (1 + #{max >= |t|}) / (1 + n_permutations)."""
    ascending = np.sort(null_maximum)
    n_below = np.searchsorted(ascending, abs_t * (1 - RELATIVE_ERROR), side="left")
    return (1 + len(ascending) - n_below) / (1 + len(ascending))
