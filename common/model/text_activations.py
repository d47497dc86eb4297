"""What a model's residual stream holds while it reads general text.

1. The first tokens of each document are read in one pass; padding stands on the right, where causal
   attention cannot see it.
2. The output of every block is kept at one random position, which depends on the document's text and the
   seed alone. The first token is left out: it is the beginning-of-sequence token, or stands where that
   would, and its residual stream is many times longer than any other.
3. The norms at resid_pre, resid_mid and resid_post of every block are added up over the other positions, document by
   document, so that slices join to the same sums. They are NaN at a site that a block does not have.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.handoffs import RESID_SITES
from common.model.hooks import parts_of_blocks, read_sites
from common.model.language_model import LanguageModel
from common.model.sites import resid_site
from common.model.tokenization import encode
from common.seeds import document_seed


@dataclass
class Reading:
    """One document as the model reads it."""

    token_ids: list[int]
    position: int
    resid_post: list[Float[np.ndarray, "d_model"]] = field(default_factory=list)  # by layer
    norm_sum: Float[np.ndarray, "n_layers n_sites"] | None = None


def read_documents(lm: LanguageModel, documents: Sequence[str], *, max_tokens: int, base_seed: int) -> list[Reading]:
    """One batch of documents, in order. `max_tokens` counts the beginning-of-sequence token."""
    readings = [_tokenized(lm, document, max_tokens, base_seed) for document in documents]
    lengths = torch.tensor([len(reading.token_ids) for reading in readings])
    width = int(lengths.max())
    padding = lm.pad_token_id
    rows = [reading.token_ids + [padding] * (width - len(reading.token_ids)) for reading in readings]
    columns = torch.arange(width)
    mask = columns < lengths[:, None]
    counted = (mask & (columns > 0)).double()
    # Indices on the processor serve a model that lies on several devices.
    position = torch.tensor([reading.position for reading in readings])
    numbers = torch.arange(len(readings))
    sums = np.full((len(readings), lm.n_layers, len(RESID_SITES)), np.nan)
    has_mid = [parts.reads_mid is not None for parts in parts_of_blocks(lm.model)]
    places = [(layer, kind) for layer in range(lm.n_layers) for kind in RESID_SITES]
    where = {resid_site(*place): place for place in places if place[1] != "resid_mid" or has_mid[place[0]]}

    def take(site: str, resid: Float[Tensor, "batch pos d_model"]) -> None:
        layer, kind = where[site]
        norms = resid.float().norm(dim=-1).cpu().double()
        sums[:, layer, RESID_SITES.index(kind)] = (norms * counted).sum(-1).numpy()
        if kind == "resid_post":
            chosen = resid[numbers, position].float().cpu().numpy()
            for row, reading in enumerate(readings):
                reading.resid_post.append(chosen[row])

    with torch.inference_mode(), read_sites(lm.model, list(where), take):
        lm.model.get_decoder()(  # without the output layer, which nothing here needs
            input_ids=torch.tensor(rows, device=lm.device), attention_mask=mask.long().to(lm.device), use_cache=False
        )
    for row, reading in enumerate(readings):
        reading.norm_sum = sums[row]
    return readings


def mean_norms(
    norm_sum: Float[np.ndarray, "n_documents n_layers n_sites"], n_tokens: Sequence[int]
) -> Float[np.ndarray, "n_layers n_sites"]:
    """Mean L2 norm over every token but each document's first; sums are exact, whatever their order.

    NaN at a site that a block does not have.
    """
    n_positions = count_positions(n_tokens)
    _, n_layers, n_sites = norm_sum.shape
    exact = [[math.fsum(norm_sum[:, layer, site]) for site in range(n_sites)] for layer in range(n_layers)]
    return np.array(exact) / n_positions


def count_positions(n_tokens: Sequence[int]) -> int:
    return sum(n - 1 for n in n_tokens)


def _tokenized(lm: LanguageModel, document: str, max_tokens: int, base_seed: int) -> Reading:
    token_ids = encode(lm, [document])[0][: min(max_tokens, lm.context_length)]
    # A document of one token, in a model without a beginning-of-sequence token, has only its first position.
    position = 1 + document_seed(base_seed, document) % (len(token_ids) - 1) if len(token_ids) > 1 else 0
    return Reading(token_ids, position)
