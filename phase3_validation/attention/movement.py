"""What steering does to attention: before, after and change, with intervals over problems.

Attention is an array [problems, layers, heads, sections]. A problem is one observation, whatever its number of
heads: resamples draw problems, each with all its heads, and pooled figures are the mean over heads within a problem
first. So more heads, or copies of heads, make no interval narrower.

- moves: mean of every head and section, before, after, change; two-sided Wilcoxon signed-rank p of the change over
  problems; Holm over the heads and sections that steering can reach.
- pooled: the mean over the heads of a layer.
- overall: the mean over all heads of all layers that steering can reach.
- displaced: the share of a head's attention that changes its section, sum |change| / 2 over sections, in [0, 1],
  averaged over these heads; compared with random directions of the same length at the same site, by rank.

Sources: Wilcoxon 1945, Biometrics Bulletin 1(6); Holm 1979, Scandinavian Journal of Statistics 6.
"""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

from common.evaluation.bootstrap import CONFIDENCE
from common.evaluation.statistics import holm
from common.handoffs.changes import DisplacedByRandom, HeadMove, LayerMove, Movement, SectionMove
from common.handoffs.estimates import Interval

ALPHA = 0.05
Attention = Float[np.ndarray, "problems layers heads sections"]


def movement(
    before: Attention,
    after: Attention,
    displaced_by_random: Sequence[Float[np.ndarray, " problems"]],
    layers: Sequence[int],
    sections: Sequence[str],
    first_reached: int,
    draws: Float[np.ndarray, "r problems"],
) -> Movement:
    """What one direction does.

    `layers` and `sections` are those of the arrays; steering reaches from `first_reached`.
    """
    n_problems, _, n_heads, _ = before.shape
    reached = [place for place, layer in enumerate(layers) if layer >= first_reached]
    heads = [(layer, head, section) for layer in layers for head in range(n_heads) for section in sections]
    moves = _compared(before.reshape(n_problems, -1), after.reshape(n_problems, -1), draws)
    p, p_holm = _wilcoxon(after - before, reached)
    by_layer = [(layer, section) for layer in layers for section in sections]
    pooled = _compared(before.mean(axis=2).reshape(n_problems, -1), after.mean(axis=2).reshape(n_problems, -1), draws)
    overall, moved, rank = [], None, None
    if reached:
        overall = _compared(before[:, reached].mean(axis=(1, 2)), after[:, reached].mean(axis=(1, 2)), draws)
        own = displaced(before[:, reached], after[:, reached])
        moved = _intervals(own[:, None], draws)[0]
        rank = _rank(float(own.mean()), np.mean(displaced_by_random, axis=1))
    return Movement(
        moves=[
            HeadMove(layer=layer, head=head, section=section, **move, p=p[i], p_holm=p_holm[i])
            for i, ((layer, head, section), move) in enumerate(zip(heads, moves, strict=True))
        ],
        pooled=[
            LayerMove(layer=layer, section=section, **move)
            for (layer, section), move in zip(by_layer, pooled, strict=True)
        ],
        first_layer_reached=first_reached,
        overall=[SectionMove(section=name, **move) for name, move in zip(sections, overall, strict=False)],
        displaced=moved,
        random_directions=rank,
        n_heads=len(reached) * n_heads,
        n_heads_moved=_n_heads_moved(p_holm, len(sections)),
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
    return [{name: found[column] for name, found in intervals.items()} for column in range(before.shape[1])]


def _intervals(values: Float[np.ndarray, "problems k"], draws: Float[np.ndarray, "r problems"]) -> list[Interval]:
    """Mean over problems of every column, with the percentile interval of its resamples."""
    means = values.mean(axis=0)
    resampled = draws @ values / len(values)
    low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    # A constant column's resamples differ from its mean by rounding alone.
    low, high = np.minimum(low, means), np.maximum(high, means)
    return [*map(Interval, means.tolist(), low.tolist(), high.tolist())]


def _wilcoxon(change: Attention, reached: Sequence[int]) -> tuple[list[float | None], list[float | None]]:
    """p and Holm's p of every head and section, flat: 1 where nothing changes, None in layers out of reach."""
    _, n_layers, n_heads, n_sections = change.shape
    p = np.full((n_layers, n_heads, n_sections), np.nan)
    if reached:
        tested = change[:, reached].reshape(len(change), -1)
        found, varies = np.ones(tested.shape[1]), (tested != 0).any(axis=0)
        if varies.any():
            found[varies] = cast(Any, wilcoxon(tested[:, varies], axis=0)).pvalue
        p[reached] = found.reshape(len(reached), n_heads, n_sections)
    adjusted = np.full(p.shape, np.nan)
    known = np.isfinite(p)
    adjusted[known] = holm(p[known].tolist())
    return _plain(p), _plain(adjusted)


def _n_heads_moved(p_holm: list[float | None], n_sections: int) -> int:
    """Heads with a significant change of some section."""
    p = np.array([np.nan if value is None else value for value in p_holm]).reshape(-1, n_sections)
    return int((p <= ALPHA).any(axis=1).sum())


def _rank(own: float, others: Float[np.ndarray, " n_random"]) -> DisplacedByRandom:
    """Where the direction stands among random ones: p = (1 + those that move as much or more) / (1 + n)."""
    as_much = int((others >= own).sum())
    rank_p = (1 + as_much) / (1 + len(others))
    return DisplacedByRandom(n=len(others), displaced=others.tolist(), n_as_much=as_much, rank_p=rank_p)


def _plain(values: np.ndarray) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values.ravel()]
