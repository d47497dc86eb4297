"""The selected directions that phase 3 evaluates: the first latent of each, as phase 2 wrote it into selected.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.errors import ArtifactMismatchError, ConfigError

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from common.handoffs.selected import LatentFacts, SelectedDocument, SelectedLatent
    from common.runs.artifacts import Artifact
    from common.saes.encoder import LayerSae

NAMES = ("predict_incorrect", "predict_correct", "steer_incorrect", "steer_correct")


@dataclass(frozen=True)
class Direction:
    """One selected latent. `positive` is the label that more of it stands for: incorrect or correct.

    `statistics` is its entry in selected.json.
    """

    name: str
    layer: int
    latent: int
    sae_id: str
    statistics: SelectedLatent

    @property
    def positive(self) -> str:
        return self.name.rpartition("_")[-1]

    @property
    def facts(self) -> LatentFacts:
        """What reports say of the latent."""
        return self.statistics.facts


def selected_directions(latents: Artifact[SelectedDocument], names: Sequence[str] = NAMES) -> list[Direction]:
    """The first latent of each direction named, in the order of NAMES; one that has no latent is left out.

    Raises: ConfigError for an unknown name; ArtifactMismatchError when none of them has a latent.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ConfigError(f"there is no direction '{unknown[0]}'\nGive some of: {', '.join(NAMES)}")
    selected = latents.document().directions
    directions = []
    for name in NAMES:
        entries = selected[name].latents if name in names else []
        if entries:
            first = entries[0]
            directions.append(Direction(name, first.layer, first.latent, first.sae_id, first))
    if not directions:
        raise ArtifactMismatchError(
            f"no latent was selected for {', '.join(names)}: {latents.path}\n"
            "Run phase 2 with other SAEs, or with more problems, and --fresh"
        )
    return directions


def unit_decoder_row(sae: LayerSae, latent: int) -> Float[Tensor, " d_model"]:
    """What the latent writes, scaled to length 1, float32. Raises: ArtifactMismatchError when it writes nothing."""
    row = sae.W_dec[latent].float()
    length = float(row.norm())
    if not length > 0:
        raise ArtifactMismatchError(
            f"the decoder row of latent {latent} of {sae.id} is zero: it has no direction\nGive other SAEs with --sae"
        )
    return row / length
