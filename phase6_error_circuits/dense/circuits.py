"""The metric when only some heads and neurons have the clean run's values, and when directions are put back.

The embeddings are the clean prompt's. In each pass the corrupted run goes along as the first rows of the batch: what is
outside of a circuit takes its value there, place by place (resample ablation). With every node kept that is the clean
run; with none it is the corrupted run, since the prompts end in the same token.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.model.hooks import ChangeFn, change_sites
from phase6_error_circuits.arms import Arms
from phase6_error_circuits.dense.nodes import Mask, Nodes


@torch.no_grad()
def circuit_metrics(
    arms: Arms, nodes: Nodes, kept: Sequence[Mask], rows_together: int
) -> Float[np.ndarray, "circuits pairs"]:
    """Of every pair, for each set of kept nodes; `rows_together` prompts at most, one pair at least."""
    masks = [nodes.of_values(mask, arms.clean.ids.device) for mask in kept]
    metrics = []
    for some in arms.in_parts(max(1, rows_together // (1 + len(kept)))):
        changes: dict[str, ChangeFn] = {
            part.site: _keeping([mask[number] for mask in masks], len(some.pairs))
            for number, part in enumerate(nodes.parts)
        }
        embedded = torch.cat([some.corrupted.embedded, *[some.clean.embedded] * len(kept)])
        with change_sites(arms.replay.model, changes):
            metric = some.clean.metric_from(0, embedded)
        metrics.append(metric.reshape(1 + len(kept), -1)[1:])
    return torch.cat(metrics, 1).cpu().numpy().astype(float)


def _keeping(masks: list[Tensor], n_pairs: int) -> ChangeFn:
    def keep(values: Tensor) -> Tensor:
        corrupted, *circuits = values.split(n_pairs)
        kept = [torch.where(mask, circuit, corrupted) for mask, circuit in zip(masks, circuits, strict=True)]
        return torch.cat([corrupted, *kept])

    return keep


@torch.no_grad()
def direction_metrics(
    select: Arms, held_out: Arms, layer: int, places: Sequence[int]
) -> Float[np.ndarray, "places 2 held_out"]:
    """The metric of the held-out pairs' corrupted runs with their difference put back at a position of the stream.

    First along the mean difference of the pairs that select alone, then the whole of it.
    """
    base, rows = held_out.corrupted.streams[layer], []
    for place in places:
        direction = _difference(select, layer, place).mean(0)
        difference = _difference(held_out, layer, place)
        along = (difference @ direction)[:, None] * direction / direction.square().sum().clamp(min=1e-30)
        replay, first = held_out.corrupted.known.replay_from(place)  # what stands before it is as it was
        for change in (along, difference):
            changed = base[:, first:].clone()
            changed[:, place - first] = (changed[:, place - first].float() + change).to(changed)
            rows.append(held_out.corrupted.metric_from(layer + 1, changed, replay))
    return torch.stack(rows).unflatten(0, (len(places), 2)).cpu().numpy().astype(float)


def _difference(arms: Arms, layer: int, place: int) -> Float[Tensor, "pairs d_model"]:
    return (arms.clean.streams[layer][:, place] - arms.corrupted.streams[layer][:, place]).float()
