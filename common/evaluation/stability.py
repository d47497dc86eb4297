"""How far a selection of latents depends on which problems happened to be drawn for it.

1. Another draw: of the problems that may be looked at (`sae` and `hyperparams`), as many as before are selected on and
   the rest is read. They are spread evenly over complexity, and near duplicates stay together.
2. On each draw every latent of every layer gets the statistic of each direction, all draws at once as two matrix
   products per label; the strongest latent of all layers is the one that this draw would have chosen.
3. Its AUROC is read on the problems that the draw did not select on.

Two draws share most of their problems, so this flatters the selection: what changes here is certainly no stable find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from common.evaluation.bootstrap import number
from common.evaluation.delong import delong_interval, delong_variance
from common.evaluation.separation import moments_of_sets, welch_t
from common.handoffs.estimates import UNDEFINED, Interval
from common.handoffs.score_verdicts import Redrawn, Stability

_AT_ONCE = 4096  # latents in float64
STATISTIC = {  # direction -> what it is selected by, as in phase 2, and the sign that speaks for it
    "predict_incorrect": ("t", 1),
    "predict_correct": ("t", -1),
    "steer_incorrect": ("separation", -1),
    "steer_correct": ("separation", 1),
}


def redrawn(
    complexity: Float[np.ndarray, " n"], group: Int[np.ndarray, " n"], n_selected: int, seeds: Sequence[Any]
) -> Bool[np.ndarray, "s n"]:
    """Which problems each seed selects on, `n_selected` of them or nearly so; problems with one `group` go together.

    Groups stand in a random order within their mean complexity, and at equal steps one is left to be read: as many in
    every stratum as it is large, without a pattern inside one. `seeds` are any that numpy takes.
    """
    _, place = np.unique(group, return_inverse=True)
    size = np.bincount(place)
    level = np.bincount(place, weights=complexity) / size
    share_read = 1 - n_selected / len(complexity)
    selects = []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        order = np.lexsort((generator.permutation(len(size)), level))
        middle = np.cumsum(size[order]) - size[order] / 2
        begin = generator.random()
        is_read = np.empty(len(size), dtype=bool)
        is_read[order] = np.floor(begin + share_read * (middle + 0.5)) > np.floor(begin + share_read * (middle - 0.5))
        selects.append(~is_read[place])
    return np.array(selects)


@dataclass
class _Best:
    """The strongest latent so far: `strength`, then |t|; `activation` on every problem."""

    strength: float
    abs_t: float
    layer: int
    latent: int
    activation: np.ndarray


class Selections:
    """The latent that each draw chooses for each direction, found layer by layer.

    `incorrect` are the labels of the problems that may be looked at; `draws` are those of `redrawn`.
    """

    def __init__(self, incorrect: Bool[np.ndarray, " n"], draws: Bool[np.ndarray, "s n"]) -> None:
        self._incorrect, self._draws = incorrect, draws
        self._best: dict[tuple[str, int], _Best] = {}

    def add(self, layer: int, latent_acts: Float[np.ndarray, "n d_sae"], kept: Bool[np.ndarray, " d_sae"]) -> None:
        """Take the latents of one layer, of which only `kept` ones may be chosen. Layers come in ascending order."""
        latents = np.flatnonzero(kept)
        for part in np.array_split(latents, max(1, -(-len(latents) // _AT_ONCE))):
            activations = latent_acts[:, part].astype(np.float64)
            t, separation = self._statistics(activations)
            for name, (statistic, sign) in STATISTIC.items():
                strength = sign * (t if statistic == "t" else separation)
                for draw, (own, abs_t) in enumerate(zip(strength, np.abs(t), strict=True)):
                    self._offer(name, draw, own, abs_t, layer, part, activations)

    def stability(self, direction: str, layer: int, latent: int) -> Stability:
        """How often the draws choose this latent for the direction, and what theirs are worth where they did not look.

        Some draw may find no latent with the direction's sign: it counts as another choice.
        """
        positive = self._incorrect if direction.endswith("_incorrect") else ~self._incorrect
        draws = [self._read(draw, self._best.get((direction, draw)), positive) for draw in range(len(self._draws))]
        areas = [each.auroc.value for each in draws if each.auroc.value is not None]
        low, high = np.quantile(areas, [0.025, 0.975]).tolist() if areas else (None, None)
        n_selected = self._draws.sum(axis=1)
        return Stability(
            draws=len(draws),
            same_latent=sum((each.layer, each.latent) == (layer, latent) for each in draws),
            same_layer=sum(each.layer == layer for each in draws),
            auroc=Interval(float(np.mean(areas)) if areas else None, low, high),
            selected_on=int(np.median(n_selected)),
            read_on=int(np.median(len(positive) - n_selected)),
            chosen=draws,
        )

    def _statistics(self, activations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """t and separation of every latent under every draw, [s, k], as separation.py has them; 0 where undefined."""
        fires, squares = (activations > 0).astype(np.float64), activations**2
        groups, fractions = [], []
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw with fewer than two of a label chooses nothing
            for label in (self._incorrect, ~self._incorrect):
                members = (self._draws & label).astype(np.float64)
                groups.append(moments_of_sets(members, activations, squares))
                fractions.append(members @ fires / groups[-1].size)
            t, _ = welch_t(*groups)
        separation = np.where(np.isnan(t), 0, fractions[1] - fractions[0])
        return np.nan_to_num(t, nan=0.0, posinf=np.inf, neginf=-np.inf), separation

    def _offer(
        self,
        name: str,
        draw: int,
        strength: np.ndarray,
        abs_t: np.ndarray,
        layer: int,
        latents: np.ndarray,
        activations: np.ndarray,
    ) -> None:
        """Keep the strongest; of equals that with the larger |t|, then the one that came first."""
        if not len(strength) or not strength.max() > 0:
            return
        equal = np.flatnonzero(strength == strength.max())
        place = equal[abs_t[equal].argmax()]
        own, own_t, best = float(strength[place]), float(abs_t[place]), self._best.get((name, draw))
        if best is None or (own, own_t) > (best.strength, best.abs_t):
            self._best[name, draw] = _Best(own, own_t, layer, int(latents[place]), activations[:, place].copy())

    def _read(self, draw: int, best: _Best | None, positive: np.ndarray) -> Redrawn:
        if best is None:
            return Redrawn(layer=None, latent=None, auroc=UNDEFINED)
        not_drawn = ~self._draws[draw]
        area, _ = delong_variance(best.activation[not_drawn], positive[not_drawn])
        low, high = delong_interval(best.activation[not_drawn], positive[not_drawn])
        return Redrawn(layer=best.layer, latent=best.latent, auroc=Interval(number(area), number(low), number(high)))
