"""What every node is worth to first order: its difference between two runs times the metric's gradient.

1. g(a) = d metric / d value at value + a (other - value), all positions of one layer's site moved at once.
2. A latent: (its value - its other value) . decoder row . g; the error: (error - other error) . g.
3. Both move on a straight line when the value does. So over all nodes of a layer the mean of g along the line gives
   what the layer as a whole is worth, exactly in the limit: integrated gradients.

The gradient is that of the plain model: no dictionary is spliced in, so none can block it. At the residual stream the
layer as a whole is worth the whole effect; at outputs of attention or MLPs what all of that layer's output is.

Source: Sundararajan et al. 2017, arXiv:1703.01365; of latents and errors: Marks et al. 2024, arXiv:2403.19647.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from phase6_error_circuits.latents.nodes import Importance, mean_of
from phase6_error_circuits.latents.split_arms import SplitArms, Values, take_latents

CLEAN, CORRUPTED, IG = METHODS = ("clean", "corrupted", "ig")
N_POINTS = 10
AGAIN = 2  # times that the line is cut into three times as many parts, where its nodes do not add up
ROWS_TOGETHER = 64  # pairs at points of the line whose gradients are taken together: few leave a device idle
TOLERANCE = 0.02  # of the whole effect: by how much a layer's nodes may miss what the layer is worth


@dataclass(frozen=True, eq=False)
class Integrated:
    """Importances by integrated gradients, and at how many points of the line each layer's gradient was taken."""

    importance: Importance
    n_points: Mapping[int, int]


def midpoints(n: int) -> list[float]:
    """The middles of n equal parts of the line from 0 to 1."""
    return [(number + 0.5) / n for number in range(n)]


def between(n: int) -> list[float]:
    """The midpoints of 3 n parts that are not midpoints of n parts."""
    return [point for number, point in enumerate(midpoints(3 * n)) if number % 3 != 1]


def gradient(
    arms: SplitArms, layer: int, other: Float[Tensor, "#pair pos d_model"], points: Sequence[float]
) -> Float[Tensor, "pair pos d_model"]:
    """Mean over `points` of the metric's gradient on the line from the clean value of a layer to the other one."""
    value = arms.clean.values.whole[layer]
    total = torch.zeros_like(value, dtype=torch.float32)
    n_together = max(1, ROWS_TOGETHER // len(value))
    for first in range(0, len(points), n_together):
        some = [value + point * (other - value) for point in points[first : first + n_together]]
        leaf = torch.cat(some).detach().requires_grad_(True)
        with torch.enable_grad():
            metric = arms.metric_with(layer, leaf).sum()
        total += torch.autograd.grad(metric, leaf)[0].float().unflatten(0, (len(some), len(value))).sum(0)
    return total / len(points)


def latent_parts(
    arms: SplitArms, layer: int, other: Values, grad: Float[Tensor, "pair pos d_model"]
) -> Float[Tensor, "pair pos columns"]:
    """Importance of the latents of each pair, in the columns of `arms`."""
    rows = arms.dictionaries.rows(layer, arms.columns[layer])
    return (arms.clean.values.latents[layer] - other.latents[layer]) * (grad @ rows.T)


def error_parts(
    arms: SplitArms, layer: int, other: Values, grad: Float[Tensor, "pair pos d_model"]
) -> Float[Tensor, "pair pos"]:
    """Importance of the error of each pair."""
    return ((arms.clean.values.errors[layer] - other.errors[layer]) * grad).sum(-1)


def first_order(batches: Sequence[SplitArms], others: Sequence[Values], point: float) -> Importance:
    """Of every node, by the gradient at one point of the line: 0 is the clean run, 1 the other one."""
    layers = batches[0].dictionaries.layers
    return _of_layers(batches, others, {layer: _gradients(batches, others, layer, [point]) for layer in layers})


def integrated(
    batches: Sequence[SplitArms], others: Sequence[Values], n_points: int = N_POINTS, again: int = AGAIN
) -> Integrated:
    """Of every node, by integrated gradients; `n_points` midpoints, more where a layer's nodes do not add up."""
    grads, used = {}, {}
    for layer in batches[0].dictionaries.layers:
        grads[layer], used[layer] = _gradients(batches, others, layer, midpoints(n_points)), n_points
        for _ in range(again):
            if _adds_up(batches, others, layer, grads[layer]):
                break
            more = _gradients(batches, others, layer, between(used[layer]))
            grads[layer] = [(old + 2 * new) / 3 for old, new in zip(grads[layer], more, strict=True)]
            used[layer] *= 3
    return Integrated(_of_layers(batches, others, grads), used)


def along(batches: Sequence[SplitArms], others: Sequence[Values], n_points: Mapping[int, int]) -> Importance:
    """By integrated gradients, at as many points as are said for each layer."""
    grads = {layer: _gradients(batches, others, layer, midpoints(n)) for layer, n in n_points.items()}
    return _of_layers(batches, others, grads)


def _gradients(
    batches: Sequence[SplitArms], others: Sequence[Values], layer: int, points: Sequence[float]
) -> list[Float[Tensor, "pair pos d_model"]]:
    return [gradient(arms, layer, other.whole[layer], points) for arms, other in zip(batches, others, strict=True)]


def _adds_up(batches: Sequence[SplitArms], others: Sequence[Values], layer: int, grads: Sequence[Tensor]) -> bool:
    """Whether the nodes of a layer miss what it is worth by less than the tolerance."""
    nodes, worth, whole = 0.0, 0.0, 0.0
    with torch.no_grad():
        for arms, other, grad in zip(batches, others, grads, strict=True):
            value = arms.clean.values.whole[layer]
            nodes += float(((value - other.whole[layer]).float() * grad).sum())
            changed = arms.metric_with(layer, other.whole[layer].expand_as(value))
            worth += float((arms.clean.metric - changed).sum())
            whole += float(arms.effect.sum())
    return abs(nodes - worth) <= TOLERANCE * max(abs(whole), abs(worth))


def _of_layers(
    batches: Sequence[SplitArms], others: Sequence[Values], grads: Mapping[int, Sequence[Tensor]]
) -> Importance:
    """Of every node, mean over the pairs of all batches; `others` are the values that the nodes are compared with."""
    importances = []
    for number, (arms, other) in enumerate(zip(batches, others, strict=True)):
        latents, errors = {}, {}
        for layer, of_layer in grads.items():
            with torch.no_grad():
                means = latent_parts(arms, layer, other, of_layer[number]).mean(0)
                latents[layer] = means.new_zeros(arms.n_pos, arms.dictionaries.n_latents(layer))
                latents[layer][:, arms.columns[layer]] = means
                errors[layer] = error_parts(arms, layer, other, of_layer[number]).mean(0)
        importances.append((Importance(latents, errors), arms.n_pairs))
    return mean_of(importances)


def corrupted_of(batches: Sequence[SplitArms]) -> list[Values]:
    """The corrupted values of each batch, which nodes are compared with as a rule."""
    return [arms.corrupted.values for arms in batches]


def node_change(
    arms: SplitArms, layer: int, pos: int, latent: int | None, other: Values
) -> Float[Tensor, "pair d_model"]:
    """What is added to the clean value at a position where one node takes its other value."""
    clean = arms.clean.values
    if latent is None:
        return other.errors[layer][:, pos] - clean.errors[layer][:, pos]
    wanted = torch.tensor([latent], device=arms.columns[layer].device)
    new, old = (take_latents(arms.columns[layer], one.latents[layer][:, pos], wanted) for one in (other, clean))
    return (new - old) * arms.dictionaries.rows(layer, wanted)
