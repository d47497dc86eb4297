"""How well each latent of one layer tells correct from incorrect problems.

1. Every problem carries a pass rate: the share of its programs that are correct. Greedy programs
   give 1 or 0, and everything below is then the ordinary statistic of two groups. Otherwise each
   problem counts in the correct group with its pass rate and in the incorrect group with the rest;
   a group of weights w has the effective size (sum w)^2 / sum w^2.
2. Latents fire rarely, so all sums run over the activations above zero alone, in float64; the
   zeros enter by their number. Nothing is a difference of two large sums, but in `moments_of_sets`,
   which is quick for many sets of problems.
3. Signs: t and AUROC are those of *incorrect* against correct, so a latent that fires more on
   what fails has t > 0 and AUROC > 1/2. The separation s = f_correct - f_incorrect is the other way round.

A latent that never varies (dead, or the same on every problem) has t = 0, p = 1 and AUROC 1/2. If
each group is constant but they differ, t is infinite and p = 0. df is n - 2 where nothing varies.

Sources: Welch 1947, Biometrika 34; Hanley & McNeil 1982, Radiology 143 (AUROC as a rank statistic).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import stdtr
from torch import Tensor

# Float32 values that differ at all have a relative variance above 1e-19; rounding of a mean leaves 1e-30.
_CONSTANT = 1e-22
_CONSTANT_SUM = 1e-12  # of the mean square, where a variance is a difference of sums


@dataclass(frozen=True)
class Firing:
    """The activations above zero of one layer, by latent, and inside a latent by problem."""

    problem: Int[np.ndarray, " n_firing"]
    latent: Int[np.ndarray, " n_firing"]
    activation: Float[np.ndarray, " n_firing"]
    n_problems: int
    n_latents: int

    def total(self, per_firing: Float[np.ndarray, " n_firing"]) -> Float[np.ndarray, " d_sae"]:
        """The sum over each latent's firing problems."""
        return np.bincount(self.latent, weights=per_firing, minlength=self.n_latents)


@dataclass(frozen=True)
class GroupMoments:
    """Size (effective), mean and unbiased variance of each latent in one group of problems."""

    size: np.ndarray
    mean: np.ndarray
    variance: np.ndarray


def firing_of(latent_acts: Float[Tensor, "n d_sae"]) -> Firing:
    """Where the latents fire, and how strongly."""
    problem, latent = (latent_acts > 0).nonzero(as_tuple=True)
    activation = latent_acts[problem, latent].double().numpy()
    order = np.argsort(latent.numpy(), kind="stable")
    return Firing(problem.numpy()[order], latent.numpy()[order], activation[order], *latent_acts.shape)


def layer_statistics(
    latent_acts: Float[Tensor, "n d_sae"], pass_rate: Float[np.ndarray, " n"]
) -> dict[str, Float[np.ndarray, " d_sae"]]:
    """n_active, f_correct, f_incorrect, separation, t, t_active, df, p and auroc of every latent.

    `pass_rate` lies in [0, 1]; neither group may be empty. t_active compares firing problems only; it is NaN for
    a latent that fires on fewer than two problems of a group.
    """
    firing = firing_of(latent_acts)
    correct, incorrect = pass_rate, 1 - pass_rate
    ones = np.ones_like(firing.activation)
    f_correct = firing.total(correct[firing.problem]) / correct.sum()
    f_incorrect = firing.total(incorrect[firing.problem]) / incorrect.sum()
    t, df = welch_t(_moments(firing, incorrect), _moments(firing, correct))
    t_active, _ = welch_t(_moments_of_firing(firing, incorrect), _moments_of_firing(firing, correct))
    return {
        "n_active": firing.total(ones).astype(np.int64),
        "f_correct": f_correct,
        "f_incorrect": f_incorrect,
        "separation": f_correct - f_incorrect,
        "t": t,
        "t_active": t_active,
        "df": df,
        "p": two_sided_p(t, df),
        "auroc": area_under_roc(firing, incorrect, correct),
    }


def moments_of_sets(
    members: Float[np.ndarray, "s n"], columns: Float[np.ndarray, "n d"], squares: Float[np.ndarray, "n d"]
) -> GroupMoments:
    """Moments [s, d] of every column on each of s sets of rows, zeros included, by two matrix products.

    `members` is 1 for the rows of a set and `squares` is columns ** 2, both in float64.
    """
    size = members.sum(axis=1, keepdims=True)
    mean, total = members @ columns / size, members @ squares
    deviations = total - size * mean**2
    return GroupMoments(size, mean, np.where(deviations <= _CONSTANT_SUM * total, 0.0, deviations) / (size - 1))


