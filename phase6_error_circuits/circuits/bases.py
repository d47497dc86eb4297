"""What stands for the nodes outside a circuit: their values in the corrupted program, means over both, or nothing.

Resample: each pair's own corrupted values; only nodes that differ can be in a circuit. Mean and zero: every node that
is active can. Means are those of the pairs that select, at each position, also for pairs of other words. Zero leaves
each layer its decoder's bias alone.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from phase6_error_circuits.circuits.config import MEAN, RESAMPLE, ZERO
from phase6_error_circuits.latents.split_arms import SplitArms, Values


def on_common_columns(*groups: Sequence[SplitArms]) -> list[list[SplitArms]]:
    """The groups with the same columns in all their batches: the latents that fire in any of them."""
    every = [arms for group in groups for arms in group]
    columns = {
        layer: torch.cat([arms.columns[layer] for arms in every]).unique() for layer in every[0].dictionaries.layers
    }
    return [[arms.on_columns(columns) for arms in group] for group in groups]


def bases_of(ablation: str, select: Sequence[SplitArms], batches: Sequence[SplitArms]) -> list[Values]:
    """The values of each of `batches`; all have the columns of `select`, whose means are taken."""
    if ablation == RESAMPLE:
        return [arms.corrupted.values for arms in batches]
    if ablation == MEAN:
        return [_means(select)] * len(batches)
    assert ablation == ZERO, ablation
    return [_zeros(arms) for arms in batches]


def _means(select: Sequence[SplitArms]) -> Values:
    n = 2 * sum(arms.n_pairs for arms in select)

    def mean(part: str) -> Mapping[int, Tensor]:
        sums: dict[int, Tensor] = {}
        for arms in select:
            for arm in (arms.clean, arms.corrupted):
                for layer, values in getattr(arm.values, part).items():
                    sums[layer] = sums.get(layer, 0.0) + values.sum(0, keepdim=True) / n
        return sums

    return Values(mean("whole"), mean("latents"), mean("errors"))


def _zeros(arms: SplitArms) -> Values:
    values = arms.clean.values
    biases = {layer: sae.b_dec for layer, sae in arms.dictionaries.by_layer.items()}
    return Values(
        {layer: biases[layer].to(tensor).expand(1, *tensor.shape[1:]) for layer, tensor in values.whole.items()},
        {layer: torch.zeros_like(tensor[:1]) for layer, tensor in values.latents.items()},
        {layer: torch.zeros_like(tensor[:1]) for layer, tensor in values.errors.items()},
    )
