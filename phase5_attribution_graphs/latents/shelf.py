"""The transcoders of a run, one layer at a time: those of a wide release do not all fit into memory."""

from __future__ import annotations

import torch

from common.model.language_model import LanguageModel
from common.model.memory import free_bytes
from common.saes.encoder import LayerSae
from common.saes.sources import SaeSource
from phase5_attribution_graphs.replacement.transcoders import Transcoder, load_of_model

LEFT_FREE = 3  # times what was just loaded has to be free for it to be kept


class Shelf:
    """Transcoders by layer. They are kept as long as there is memory, and read from the disk again else.

    `layers` have one, `without` do not. Raises: ConfigError for a source without any.
    """

    def __init__(self, source: SaeSource, lm: LanguageModel):
        self.source, self._lm = source, lm
        self.layers = source.layers(lm.n_layers)
        self.without = [layer for layer in range(lm.n_layers) if layer not in self.layers]
        self._kept: dict[int, tuple[LayerSae, Transcoder]] = {}

    def sae(self, layer: int) -> LayerSae:
        """As SAELens loads it, on the processor. Raises: ConfigError for what cannot stand in for an MLP of the model.

        And as `load_sae`.
        """
        return self._loaded(layer)[0]

    def transcoder(self, layer: int) -> Transcoder:
        """As a graph reads and writes with it, on the model's device. Raises: as `sae`."""
        return self._loaded(layer)[1]

    @torch.no_grad()
    def _loaded(self, layer: int) -> tuple[LayerSae, Transcoder]:
        if layer in self._kept:
            return self._kept[layer]
        sae = load_of_model(self.source, layer, self._lm)
        loaded = sae, Transcoder.of(sae, self._lm.device)
        free = [free_bytes(device) for device in {"cpu", self._lm.device}]
        size = 2 * sae.W_enc.numel() * sae.W_enc.element_size()
        if all(left is None or left > LEFT_FREE * size for left in free):
            self._kept[layer] = loaded
        return loaded