def welch_t(a: GroupMoments, b: GroupMoments) -> tuple[np.ndarray, np.ndarray]:
    """t of mean a - mean b, and its Welch-Satterthwaite degrees of freedom; NaN where a group has under two members."""
    error_a, error_b = a.variance / a.size, b.variance / b.size
    squared_error, difference = error_a + error_b, a.mean - b.mean
    difference = np.where(np.abs(difference) <= 1e-12 * np.maximum(np.abs(a.mean), np.abs(b.mean)), 0, difference)
    varies = squared_error > 0
    safe = np.where(varies, squared_error, 1)
    endless = np.where(difference == 0, 0, np.copysign(np.inf, difference))
    t = np.where(varies, difference / np.sqrt(safe), endless)
    spread = np.where(varies, error_a**2 / (a.size - 1) + error_b**2 / (b.size - 1), 1)
    df = np.where(varies, safe**2 / spread, a.size + b.size - 2)
    undefined = np.isnan(squared_error)
    return np.where(undefined, np.nan, t), np.where(undefined, np.nan, df)


def two_sided_p(t: np.ndarray, df: np.ndarray) -> np.ndarray:
    """Probability of |t| or more under Student's distribution."""
    return np.where(t == 0, 1.0, 2 * stdtr(df, -np.abs(t)))


def area_under_roc(
    firing: Firing, positive: Float[np.ndarray, " n"], negative: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " d_sae"]:
    """Chance that a positive problem's activation exceeds a negative one's, ties counted half; 1/2 for a dead latent.

    `positive` and `negative` say how much each problem counts in its group.
    """
    order = np.lexsort((firing.activation, firing.latent))
    latent, activation = firing.latent[order], firing.activation[order]
    gain, loss = positive[firing.problem[order]], negative[firing.problem[order]]
    silent_positive = positive.sum() - firing.total(positive[firing.problem])
    silent_negative = negative.sum() - firing.total(negative[firing.problem])
    new_latent = np.append(True, latent[1:] != latent[:-1])[: len(latent)]
    new_value = new_latent | np.append(True, activation[1:] != activation[:-1])[: len(latent)]
    # Of every firing: the negatives of the same latent with a smaller activation, and half of those with an equal one.
    before = np.append(0.0, np.cumsum(loss))
    tie, start = np.flatnonzero(new_value), np.flatnonzero(new_latent)
    below = before[tie] - before[start][np.cumsum(new_latent)[tie] - 1]
    tied = np.diff(np.append(before[tie], before[-1]))
    tie_of = np.cumsum(new_value) - 1
    beaten = (below + tied / 2)[tie_of] + silent_negative[latent]
    wins = np.bincount(latent, weights=gain * beaten, minlength=firing.n_latents)
    return (wins + silent_positive * silent_negative / 2) / (positive.sum() * negative.sum())


def _moments(firing: Firing, weight: Float[np.ndarray, " n"]) -> GroupMoments:
    """Over all problems, silent ones included."""
    total, weights = weight.sum(), weight[firing.problem]
    size = np.full(firing.n_latents, total**2 / (weight**2).sum())
    mean = firing.total(weights * firing.activation) / total
    silent = np.where(_fires_wherever_it_counts(firing, weight), 0, total - firing.total(weights))
    squares = firing.total(weights * (firing.activation - mean[firing.latent]) ** 2) + silent * mean**2
    return GroupMoments(size, mean, _unbiased(squares / total, mean, size))


def _moments_of_firing(firing: Firing, weight: Float[np.ndarray, " n"]) -> GroupMoments:
    """Over the problems on which each latent fires."""
    weights = weight[firing.problem]
    total, members = firing.total(weights), firing.total((weights > 0).astype(float))
    safe = np.where(members > 0, total, 1)
    size = safe**2 / np.where(members > 0, firing.total(weights**2), 1)
    mean = firing.total(weights * firing.activation) / safe
    squares = firing.total(weights * (firing.activation - mean[firing.latent]) ** 2) / safe
    variance = _unbiased(squares, mean, np.where(members > 1, size, 2))
    return GroupMoments(size, mean, np.where(members > 1, variance, np.nan))


def _fires_wherever_it_counts(firing: Firing, weight: np.ndarray) -> np.ndarray:
    """Whether each latent fires on every problem of the group: no silent weight is left, not even by rounding."""
    counts = firing.total((weight[firing.problem] > 0).astype(float))
    return counts == (weight > 0).sum()


def _unbiased(variance: np.ndarray, mean: np.ndarray, size: np.ndarray) -> np.ndarray:
    constant = variance <= _CONSTANT * mean**2
    return np.where(constant, 0, variance * size / (size - 1))
