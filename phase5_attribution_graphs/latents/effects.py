"""What latents write: the tokens whose logits they move most, by the direct path alone."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.model.unembedding import Unembedding
from common.report.latents.tokens import token_words
from common.saes.dictionary import Latent
from common.tables import TableRow
from phase5_attribution_graphs.latents.chosen import latents_by_layer
from phase5_attribution_graphs.latents.shelf import Shelf

PROMOTES, SUPPRESSES = "promotes", "suppresses"
AT_ONCE = 128  # latents: their effects on a vocabulary of 256,000 take 130 MB


@torch.no_grad()
def effects(chosen: Sequence[Latent], shelf: Shelf, end: Unembedding, k: int, tokenizer: Any) -> Iterator[TableRow]:
    """Rows of effects.parquet: `k` tokens to either side."""
    for layer, latents in latents_by_layer(chosen).items():
        W_dec = shelf.sae(layer).W_dec
        for first in range(0, len(latents), AT_ONCE):
            some = latents[first : first + AT_ONCE]
            for latent, moved in zip(some, end.effects_of(W_dec[some], len(tokenizer)), strict=True):
                for row in _rows(moved, k, tokenizer):
                    yield {"layer": layer, "latent": latent, **row}


def _rows(moved: Float[Tensor, " d_vocab"], k: int, tokenizer: Any) -> Iterator[TableRow]:
    for side, sign in ((PROMOTES, 1), (SUPPRESSES, -1)):
        values, tokens = (sign * moved).topk(min(k, len(moved)))
        for rank, (value, token) in enumerate(zip(values.tolist(), tokens.tolist(), strict=True), start=1):
            told = {"token_id": token, "token": token_words(tokenizer, token), "effect": sign * value}
            yield {"side": side, "rank": rank, **told}
