"""What a model's loss is with a dictionary in place of a site.

    recovered = (zero - spliced) / (zero - clean)

the loss with zeros at the site, with the dictionary's output, and of the model left alone. Tokens that the dictionary
was never trained on are left alone: the first of a text, what stands in front, and massive activations.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from common.handoffs.dictionaries import CrossEntropy
from common.model.hooks import change_sites, read_sites
from common.model.language_model import LanguageModel
from common.model.sites import site_name
from common.saes.encoder import LayerSae
from common.saes.mixture import Ordinary
from phase1_3_dictionaries.corpus import Piece
from phase1_3_dictionaries.reading import Sites, padded

Edit = Callable[[Tensor], Tensor]


class Splicing:
    """Held-out pieces, and the loss on them while a site is replaced."""

    def __init__(self, lm: LanguageModel, sites: Sites, pieces: Sequence[Piece], n_skipped: int) -> None:
        self._lm, self._sites, self._pieces, self._n_skipped = lm, sites, pieces, n_skipped

    def recovered(self, sae: LayerSae, ordinary: Ordinary) -> CrossEntropy:
        """The loss of a layer's dictionary beside those of nothing and of the model."""
        dictionary = sae.on(self._lm.device)
        read_at, written_at = (site_name(sae.layer, kind) for kind in (self._sites.reads, self._sites.writes))

        def output(read: Tensor) -> Tensor:
            return dictionary.decode(dictionary.encode(read))

        def losses(make: Edit) -> tuple[float, int]:
            return self._loss(lambda: self._spliced(read_at, written_at, make, ordinary))

        clean, n = self._clean
        spliced, zero = losses(output)[0], losses(torch.zeros_like)[0]
        share = (zero - spliced) / (zero - clean) if zero > clean else None
        return CrossEntropy(clean=clean, spliced=spliced, zero=zero, recovered=share, n=n)

    @cached_property
    def _clean(self) -> tuple[float, int]:
        return self._loss(ExitStack)

    @contextmanager
    def _spliced(self, read_at: str, written_at: str, make: Edit, ordinary: Ordinary) -> Iterator[None]:
        """While open, the site holds what `make` gives of what is read, where a dictionary was trained."""
        read: list[Tensor] = []

        def edit(written: Tensor) -> Tensor:
            made = make(read.pop() if read else written).to(written.dtype)
            spared = ~ordinary.among(written.flatten(0, 1)).view(written.shape[:2])
            spared[:, : self._n_skipped] = True
            return torch.where(spared[..., None], written, made)

        with ExitStack() as hooks:
            if read_at != written_at:
                hooks.enter_context(
                    read_sites(self._lm.model, [read_at], lambda _site, activations: read.append(activations))
                )
            hooks.enter_context(change_sites(self._lm.model, {written_at: edit}))
            yield

    @torch.inference_mode()
    def _loss(self, editing: Callable) -> tuple[float, int]:
        """Mean loss of the next token in nats, over every token but what stands in front; and how many there are."""
        total, n_tokens = 0.0, 0
        for piece in self._pieces:  # one at a time: logits of many tokens of a large vocabulary take gigabytes
            ids, mask = padded([piece], self._lm)
            with editing():
                logits = self._lm.model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            first = self._n_skipped - 1
            rows, wanted = logits[0, first:-1].float(), ids[0, first + 1 :]
            total += functional.cross_entropy(rows, wanted, reduction="sum").item()
            n_tokens += len(wanted)
        return total / n_tokens, n_tokens
