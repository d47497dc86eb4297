"""What is done to a problem: nothing, or a vector added to the residual stream; and which record is which.

Of n conditions record i is problem i // n, condition i % n, counted from the first record of their table; the first
condition is the unsteered program. So all conditions of a problem lie side by side, and share the pass that reads its
prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.handoffs.steering import MATCHED_LATENT, RANDOM_DIRECTION
from common.interventions.directions import Direction, unit_decoder_row
from common.interventions.fitted import FittedDirection
from common.interventions.steered_generation import SteeringVector
from common.model.sites import resid_site
from common.runs.artifacts import Artifact
from common.saes.encoder import LayerSae
from common.seeds import direction_seed

NONE = "none"  # in the column `direction`: unsteered
ITSELF = "none"  # in the column `control`: the direction, and no control of it
CONTROLS = (MATCHED_LATENT, RANDOM_DIRECTION)


@dataclass(frozen=True)
class Condition:
    """One kind of steering, named as the columns of STEERING_FIELDS are."""

    direction: str
    control: str
    control_index: int
    layer: int
    site: str
    coefficient: float

    @property
    def fields(self) -> dict[str, Any]:
        return asdict(self)


UNSTEERED = Condition(direction=NONE, control="unsteered", control_index=-1, layer=-1, site="", coefficient=0.0)


def steered(direction: str, layer: int, site: str, coefficient: float) -> Condition:
    """The direction itself, added at the output (or input, or middle) of one block."""
    return Condition(direction, ITSELF, -1, layer, site, coefficient)


def rows_by_condition(rows: Sequence[dict[str, Any]]) -> dict[Condition, list[dict[str, Any]]]:
    """The rows of each condition, problem by problem; conditions in the order in which they come first."""
    by_condition: dict[Condition, list[dict[str, Any]]] = {}
    for row in rows:
        by_condition.setdefault(Condition(**{name: row[name] for name in Condition.__dataclass_fields__}), []).append(
            row
        )
    return by_condition


def mean_norms(general_text: Artifact) -> dict[tuple[int, str], float]:
    """Mean L2 norm of the residual stream on general text, by layer and site."""
    rows = general_text.table("resid_norms.parquet")
    return {(row["layer"], row["site"]): row["mean_norm"] for row in rows}


def random_direction(seed: int, direction: str, index: int, d_model: int) -> Float[Tensor, " d_model"]:
    """A Gaussian vector scaled to length 1, float32: each direction has its own, whatever else is run."""
    vector = np.random.default_rng(direction_seed(seed, direction, index)).standard_normal(d_model)
    return torch.from_numpy((vector / np.linalg.norm(vector)).astype(np.float32))


def steering_vectors(
    conditions: Sequence[Condition],
    directions: Sequence[Direction],
    load_sae: Callable[[int], LayerSae],
    norms: dict[tuple[int, str], float],
    *,
    seed: int,
    d_model: int,
) -> list[SteeringVector | None]:
    """What each condition adds: coefficient * r * d, [d_model] float32; None adds nothing.

    d has length 1: the decoder row of the direction's latent, or of a control's in the same SAE, or a fitted or random
    direction. r is the mean norm of the residual stream where it is added, so that a coefficient means the same
    at every layer. Of an SAE only these rows are kept.
    """
    by_name = {direction.name: direction for direction in directions}
    fitted = {each.name: each.unit for each in directions if isinstance(each, FittedDirection)}
    wanted = [_latent_of(condition, by_name) for condition in conditions]
    rows = {}
    for layer in sorted({place[0] for place in wanted if place}):
        sae = load_sae(layer)
        latents = {place[1] for place in wanted if place and place[0] == layer}
        rows |= {(layer, latent): unit_decoder_row(sae, latent).clone() for latent in latents}
    made: list[SteeringVector | None] = []
    for condition, place in zip(conditions, wanted, strict=True):
        if condition == UNSTEERED:
            made.append(None)
            continue
        index = condition.control_index
        if place:
            unit = rows[place]
        elif condition.control == ITSELF:
            unit = torch.from_numpy(fitted[condition.direction])
        else:
            unit = random_direction(seed, condition.direction, index, d_model)
        length = condition.coefficient * norms[condition.layer, condition.site]
        made.append(SteeringVector(resid_site(condition.layer, condition.site), length * unit))
    return made


def _latent_of(condition: Condition, directions: dict[str, Direction]) -> tuple[int, int] | None:
    """SAE's layer and latent whose decoder row a condition adds; None where it adds none.

    The SAE is that of the direction's own layer, wherever the row is added.
    """
    if condition.control not in (ITSELF, MATCHED_LATENT):
        return None
    direction = directions[condition.direction]
    if condition.control == ITSELF and isinstance(direction, FittedDirection):
        return None
    return direction.layer, direction.latent if condition.control == ITSELF else condition.control_index
