"""Activations of the pieces of a text, at the sites that the dictionaries read and write."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ArtifactMismatchError
from common.model.hooks import read_sites
from common.model.language_model import LanguageModel
from common.model.memory import FittingParts, batch_bytes
from common.model.sites import RESID_POST, site_name
from common.saes.mixture import Samples
from common.stopping import Stopped, StopRequest
from phase1_3_dictionaries.corpus import Piece

TOKENS_AT_ONCE = 8192


@dataclass(frozen=True)
class Sites:
    """Activations by TransformerLens names, for each layer: what is read, and what is reconstructed."""

    reads: str
    writes: str

    def names(self, layers: Sequence[int]) -> list[str]:
        return list(dict.fromkeys(site_name(layer, kind) for layer in layers for kind in (self.reads, self.writes)))

    def samples(self, rows: dict[str, Tensor], layer: int) -> Samples:
        inputs = rows[site_name(layer, self.reads)]
        return Samples(inputs, inputs if self.is_autoencoder else rows[site_name(layer, self.writes)])

    @property
    def is_autoencoder(self) -> bool:
        return self.reads == self.writes

    @property
    def is_resid_post(self) -> bool:
        return self.reads == self.writes == RESID_POST


Item = tuple[Piece, int]  # a piece, and the first of its tokens that is kept


class Reader:
    """Reads pieces, a batch of them at a time; what does not fit in memory is halved."""

    def __init__(
        self, lm: LanguageModel, names: list[str], log: logging.Logger, stop: StopRequest | None = None
    ) -> None:
        self._lm, self._names, self._stop = lm, names, stop
        self._fitting = FittingParts(
            self._read, size=_n_tokens, expected=self._bytes, name=_name_of, device=lm.device, log=log
        )

    def every_token(self, pieces: Sequence[Piece], n_skipped: int) -> dict[str, Float[Tensor, "row d"]]:
        """Every token of the pieces behind the first `n_skipped`, float32, on the model's device.

        Raises: Stopped; ArtifactMismatchError for what is not finite.
        """
        return self._rows([(piece, n_skipped) for piece in pieces])

    def last_tokens(self, pieces: Sequence[Piece]) -> dict[str, Float[Tensor, "row d"]]:
        """The last token of each piece, in their order."""
        return self._rows([(piece, len(piece) - 1) for piece in pieces])

    def _rows(self, items: list[Item]) -> dict[str, Tensor]:
        ends = np.cumsum([len(piece) - first for piece, first in items]).tolist()
        rows: dict[str, Tensor] = {}
        for batch in batches_of([len(piece) for piece, _ in items]):
            if self._stop is not None and self._stop.asked:
                raise Stopped
            for place, by_site in zip(batch, self._fitting([items[place] for place in batch]), strict=True):
                for name, activations in by_site.items():
                    if name not in rows:
                        rows[name] = torch.empty(ends[-1], activations.shape[-1], device=activations.device)
                    rows[name][ends[place] - len(activations) : ends[place]] = activations
        for name, activations in rows.items():
            if not activations.isfinite().all():
                raise ArtifactMismatchError(
                    f"activations of {self._lm.name} at {name} are NaN or infinite in {self._lm.dtype}\n"
                    f"Give --dtype bfloat16 or float32"
                )
        return rows

    def _read(self, items: list[Item]) -> list[dict[str, Tensor]]:
        ids, mask = padded([piece for piece, _ in items], self._lm)
        kept = mask.bool().cpu()
        for row, (_, first) in enumerate(items):
            kept[row, :first] = False
        lengths = kept.sum(1).tolist()
        pieces_at: dict[str, Sequence[Tensor]] = {}

        def take(name: str, activations: Float[Tensor, "batch pos d"]) -> None:
            pieces_at[name] = activations[kept.to(activations.device)].float().split(lengths)

        with torch.inference_mode(), read_sites(self._lm.model, self._names, take, stop=True):
            self._lm.model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False)
        return [{name: pieces[row] for name, pieces in pieces_at.items()} for row in range(len(items))]

    def _bytes(self, items: list[Item]) -> int:
        return batch_bytes(self._lm.model, len(items), _longest(items), 0)


def batches_of(lengths: Sequence[int]) -> list[list[int]]:
    """Places of pieces that are read together: of like length, at most TOKENS_AT_ONCE tokens with their padding."""
    batches: list[list[int]] = []
    for place in np.argsort(lengths, kind="stable").tolist():
        if not batches or (len(batches[-1]) + 1) * lengths[place] > TOKENS_AT_ONCE:
            batches.append([])
        batches[-1].append(place)
    return batches


def padded(pieces: Sequence[Piece], lm: LanguageModel) -> tuple[Tensor, Tensor]:
    """Token ids and mask [row, pos]; padding stands on the right, where causal attention cannot see it."""
    ids = np.full((len(pieces), max(map(len, pieces))), lm.pad_token_id, np.int64)
    mask = np.zeros(ids.shape, np.int64)
    for row, piece in enumerate(pieces):
        ids[row, : len(piece)], mask[row, : len(piece)] = piece, 1
    return torch.from_numpy(ids).to(lm.device), torch.from_numpy(mask).to(lm.device)


def _longest(items: list[Item]) -> int:
    return max(len(piece) for piece, _ in items)


def _n_tokens(items: list[Item]) -> int:
    return len(items) * _longest(items)


def _name_of(item: Item) -> str:
    return f"a piece of {len(item[0])} tokens"
