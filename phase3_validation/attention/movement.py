"""What steering does to attention: before, after and change, with intervals over problems.

Attention is an array [problems, layers, heads, sections]. A problem is one observation, whatever its number of
heads: resamples draw problems, each with all its heads, and pooled figures are the mean over heads within a problem
first. So more heads, or copies of heads, make no interval narrower.

- moves: mean of every head and section, before, after, change; and the rank of its mean change, up or down, among those
  of random directions of the same length. That a change is not zero says nothing: any steering moves every head.
- pooled: the mean over the heads of a layer.
- overall: the mean over all heads of all layers that steering can reach, ranked likewise.
- displaced: the share of a head's attention that changes its section, sum |change| / 2 over sections, in [0, 1],
  averaged over these heads; compared with random directions of the same length at the same site, by rank.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from common.evaluation.bootstrap import CONFIDENCE
from common.handoffs.changes import DisplacedByRandom, HeadMove, LayerMove, Movement, SectionMove
from common.handoffs.estimates import Interval

Attention = Float[np.ndarray, "problems layers heads sections"]


def movement(
    before: Attention,
    after: Attention,
    displaced_by_random: Sequence[Float[np.ndarray, " problems"]],
    changes_by_random: Float[np.ndarray, "n_random layers heads sections"],
    layers: Sequence[int],
    sections: Sequence[str],
    first_reached: int,
    draws: Float[np.ndarray, "r problems"],
) -> Movement:
    """What one direction does; `changes_by_random` are the mean changes under random directions.

    `layers` and `sections` are those of the arrays; steering reaches from `first_reached`.
    """
    n_problems, _, n_heads, _ = before.shape
    reached = [place for place, layer in enumerate(layers) if layer >= first_reached]
    heads = [(layer, head, section) for layer in layers for head in range(n_heads) for section in sections]
    moves = _compared(before.reshape(n_problems, -1), after.reshape(n_problems, -1), draws)
    ranks = _ranks((after - before).mean(axis=0), changes_by_random)
    compared = [
        HeadMove(layer=layer, head=head, section=section, **move, rank=int(rank) if layer >= first_reached else None)
        for (layer, head, section), move, rank in zip(heads, moves, ranks.ravel(), strict=True)
    ]
    by_layer = [(layer, section) for layer in layers for section in sections]
    pooled = _compared(before.mean(axis=2).reshape(n_problems, -1), after.mean(axis=2).reshape(n_problems, -1), draws)
    overall, moved, rank = [], None, None
    if reached:
        plain, moved_there = (x[:, reached].mean(axis=(1, 2)) for x in (before, after))
        ranks = _ranks((moved_there - plain).mean(axis=0), changes_by_random[:, reached].mean(axis=(1, 2)))
        overall = [
            SectionMove(section=name, **move, rank=int(one))
            for name, move, one in zip(sections, _compared(plain, moved_there, draws), ranks, strict=True)
        ]
        displacement = displaced(before[:, reached], after[:, reached])
        moved = _intervals(displacement[:, None], draws)[0]
        rank = _rank(float(displacement.mean()), np.mean(displaced_by_random, axis=1))
    return Movement(
        moves=compared,
        pooled=[
            LayerMove(layer=layer, section=section, **move)
            for (layer, section), move in zip(by_layer, pooled, strict=True)
        ],
        first_layer_reached=first_reached,
        overall=overall,
        displaced=moved,
        random_directions=rank,
        n_heads=len(reached) * n_heads,
        n_heads_moved=len({(move.layer, move.head) for move in compared if move.found}),
        n_compared=len(reached) * n_heads * len(sections),
        n_found=sum(move.found for move in compared),
    )


def displaced(before: Attention, after: Attention) -> Float[np.ndarray, " problems"]:
    """Share of the attention that is in another section after than before, mean over layers and heads."""
    return (np.abs(after - before).sum(axis=-1) / 2).mean(axis=(1, 2))


def _compared(
    before: Float[np.ndarray, "problems k"], after: Float[np.ndarray, "problems k"], draws: np.ndarray
) -> list[dict[str, Interval]]:
    """Mean before, after and change of every column."""
    parts = {"before": before, "after": after, "change": after - before}
    intervals = {name: _intervals(values, draws) for name, values in parts.items()}
    return [{name: by_column[column] for name, by_column in intervals.items()} for column in range(before.shape[1])]


def _intervals(values: Float[np.ndarray, "problems k"], draws: Float[np.ndarray, "r problems"]) -> list[Interval]:
    """Mean over problems of every column, with the percentile interval of its resamples."""
    means = values.mean(axis=0)
    resampled = draws @ values / len(values)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    # A constant column's resamples differ from its mean by rounding alone.
    low, high = np.minimum(low, means), np.maximum(high, means)
    return [*map(Interval, means.tolist(), low.tolist(), high.tolist())]


def _ranks(
    change: Float[np.ndarray, "*place"], by_random: Float[np.ndarray, "n_random *place"]
) -> Int[np.ndarray, "*place"]:
    """Where each mean change stands among those of random directions, all without signs; ties count against it."""
    return 1 + (np.abs(by_random) >= np.abs(change)).sum(axis=0)


def _rank(own: float, others: Float[np.ndarray, " n_random"]) -> DisplacedByRandom:
    """Where the direction stands among random ones: p = (1 + those that move as much or more) / (1 + n)."""
    as_much = int((others >= own).sum())
    rank_p = (1 + as_much) / (1 + len(others))
    return DisplacedByRandom(n=len(others), displaced=others.tolist(), n_as_much=as_much, rank_p=rank_p)
