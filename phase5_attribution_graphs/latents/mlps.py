"""What the MLPs of a model read and write while it reads a document.

The input is computed as the local replacement model computes it: from the stream before the MLP, its norm's scale in
double precision, and the gain where a transcoder reads it.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ConfigError
from common.model.general_text import first_documents, text_for
from common.model.language_model import LanguageModel
from common.model.tokenization import encode, tokens_in_front
from common.seeds import document_seed
from phase5_attribution_graphs.latents.config import CircuitLatentsConfig
from phase5_attribution_graphs.replacement.decoder import Decoder, decoder_of
from phase5_attribution_graphs.replacement.local_model import N_SINKS

KEPT_BYTES = 256 << 20


@dataclass(frozen=True)
class MlpRows:
    """One layer's MLP on some tokens, float32: the normalised stream before its gain, the gain, and what is added."""

    normalised: Float[Tensor, "n d_model"]
    gain: Float[Tensor, " d_model"]
    out: Float[Tensor, "n d_model"]

    def inputs(self, with_gain: bool) -> Float[Tensor, "n d_model"]:
        """What a transcoder of the layer reads."""
        return self.normalised * self.gain if with_gain else self.normalised

    def at(self, position: int) -> "MlpRows":
        """The row of one position, on the processor."""
        rows = slice(position, position + 1)
        return MlpRows(self.normalised[rows].cpu(), self.gain.cpu(), self.out[rows].cpu())


@dataclass(frozen=True)
class Document:
    """A document as token ids, and the position at which the fit is measured."""

    number: int
    ids: list[int]
    position: int


class GeneralText:
    """The first documents of a text, each with what stands in front of every prompt too.

    What was read of a short text is kept: it is gone through twice.
    Raises: as `common.model.general_text.load_text`; ConfigError when no document has two tokens.
    """

    def __init__(self, lm: LanguageModel, config: CircuitLatentsConfig, front: Sequence[int]):
        self.source = text_for(config.text, config.model)
        self._lm, self._decoder = lm, decoder_of(lm.model)
        n_own, longest = len(tokens_in_front(lm.tokenizer)), min(config.max_tokens, lm.context_length)
        self.documents: list[Document] = []
        self._read: list[list[MlpRows]] = []
        for number, text in enumerate(first_documents(self.source, config.documents)):
            ids = [*front, *encode(lm, [text])[0][n_own:]][:longest]
            if len(ids) > N_SINKS:
                # Some position behind the first, which depends on the document alone.
                position = N_SINKS + document_seed(config.seed, text) % (len(ids) - N_SINKS)
                self.documents.append(Document(number, ids, position))
        if not self.documents:
            raise ConfigError(f"no document of '{self.source}' has two tokens\nGive another text with --text")

    def read(self) -> Iterator[tuple[Document, list[MlpRows]]]:
        """Each document, with what every layer's MLP reads and writes in it."""
        if not self._read and self._n_bytes <= KEPT_BYTES:
            self._read = [mlp_rows(self._lm, self._decoder, document.ids) for document in self.documents]
        for number, document in enumerate(self.documents):
            yield document, self._read[number] if self._read else mlp_rows(self._lm, self._decoder, document.ids)

    @property
    def _n_bytes(self) -> int:
        """Of all rows: two vectors for each token and layer, in float32."""
        n_tokens = sum(len(document.ids) for document in self.documents)
        return 2 * 4 * n_tokens * self._lm.n_layers * self._lm.d_model

    def one_of_each(self) -> list[MlpRows]:
        """By layer, the row of each document at its own position."""
        rows = [[layer.at(document.position) for layer in layers] for document, layers in self.read()]
        return [_joined(layer) for layer in zip(*rows, strict=True)]


def _joined(rows: Sequence[MlpRows]) -> MlpRows:
    return MlpRows(torch.cat([one.normalised for one in rows]), rows[0].gain, torch.cat([one.out for one in rows]))


@torch.no_grad()
def mlp_rows(lm: LanguageModel, decoder: Decoder, ids: Sequence[int]) -> list[MlpRows]:
    """By layer, what the MLP reads and writes at each of the tokens."""
    streams: dict[int, Tensor] = {}
    outs: dict[int, Tensor] = {}

    def keep_input(layer: int) -> Any:
        return lambda _module, arguments: streams.__setitem__(layer, arguments[0][0].float())

    def keep_output(layer: int) -> Any:
        return lambda _module, _arguments, output: outs.__setitem__(layer, output[0].float())

    with ExitStack() as hooks:
        for layer, block in enumerate(decoder.blocks):
            hooks.enter_context(block.mlp_norm.module.register_forward_pre_hook(keep_input(layer)))
            hooks.enter_context(block.mlp_out.register_forward_hook(keep_output(layer)))
        lm.model.get_decoder()(input_ids=torch.tensor([ids], device=lm.device), use_cache=False)
    mlps = []
    for layer, block in enumerate(decoder.blocks):
        stream = streams[layer]
        normalised = stream * block.mlp_norm.scale(stream)[:, None]
        mlps.append(MlpRows(normalised, block.mlp_norm.gain.float(), outs[layer]))
    return mlps
