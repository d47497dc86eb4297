"""What an orthogonalised direction is compared with: latents whose loss takes as much out of the residual stream.

A direction along which the stream varies much cannot be lost without harm, whatever it means. So controls are latents
with nothing to say whose directions the stream varies along as much, on general text at the layer's output, as along
the direction's own. How often a latent fires does not matter here: nothing is added when it does.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from common.handoffs.selected import SelectedDocument
from common.handoffs.steering import Match
from common.interventions.controls import candidates_of, match
from common.interventions.directions import Direction
from common.saes.encoder import LayerSae


def variance_along(
    rows: Float[np.ndarray, "k d_model"], resid: Float[np.ndarray, "n d_model"]
) -> Float[np.ndarray, " k"]:
    """Variance of the stream along each row, scaled to length 1: what its loss removes."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.einsum("kd,de,ke->k", unit, np.cov(resid, rowvar=False), unit, optimize=True)


def controls_by_variance(
    direction: Direction,
    columns: dict[str, np.ndarray],
    selected: SelectedDocument,
    sae: LayerSae,
    text: Float[Tensor, "n d_model"],
    k: int,
) -> tuple[list[int], Match]:
    """The k candidates nearest in log variance, nearest first, fewer where there are no more; and how alike they are.

    `text` is the residual stream of the layer on general text; ties go to the lower latent.
    Raises: ConfigError when there is no candidate.
    """
    candidates = candidates_of(direction, columns, selected)
    decoder, resid = sae.W_dec.double().numpy(), text.double().numpy()
    own = variance_along(decoder[[direction.latent]], resid)[0]
    variances = variance_along(decoder[candidates], resid)
    tiny = np.finfo(np.float64).tiny
    distance = np.abs(np.log(np.maximum(variances, tiny)) - np.log(max(own, tiny)))
    nearest = np.lexsort((candidates, distance))[:k]
    likeness = match({"variance": float(own)}, {"variance": variances[nearest].tolist()})
    return [candidates[place] for place in nearest], likeness
