"""What a finished dictionary does on held-out activations: L0, FVU, dead latents, cross-entropy recovered.

- *FVU*, the fraction of variance unexplained: squared error over squared distance from the mean, both
  summed over rows and dimensions.
- *Cross-entropy recovered*: (zero - spliced) / (zero - clean), the model's loss with the site set to zero,
  replaced by the dictionary's output, and left alone. <bos> is always left alone: dictionaries never saw it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from common.model.hooks import change_sites, read_sites
from common.model.language_model import LanguageModel
from common.saes.dictionary import Dictionary
from model_organism.dictionaries.activations import TokenBatch
from model_organism.dictionaries.sites import SAE, read_by, written_by
from model_organism.tokenizer import BOS_ID, PAD_ID

CHUNK = 4096


@dataclass(frozen=True)
class Fit:
    """How a dictionary does on rows of activations; `n_firings` [d_sae] counts the rows on which a latent fires."""

    l0: float
    fvu: float
    n_firings: Tensor

    @property
    def dead_share(self) -> float:
        return (self.n_firings == 0).float().mean().item()


@torch.inference_mode()
def measure_fit(dictionary: Dictionary, inputs: Tensor, targets: Tensor) -> Fit:
    """The fit on rows [row, d_model] of inputs and targets, any float type."""
    mean = targets.float().mean(0)
    n_firings = torch.zeros(len(dictionary.threshold), dtype=torch.int64)
    error = variance = 0.0
    for first in range(0, len(inputs), CHUNK):
        wanted = targets[first : first + CHUNK].float()
        latent_acts = dictionary.encode(inputs[first : first + CHUNK].float())
        n_firings += torch.count_nonzero(latent_acts, dim=0)
        error += (dictionary.decode(latent_acts) - wanted).pow(2).sum().item()
        variance += (wanted - mean).pow(2).sum().item()
    return Fit(n_firings.sum().item() / len(inputs), error / variance, n_firings)


def cross_entropy_recovered(
    lm: LanguageModel, dictionary: Dictionary, kind: str, layer: int, batches: Sequence[TokenBatch], clean: float
) -> dict[str, float]:
    """Share of the loss between `zero` and `clean` that the spliced dictionary keeps, with these losses in nats."""
    zero = mean_cross_entropy(lm, batches, lambda batch: _splice(lm, kind, layer, batch, lambda _read: 0.0))

    def reconstruct(read: Tensor) -> Tensor:
        return dictionary.decode(dictionary.encode(read.float()))

    spliced = mean_cross_entropy(lm, batches, lambda batch: _splice(lm, kind, layer, batch, reconstruct))
    return {"clean": clean, "spliced": spliced, "zero": zero, "recovered": (zero - spliced) / (zero - clean)}


@torch.inference_mode()
def mean_cross_entropy(
    lm: LanguageModel, batches: Sequence[TokenBatch], editing: Callable = lambda _batch: nullcontext()
) -> float:
    """Mean loss of the next token in nats, with the context `editing(batch)` open during each pass."""
    total = n_tokens = 0.0
    for batch in batches:
        with editing(batch):
            logits = lm.model(input_ids=batch.token_ids, use_cache=False).logits[:, :-1]
        wanted = batch.token_ids[:, 1:]
        is_counted = (wanted != PAD_ID) & (wanted != BOS_ID)
        total += functional.cross_entropy(logits[is_counted].float(), wanted[is_counted], reduction="sum").item()
        n_tokens += is_counted.sum().item()
    return total / n_tokens


@contextmanager
def _splice(
    lm: LanguageModel, kind: str, layer: int, batch: TokenBatch, make: Callable[[Tensor], Tensor | float]
) -> Iterator[None]:
    """While open, the site that the dictionary writes holds `make(what it reads)`, except at <bos>."""
    is_bos = (batch.token_ids == BOS_ID)[:, :, None]
    read: list[Tensor] = []

    def edit(activations: Tensor) -> Tensor:
        return torch.where(is_bos, activations, make(activations if kind == SAE else read.pop()))

    with ExitStack() as stack:
        if kind != SAE:
            keep = read_sites(lm.model, [read_by(kind, layer)], lambda _site, activations: read.append(activations))
            stack.enter_context(keep)
        stack.enter_context(change_sites(lm.model, {written_by(kind, layer): edit}))
        yield
