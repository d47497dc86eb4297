"""Whether transcoders stand in for the MLPs of their layers: on general text, and where the prompts end.

1. On text each transcoder reconstructs one position of each document, as an SAE is checked (saes/site_check.py): what
   leaves more than 0.9 of the variance is refused, and what does better in the place of the MLP beside its own.
2. At the last position of the prompts the whole answer may be in what little differs between prompts of one behaviour.
   An error over text does not see it, so the fit is told within each behaviour. Above 1 the mean would do better.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from common.handoffs.circuit_latents import LastFit, TranscoderFit
from common.handoffs.dictionaries import NeighbourFit, TextFit
from common.saes.encoder import LayerSae
from common.saes.site_check import Neighbour, SiteFit, check_neighbours, check_site, site_fit
from phase5_attribution_graphs.latents.mlps import MlpRows
from phase5_attribution_graphs.latents.shelf import Shelf


@dataclass(frozen=True)
class OnText:
    """How one layer's transcoder does on general text, at its own layer and in the place of those beside it."""

    fit: SiteFit
    neighbours: list[Neighbour]


def check_on_text(
    shelf: Shelf, sample: Sequence[MlpRows], accept_bad_fit: bool, log: logging.Logger
) -> dict[int, OnText]:
    """By layer. `sample` has a row of each document, at every layer of the model.

    Raises: ArtifactMismatchError when a transcoder leaves more than 0.9 of the variance unexplained, unless
    `accept_bad_fit`; and when a neighbouring MLP is fitted better, whatever was accepted.
    """
    if shelf.without:
        shown = ", ".join(map(str, shelf.without))
        log.warning("no transcoder of layers %s in %s: their MLPs are errors as a whole", shown, shelf.source.name)
    fits = {}
    for layer in shelf.layers:
        sae, with_gain = shelf.sae(layer), shelf.transcoder(layer).with_gain
        mlp = sample[layer]
        fit = site_fit(sae, mlp.inputs(with_gain), mlp.out)
        check_site(fit, sae, accept_bad_fit, log)
        beside = [other for other in (layer - 1, layer + 1) if 0 <= other < len(sample)]
        inputs = {other: sample[other].inputs(with_gain) for other in beside}
        targets = {other: sample[other].out for other in (layer, *beside)}
        fits[layer] = OnText(fit, check_neighbours(sae, mlp.inputs(with_gain), inputs, targets))
    return fits


def fit_of(sae: LayerSae, on_text: OnText, last: LastFit, behaviours: dict[str, LastFit]) -> TranscoderFit:
    """One layer, as the document tells it."""
    fit = on_text.fit
    return TranscoderFit(
        id=sae.id,
        reads=sae.site,
        n_latents=sae.n_latents,
        has_skip=sae.W_skip is not None,
        text=TextFit(fvu=fit.decisive, l0=fit.l0, n=fit.n, n_massive=fit.n_massive),
        fvu_with_massive=finite(fit.fvu),
        published_fvu=sae.published_fvu,
        published_l0=sae.published_l0,
        neighbours=[
            NeighbourFit(layer=one.layer, fvu=one.fvu, n_better=one.n_better, n=one.n) for one in on_text.neighbours
        ],
        last=last,
        behaviours=behaviours,
    )


def fits_at_last(
    sae: LayerSae, x: Float[Tensor, "n d_model"], out: Float[Tensor, "n d_model"], behaviours: Sequence[str]
) -> tuple[LastFit, dict[str, LastFit]]:
    """At the last positions of prompts: of all together, and within each behaviour; `behaviours` are those of rows."""
    within = {}
    for name in dict.fromkeys(behaviours):
        rows = torch.tensor([number for number, other in enumerate(behaviours) if other == name])
        within[name] = _at_last(sae, x[rows], out[rows])
    return _at_last(sae, x, out), within


def _at_last(sae: LayerSae, x: Tensor, out: Tensor) -> LastFit:
    fit = site_fit(sae, x, out)
    return LastFit(fvu=finite(fit.fvu), l0=fit.l0, n=fit.n)


def warn_of_lost_behaviours(layer: int, fit: TranscoderFit, log: logging.Logger) -> None:
    """Name those of which the transcoder keeps less than the mean would, where their prompts end."""
    kinds = {name: one for name, one in fit.behaviours.items() if one.is_worse_than_the_mean}
    kinds |= {"all behaviours together": fit.last} if fit.last.is_worse_than_the_mean else {}
    for name, one in kinds.items():
        words = "layer %d: FVU %.3g at the last position of %s, worse than the mean of its %d prompts (above 1)"
        log.warning(words, layer, one.fvu, name, one.n)


def finite(value: float) -> float | None:
    """None where nothing differs, and a share of that is no number."""
    return value if math.isfinite(value) else None
