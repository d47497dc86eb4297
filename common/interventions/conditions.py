"""What is done to a problem: nothing, or a vector added to the residual stream; and which record is which.

Record i is problem i // n, variant i % n, of n variants; the first variant is the unsteered program. So all
variants of a problem lie side by side, and share the pass that reads its prompt.
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
from common.interventions.steered_generation import Push
from common.model.sites import resid_site
from common.runs.artifacts import Artifact
from common.saes.encoder import LayerSae
from common.seeds import direction_seed

NONE = "none"
CONTROLS = (MATCHED_LATENT, RANDOM_DIRECTION)


@dataclass(frozen=True)
class Variant:
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


UNSTEERED = Variant(direction=NONE, control="unsteered", control_index=-1, layer=-1, site="", coefficient=0.0)


def steered(direction: str, layer: int, site: str, coefficient: float) -> Variant:
    """The direction itself, added at the output (or input, or middle) of one block."""
    return Variant(direction, NONE, -1, layer, site, coefficient)


def rows_by_variant(rows: Sequence[dict[str, Any]]) -> dict[Variant, list[dict[str, Any]]]:
    """The rows of each variant, problem by problem; variants in the order in which they come first."""
    found: dict[Variant, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(Variant(**{name: row[name] for name in Variant.__dataclass_fields__}), []).append(row)
    return found


def mean_norms(general_text: Artifact) -> dict[tuple[int, str], float]:
    """Mean L2 norm of the residual stream on general text, by layer and site."""
    rows = general_text.table("resid_norms.parquet")
    return {(row["layer"], row["site"]): row["mean_norm"] for row in rows}


def random_direction(seed: int, direction: str, index: int, d_model: int) -> Float[Tensor, " d_model"]:
    """A Gaussian vector scaled to length 1, float32: each direction has its own, whatever else is run."""
    vector = np.random.default_rng(direction_seed(seed, direction, index)).standard_normal(d_model)
    return torch.from_numpy((vector / np.linalg.norm(vector)).astype(np.float32))


def pushes(
    variants: Sequence[Variant],
    directions: Sequence[Direction],
    load_sae: Callable[[int], LayerSae],
    norms: dict[tuple[int, str], float],
    *,
    seed: int,
    d_model: int,
) -> list[Push | None]:
    """What each variant adds: coefficient * r * d, [d_model] float32; None adds nothing.

    d has length 1: the decoder row of the direction's latent, or of a control's in the same SAE, or a fitted or random
    direction. r is the mean norm of the residual stream where it is added, so that a coefficient means the same
    at every layer. Of an SAE only these rows are kept.
    """
    by_name = {direction.name: direction for direction in directions}
    fitted = {each.name: each.unit for each in directions if isinstance(each, FittedDirection)}
    wanted = [_latent_of(variant, by_name) for variant in variants]
    rows = {}
    for layer in sorted({place[0] for place in wanted if place}):
        sae = load_sae(layer)
        latents = {place[1] for place in wanted if place and place[0] == layer}
        rows |= {(layer, latent): unit_decoder_row(sae, latent).clone() for latent in latents}
    made: list[Push | None] = []
    for variant, place in zip(variants, wanted, strict=True):
        if variant == UNSTEERED:
            made.append(None)
            continue
        index = variant.control_index
        if place:
            unit = rows[place]
        elif variant.control == NONE:
            unit = torch.from_numpy(fitted[variant.direction])
        else:
            unit = random_direction(seed, variant.direction, index, d_model)
        length = variant.coefficient * norms[variant.layer, variant.site]
        made.append(Push(resid_site(variant.layer, variant.site), length * unit))
    return made


def _latent_of(variant: Variant, directions: dict[str, Direction]) -> tuple[int, int] | None:
    """SAE's layer and latent whose decoder row a variant adds; None where it adds none.

    The SAE is that of the direction's own layer, wherever the row is added.
    """
    if variant.control not in (NONE, MATCHED_LATENT):
        return None
    direction = directions[variant.direction]
    if variant.control == NONE and isinstance(direction, FittedDirection):
        return None
    return direction.layer, direction.latent if variant.control == NONE else variant.control_index
