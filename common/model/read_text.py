"""General text read on the spot, for the site check, where phase 1.1 has stored none."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ConfigError
from common.model.general_text import first_documents, load_text, text_for
from common.model.language_model import LanguageModel
from common.model.text_activations import read_documents

N_DOCUMENTS = 300
MAX_TOKENS, BATCH_SIZE, SEED = 128, 16, 42  # as phase 1.1


class ReadText:
    """resid_post of every layer at one position of each of the first documents of `text`; read when first needed."""

    def __init__(self, text: str, model: str, load: Callable[[], LanguageModel], log: logging.Logger) -> None:
        self.text, self._load, self._log = text_for(text, model), load, log

    def layers(self) -> Sequence[int]:
        return range(self._load().n_layers)

    def of_layer(self, layer: int) -> Float[Tensor, "n d_model"]:
        """Raises: as `common.model.general_text.load_text`; ConfigError when no document has two tokens."""
        return self._resid_post[:, layer]

    @functools.cached_property
    def _resid_post(self) -> Float[Tensor, "n n_layers d_model"]:
        n_documents = min(N_DOCUMENTS, len(load_text(self.text).documents))
        documents, rows = first_documents(self.text, n_documents), []
        self._log.info("reading %d documents of '%s', which tell whether the SAEs fit", len(documents), self.text)
        for first in range(0, len(documents), BATCH_SIZE):
            batch = documents[first : first + BATCH_SIZE]
            readings = read_documents(self._load(), batch, max_tokens=MAX_TOKENS, base_seed=SEED)
            rows += [np.stack(reading.resid_post) for reading in readings if reading.position > 0]
        if not rows:
            raise ConfigError(f"no document of '{self.text}' has two tokens\nGive another text with --text")
        return torch.from_numpy(np.stack(rows))
