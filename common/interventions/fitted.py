"""What a reader would try first: directions that are fitted to the whole residual stream, beside the selected latents.

- mean_difference: mean of the correct problems' streams minus that of the incorrect ones'.
- probe: the weights of a logistic regression on the standardised stream, in the stream's own units, towards correct.

Both are of the last prompt token at the layer of a selected latent, on the `sae` split, which selected it; length 1.
Their controls are those of that latent: a fitted vector has no firing rate to match.

Sources: Marks & Tegmark 2023, arXiv:2310.06824 (difference of means); Li et al. 2023, arXiv:2306.03341 (adding either).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from common.errors import ConfigError
from common.evaluation.label_counts import MIN_TO_EVALUATE
from common.evaluation.probes import penalty_search
from common.handoffs.steering import FITTED, MEAN_DIFFERENCE, PROBE
from common.interventions.directions import Direction, selected_directions

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from common.handoffs.selected import SelectedDocument
    from common.handoffs.steering import CoefficientsDocument
    from common.runs.artifacts import Artifact

VECTORS = "vectors.parquet"  # of phase 3.2


@dataclass(frozen=True, eq=False)
class FittedDirection(Direction):
    """A direction fitted at the layer of a selected latent: layer, latent and statistics are that latent's.

    `unit` is its vector of length 1, [d_model] float32; None before it is fitted.
    """

    unit: Float[np.ndarray, " d_model"] | None = None

    @property
    def positive(self) -> str:
        return "correct"


def steered_directions(latents: Artifact[SelectedDocument], names: Sequence[str]) -> list[Direction]:
    """The selected and the fitted directions that are named; fitted ones have no vector yet.

    Fitted ones stand at the layer of steer_correct, which they should do the same as; of steer_incorrect without it.
    Raises: as `selected_directions`.
    """
    directions = (
        selected_directions(latents, [name for name in names if name not in FITTED]) if {*names} - {*FITTED} else []
    )
    fitted = [name for name in FITTED if name in names]
    if fitted:
        beside = selected_directions(latents, ("steer_correct", "steer_incorrect"))[-1]
        place = (beside.layer, beside.latent, beside.sae_id, beside.statistics)
        directions += [FittedDirection(name, *place) for name in fitted]
    return directions


def with_vectors(directions: Sequence[Direction], coefficients: Artifact[CoefficientsDocument]) -> list[Direction]:
    """The same, fitted ones with the vectors that phase 3.2 stored."""
    if not any(isinstance(direction, FittedDirection) for direction in directions):
        return list(directions)
    columns = coefficients.columns(VECTORS)
    vectors = {name: columns["value"][columns["direction"] == name].astype(np.float32) for name in FITTED}
    return filled(directions, vectors)


def filled(directions: Sequence[Direction], vectors: dict[str, Float[np.ndarray, " d_model"]]) -> list[Direction]:
    return [replace(d, unit=vectors[d.name]) if isinstance(d, FittedDirection) else d for d in directions]


def fit(
    resid: Float[np.ndarray, "n d_model"], incorrect: Bool[np.ndarray, " n"], seed: int
) -> dict[str, Float[np.ndarray, " d_model"]]:
    """Both vectors, of length 1, float32: more of them should make programs correct.

    Raises: ConfigError with fewer than 5 problems of a label.
    """
    rare = min(int(incorrect.sum()), int((~incorrect).sum()))
    if rare < MIN_TO_EVALUATE:
        raise ConfigError(
            f"{', '.join(FITTED)}: of {len(incorrect)} problems of the split 'sae' {rare} have the rarer label, and to "
            f"fit a direction takes {MIN_TO_EVALUATE}\nLeave these out of --directions"
        )
    resid = resid.astype(np.float64)
    difference = resid[~incorrect].mean(axis=0) - resid[incorrect].mean(axis=0)
    scaler, regression = penalty_search(resid, incorrect, seed).best_estimator_
    weights = -regression.coef_[0] / scaler.scale_
    vectors = {MEAN_DIFFERENCE: difference, PROBE: weights}
    return {name: (vector / np.linalg.norm(vector)).astype(np.float32) for name, vector in vectors.items()}
