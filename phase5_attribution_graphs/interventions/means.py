"""Mean activations of latents over the train prompts of a behaviour: at the last position, and at all others.

A latent that is set to its mean no longer tells one prompt of the behaviour from another, while what they have in
common stays. Positions of different prompts have no other role in common than to be the last, or not. The first one has
no latents.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.model.language_model import LanguageModel
from phase5_attribution_graphs.interventions.circuits import Latents
from phase5_attribution_graphs.replacement.clean_run import clean_run
from phase5_attribution_graphs.replacement.local_model import N_SINKS, local_model
from phase5_attribution_graphs.replacement.transcoders import Transcoder

TRAIN = "train"
LAST, EARLIER = 0, 1


class MeanActivations:
    """Of each behaviour, read when it is first asked for."""

    def __init__(
        self, lm: LanguageModel, transcoders: Sequence[Transcoder | None], prompts: Sequence[Mapping[str, Any]]
    ) -> None:
        self._lm, self._transcoders = lm, transcoders
        self._prompts = [prompt for prompt in prompts if prompt["split"] == TRAIN]
        self._known: dict[str, Float[Tensor, "role layer latent"] | None] = {}

    def of(self, behaviour: str, latents: Latents, n_pos: int) -> Float[Tensor, " n"] | None:
        """The mean of each latent at the role of its position among `n_pos`; None without a train prompt."""
        if behaviour not in self._known:
            self._known[behaviour] = self._read(behaviour)
        means = self._known[behaviour]
        return None if means is None else means[roles(latents, n_pos), latents.layer, latents.latent]

    def _read(self, behaviour: str) -> Float[Tensor, "role layer latent"] | None:
        prompts = [prompt for prompt in self._prompts if prompt["behaviour"] == behaviour]
        if not prompts:
            return None
        width = max(len(one.b_enc) for one in self._transcoders if one is not None)
        sums, n = torch.zeros(2, len(self._transcoders), width), torch.zeros(2)
        for prompt in prompts:
            run = clean_run(self._lm, torch.tensor(prompt["token_ids"]))
            latents = Latents.of(local_model(run, self._transcoders))
            places = (roles(latents, run.n_pos), latents.layer, latents.latent)
            sums.index_put_(places, latents.activation, accumulate=True)
            n += torch.tensor([1, run.n_pos - 1 - N_SINKS])
        return sums / n.clamp(min=1)[:, None, None]


def roles(latents: Latents, n_pos: int) -> Tensor:
    return torch.where(latents.pos == n_pos - 1, LAST, EARLIER)
