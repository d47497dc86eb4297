"""What a dictionary does on what it was not trained on: fit, dead latents, firing rates, cross-entropy, neighbours.

- FVU and L0 on held-out text, of all parts together and of each; at held-out last prompt tokens the share of |x|^2
  that is missed, and the FVU between prompts (common/saes/site_check.py). Massive activations are left out of the FVU.
- Firing rates over the held-out text and as much of the text trained on; a latent that never fires there is dead.
- Cross-entropy recovered: (zero - spliced) / (zero - clean). What does not count in training is left alone.
- Neighbours: an SAE of the residual stream, fed the layers beside its own.
"""

import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from common.handoffs.dictionaries import DictionaryCard, FiringRates, LastTokenFit, NeighbourFit, TextFit
from common.model.language_model import LanguageModel
from common.model.sites import site_name
from common.saes.encoder import LayerSae
from common.saes.mixture import Ordinary
from common.saes.rates import firing_rates
from common.saes.site_check import neighbours, prompt_fit, site_fit
from phase1_3_dictionaries.corpus import Parts, Piece, Text, prompts_of, texts_of
from phase1_3_dictionaries.cross_entropy import Splicing
from phase1_3_dictionaries.reading import Reader, Sites

EDGES = np.linspace(-5, 0, 26)  # log10 of the firing rate
PIECES_OF_CROSS_ENTROPY = 40


class HeldOut:
    """Activations that no dictionary was trained on, read once for all layers."""

    def __init__(
        self,
        lm: LanguageModel,
        sites: Sites,
        layers: Sequence[int],
        parts: Parts,
        log: logging.Logger,
    ) -> None:
        self._sites = sites
        texts, prompts = texts_of(parts), prompts_of(parts)
        beside = {layer + step for layer in layers for step in (-1, 0, 1)} if sites.is_resid_post else {*layers}
        reader = Reader(lm, sites.names(sorted(beside & {*range(lm.n_layers)})), log)
        read = {name: reader.every_token(part.held_out, part.stream.n_skipped) for name, part in texts.items()}
        self.text = {name: _on_the_processor(rows) for name, rows in read.items()}
        read = {name: reader.last_tokens(part.held_out) for name, part in prompts.items()}
        self.prompts = {name: _on_the_processor(rows) for name, rows in read.items()}
        trained = Reader(lm, sites.names(layers), log)
        self.trained = {
            name: _on_the_processor(trained.every_token(_as_much(part), part.stream.n_skipped))
            for name, part in texts.items()
        }
        pieces = [piece for part in texts.values() for piece in _spaced(part.held_out, PIECES_OF_CROSS_ENTROPY)]
        self.n_skipped = max(part.stream.n_skipped for part in texts.values())
        self.splicing = Splicing(lm, sites, pieces, self.n_skipped)

    def samples(self, layer: int) -> tuple[Tensor, Tensor]:
        """Inputs and targets of all held-out text, on the processor."""
        parts = [self._sites.samples(rows, layer) for rows in self.text.values()]
        inputs = torch.cat([part.inputs for part in parts])
        return inputs, inputs if self._sites.is_autoencoder else torch.cat([part.targets for part in parts])

    def beside(self, layer: int) -> dict[int, Tensor]:
        """The same tokens at the layers beside, of the residual stream."""
        if not self._sites.is_resid_post:
            return {}
        names = {other: site_name(other, self._sites.reads) for other in (layer - 1, layer + 1)}
        held = next(iter(self.text.values()))
        return {
            other: torch.cat([rows[name] for rows in self.text.values()])
            for other, name in names.items()
            if name in held
        }


def card_of(sae: LayerSae, held_out: HeldOut, sites: Sites, ordinary: Ordinary, n_resampled: int) -> DictionaryCard:
    """The card of one layer's dictionary."""
    inputs, targets = held_out.samples(sae.layer)
    beside = held_out.beside(sae.layer)
    read = torch.cat([inputs, *(sites.samples(rows, sae.layer).inputs for rows in held_out.trained.values())])
    by_part = {}
    for name, rows in held_out.text.items():
        samples = sites.samples(rows, sae.layer)
        by_part[name] = text_fit(sae, samples.inputs, samples.targets)
    return DictionaryCard(
        n_latents=sae.n_latents,
        text=text_fit(sae, inputs, targets),
        by_part=by_part,
        last_tokens={name: last_token_fit(sae, sites, rows) for name, rows in held_out.prompts.items()},
        cross_entropy=held_out.splicing.recovered(sae, ordinary),
        firing=told_rates(firing_rates(sae, read), len(read)),
        neighbours=[
            NeighbourFit(layer=one.layer, fvu=site_fit(sae, beside[one.layer]).decisive, n_better=one.n_better, n=one.n)
            for one in neighbours(sae, inputs, beside)
        ],
        n_resampled=n_resampled,
    )


def _on_the_processor(rows: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: activations.cpu() for name, activations in rows.items()}


def text_fit(sae: LayerSae, inputs: Tensor, targets: Tensor) -> TextFit:
    fit = site_fit(sae, inputs, targets)
    return TextFit(fvu=fit.decisive, l0=fit.l0, n=fit.n, n_massive=fit.n_massive)


def last_token_fit(sae: LayerSae, sites: Sites, rows: dict[str, Tensor]) -> LastTokenFit:
    samples = sites.samples(rows, sae.layer)
    latent_acts = sae.encode(samples.inputs)
    fit = prompt_fit(sae, samples.targets, latent_acts)
    l0 = (latent_acts > 0).sum(-1).double().mean().item()
    between = fit.fvu_between if math.isfinite(fit.fvu_between) else None
    return LastTokenFit(missed_share=fit.missed_share, fvu_between=between, l0=l0, n=fit.n)


def told_rates(rates: np.ndarray, n: int) -> FiringRates:
    """How often the latents fire on `n` tokens."""
    fires = rates > 0
    counts, _ = np.histogram(np.log10(rates[fires]).clip(EDGES[0], EDGES[-1]), EDGES)
    return FiringRates(
        n=n,
        mean=float(rates.mean()),
        n_dead=int((~fires).sum()),
        edges=[round(float(edge), 6) for edge in EDGES],
        counts=counts.tolist(),
    )


def _spaced(pieces: list[Piece], n: int) -> list[Piece]:
    """At most `n` of the pieces, from all over."""
    return [
        pieces[place] for place in np.unique(np.linspace(0, len(pieces) - 1, min(n, len(pieces))).round().astype(int))
    ]


def _as_much(part: Text) -> list[Piece]:
    """Pieces that were trained on, as many tokens of them as are held out."""
    wanted = sum(map(len, part.held_out))
    ends = np.cumsum([len(piece) for piece in part.stream.pieces])
    return part.stream.pieces[: int(np.searchsorted(ends, wanted)) + 1]
