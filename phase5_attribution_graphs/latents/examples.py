"""The contexts in which latents fire most strongly, on general text and in the prompts.

1. Of each document, and of each prompt, the one position counts at which a latent fires most strongly.
2. Contexts that are the same up to the token count once: there the activation is the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from common.report.latents.tokens import AROUND, token_words
from common.saes.dictionary import Latent
from common.tables import TableRow
from phase5_attribution_graphs.latents.chosen import latents_by_layer
from phase5_attribution_graphs.latents.mlps import GeneralText
from phase5_attribution_graphs.latents.shelf import Shelf
from phase5_attribution_graphs.replacement.local_model import N_SINKS
from phase5_attribution_graphs.replacement.transcoders import Transcoder

TEXT, PROMPT = "text", "prompt"


@dataclass(frozen=True)
class Context:
    """One place at which a latent fires; `ids` are the tokens of the whole document or prompt."""

    activation: float
    source: str
    item: int
    pos: int
    ids: Sequence[int]

    @property
    def order(self) -> tuple[float, bool, int]:
        """The strongest first, of equals text before prompts."""
        return -self.activation, self.source != TEXT, self.item

    @property
    def read(self) -> tuple[int, ...]:
        """What stands up to the token, as far as a reader sees it."""
        return tuple(self.ids[max(N_SINKS, self.pos - AROUND) : self.pos + 1])

    def row(self, tokenizer: Any) -> TableRow:
        start = max(N_SINKS, self.pos - AROUND)
        after = self.ids[self.pos + 1 : self.pos + 1 + AROUND]
        return {
            "activation": self.activation,
            "source": self.source,
            "item": self.item,
            "pos": self.pos,
            "before": _text(tokenizer, self.ids[start : self.pos]),
            "token": token_words(tokenizer, self.ids[self.pos]),
            "after": _text(tokenizer, after),
        }


Contexts = Mapping[Latent, list[Context]]


def examples(contexts: Contexts, k: int, tokenizer: Any) -> Iterator[TableRow]:
    """Rows of examples.parquet: of each latent the `k` contexts with the largest activations."""
    for (layer, latent), of_latent in contexts.items():
        different: dict[tuple[int, ...], Context] = {}
        for context in sorted(of_latent, key=lambda one: one.order):
            different.setdefault(context.read, context)
        for rank, context in enumerate(list(different.values())[:k], start=1):
            yield {"layer": layer, "latent": latent, "rank": rank, **context.row(tokenizer)}


@torch.no_grad()
def contexts_of(
    chosen: Sequence[Latent], text: GeneralText, shelf: Shelf, fired: Sequence[TableRow], prompts: Sequence[TableRow]
) -> Contexts:
    """Every context of each of the `chosen` latents: in documents, and in prompts by their rows of fired.parquet."""
    contexts: dict[Latent, list[Context]] = {place: [] for place in chosen}
    numbers = latents_by_layer(chosen)
    few = {layer: only(shelf.transcoder(layer), latents) for layer, latents in numbers.items()}
    for document, layers in text.read():
        for layer, transcoder in few.items():
            acts = transcoder.gated(transcoder.pre_acts(layers[layer].inputs(transcoder.with_gain)))
            largest, positions = acts[N_SINKS:].max(0)
            for place in largest.nonzero()[:, 0].tolist():
                activation, pos = float(largest[place]), int(positions[place]) + N_SINKS
                context = Context(activation, TEXT, document.number, pos, document.ids)
                contexts[layer, numbers[layer][place]].append(context)
    for row, prompt in zip(fired, prompts, strict=True):
        columns = (row[name] for name in ("layers", "latents", "largest", "positions"))
        for layer, latent, activation, pos in zip(*columns, strict=True):
            if (layer, latent) in contexts:
                context = Context(activation, PROMPT, row["record"], pos, prompt["token_ids"])
                contexts[layer, latent].append(context)
    return contexts


def only(transcoder: Transcoder, latents: Sequence[int]) -> Transcoder:
    """A transcoder of some latents alone."""
    index = torch.tensor(latents, device=transcoder.W_enc.device)
    return Transcoder(
        W_enc=transcoder.W_enc[:, index],
        b_enc=transcoder.b_enc[index],
        W_dec=transcoder.W_dec[index],
        b_dec=transcoder.b_dec,
        threshold=transcoder.threshold[index],
        with_gain=transcoder.with_gain,
    )


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
