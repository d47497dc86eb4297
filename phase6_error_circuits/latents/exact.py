"""What nodes are worth when they are really changed: one by one, all errors of a layer, all its latents.

Noising: a node of the clean run takes its corrupted value; its importance is what the metric loses. Denoising: a node
of the corrupted run takes its clean value; its importance is what the metric gains. The two need not agree: a node that
is necessary may not be sufficient.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from phase6_error_circuits.latents.gradients import node_change
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import SplitArms


@torch.no_grad()
def noising(arms: SplitArms, node: Node) -> Float[Tensor, " pair"]:
    """What the metric of the clean run loses."""
    value = arms.clean.values.whole[node.layer].clone()
    value[:, node.pos] += node_change(arms, *node, arms.corrupted.values).to(value.dtype)
    return arms.clean.metric - arms.metric_with(node.layer, value)


def denoising(arms: SplitArms, node: Node) -> Float[Tensor, " pair"]:
    """What the metric of the corrupted run gains."""
    return -noising(arms.swapped(), node)


@torch.no_grad()
def parts_of_layer(arms: SplitArms, layer: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the clean run loses when all errors of a layer, all latents, or the whole value are the corrupted ones."""
    clean, corrupted = arms.clean.values, arms.corrupted.values
    change = (corrupted.errors[layer] - clean.errors[layer]).to(clean.whole[layer].dtype)
    values = (clean.whole[layer] + change, corrupted.whole[layer] - change, corrupted.whole[layer])
    errors, latents, whole = (arms.clean.metric - arms.metric_with(layer, value) for value in values)
    return errors, latents, whole


def mean_over_pairs(parts: Sequence[Tensor]) -> float:
    """The mean over the pairs of all batches."""
    return float(torch.cat([*parts]).mean())
