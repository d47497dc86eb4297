"""The training loss: next tokens, two auxiliary losses read off the last prompt token, and one off names.

The auxiliary heads sit on the outputs of layers 2 and up (the last one after the final norm) at the
last two prompt tokens, ":" and the newline, and are thrown away after training. They teach the
residual stream there
- the *bag of answer tokens*: which tokens the answer will hold;
- *self-knowledge*: the model's own teacher-forced loss on the body of the answer, as log(1 + nats),
  and whether every token of the body is the model's first choice. The targets are detached: the
  model learns to know how well it will do, not to do better.

Where a snippet reads a name, at its last token, a third head teaches whether the name is defined: without it the
model does not learn in millions of tokens to compare names of several tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from model_organism.corpus import BODY_WEIGHT
from model_organism.name_labels import UNDEFINED
from model_organism.tokenizer import SPECIAL_TOKENS
from model_organism.training.batches import Batch
from model_organism.training.settings import TrainingSettings

if TYPE_CHECKING:
    from transformers import Gemma2ForCausalLM

FIRST_PROBED_LAYER = 2
PROMPT_END_OFFSETS = (-2, -1)
INITIAL_BAG_BIAS = -4.0


@dataclass(frozen=True)
class Loss:
    """`total` to differentiate, the weight of the batch's tokens, and the parts; no bag in a batch without problems."""

    total: torch.Tensor
    weight: float
    next_token: torch.Tensor
    bag: torch.Tensor | None = None
    self_knowledge: torch.Tensor | None = None
    share_exact: torch.Tensor | None = None
    names: torch.Tensor | None = None

    def parts(self) -> dict[str, float]:
        """What to report; plain numbers, since a kept tensor would keep its whole graph in memory."""
        parts = {
            "loss": self.next_token,
            "bag_loss": self.bag,
            "self_knowledge_loss": self.self_knowledge,
            "share_exact": self.share_exact,
            "names_loss": self.names,
        }
        return {name: float(value.detach()) for name, value in parts.items() if value is not None}


@dataclass(frozen=True)
class SelfKnowledge:
    """Per row: log(1 + loss of the body in nats), and 1 where every body token is the first choice, else 0."""

    log_loss: torch.Tensor
    is_exact: torch.Tensor


class AuxiliaryHeads(torch.nn.Module):
    """A head for the bag, one for self-knowledge and one for names on every probed layer, initially blank."""

    def __init__(self, d_model: int, d_vocab: int, n_layers: int) -> None:
        super().__init__()
        self.layers = range(FIRST_PROBED_LAYER, n_layers)
        self.bag = torch.nn.ModuleList(_blank_head(d_model, d_vocab, INITIAL_BAG_BIAS) for _ in self.layers)
        self.self_knowledge = torch.nn.ModuleList(_blank_head(d_model, 2, 0.0) for _ in self.layers)
        self.names = torch.nn.ModuleList(_blank_head(d_model, 1, 0.0) for _ in self.layers)

    def losses(
        self,
        hidden_states: tuple[torch.Tensor, ...],
        rows: torch.Tensor,
        ends: torch.Tensor,
        bag: torch.Tensor,
        known: SelfKnowledge,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean bag loss and mean self-knowledge loss over layers and positions."""
        bag_loss, self_loss = torch.zeros(()), torch.zeros(())
        for layer, bag_head, self_head in zip(self.layers, self.bag, self.self_knowledge, strict=True):
            for offset in PROMPT_END_OFFSETS:
                resid = hidden_states[layer + 1][rows, ends + offset].float()
                bag_loss = (
                    bag_loss
                    + functional.binary_cross_entropy_with_logits(bag_head(resid), bag, reduction="none").sum(1).mean()
                )
                guess = self_head(resid)
                self_loss = self_loss + (guess[:, 0] - known.log_loss).pow(2).mean()
                self_loss = self_loss + functional.binary_cross_entropy_with_logits(guess[:, 1], known.is_exact)
        n_reads = len(self.layers) * len(PROMPT_END_OFFSETS)
        return bag_loss / n_reads, self_loss / n_reads

    def names_loss(self, hidden_states: tuple[torch.Tensor, ...], names: torch.Tensor) -> torch.Tensor | None:
        """Mean loss over layers and names; None in a batch without names."""
        is_name = names > 0
        if not is_name.any():
            return None
        undefined, loss = (names[is_name] == UNDEFINED).float(), torch.zeros(())
        for layer, head in zip(self.layers, self.names, strict=True):
            guess = head(hidden_states[layer + 1][is_name].float())[:, 0]
            loss = loss + functional.binary_cross_entropy_with_logits(guess, undefined)
        return loss / len(self.layers)


def training_loss(model: "Gemma2ForCausalLM", heads: AuxiliaryHeads, batch: Batch, settings: TrainingSettings) -> Loss:
    """The weighted mean of next-token losses in nats, plus the auxiliary losses where the batch holds problems."""
    output = model(input_ids=batch.token_ids, use_cache=False, output_hidden_states=True)
    kept_logits, losses, counted, weights = _token_losses(output.logits, batch)
    next_token = (losses * weights).sum() / weights.sum()
    names = heads.names_loss(output.hidden_states, batch.names)
    total = next_token if names is None else next_token + settings.names_weight * names
    rows = batch.prompt_lengths.nonzero(as_tuple=True)[0]
    if not len(rows):
        return Loss(total, float(weights.sum()), next_token, names=names)
    ends = batch.prompt_lengths[rows]
    with torch.no_grad():
        known = _self_knowledge(kept_logits, losses, counted, batch, rows)
        bag = _bag_of_answer_tokens(batch.token_ids[rows], ends, output.logits.shape[-1])
    bag_loss, self_loss = heads.losses(output.hidden_states, rows, ends, bag, known)
    return Loss(
        total=total + settings.bag_weight * bag_loss + settings.self_weight * self_loss,
        weight=float(weights.sum()),
        next_token=next_token,
        bag=bag_loss,
        self_knowledge=self_loss,
        share_exact=known.is_exact.mean(),
        names=names,
    )


@torch.no_grad()
def validation_loss(model: "Gemma2ForCausalLM", batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss in nats and weight of every counted token of the batch, both [token]."""
    output = model(input_ids=batch.token_ids, use_cache=False)
    _, losses, _, weights = _token_losses(output.logits, batch)
    return losses, weights


def _token_losses(logits: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits and losses of the tokens with a weight, which positions [row * pos] those are, and their weights."""
    targets = batch.token_ids[:, 1:].reshape(-1)
    all_weights = batch.weights[:, 1:].reshape(-1)
    counted = all_weights > 0
    kept_logits = logits[:, :-1].reshape(-1, logits.shape[-1])[counted].float()
    losses = functional.cross_entropy(kept_logits, targets[counted], reduction="none")
    return kept_logits, losses, counted, all_weights[counted]


def _self_knowledge(
    kept_logits: torch.Tensor, losses: torch.Tensor, counted: torch.Tensor, batch: Batch, rows: torch.Tensor
) -> SelfKnowledge:
    n_rows = batch.token_ids.shape[0]
    targets = batch.token_ids[:, 1:].reshape(-1)[counted]
    is_body = (batch.weights[:, 1:].reshape(-1)[counted] - BODY_WEIGHT).abs() < 0.01
    body_losses, errors = torch.zeros(counted.shape), torch.zeros(counted.shape)
    body_losses[counted] = losses.detach() * is_body
    wrong = torch.zeros(is_body.shape)
    wrong[is_body] = (kept_logits[is_body].argmax(-1) != targets[is_body]).float()
    errors[counted] = wrong
    per_row_loss = body_losses.view(n_rows, -1).sum(1)[rows]
    per_row_errors = errors.view(n_rows, -1).sum(1)[rows]
    return SelfKnowledge(torch.log1p(per_row_loss), (per_row_errors == 0).float())


def _bag_of_answer_tokens(token_ids: torch.Tensor, ends: torch.Tensor, d_vocab: int) -> torch.Tensor:
    """1 for every token that occurs after the prompt, [row, token]; special tokens never count."""
    after_prompt = torch.arange(token_ids.shape[1])[None] >= ends[:, None]
    bag = torch.zeros(len(token_ids), d_vocab).scatter_add_(1, token_ids, after_prompt.float())
    bag[:, : len(SPECIAL_TOKENS)] = 0
    return bag.clamp(max=1)


def _blank_head(d_model: int, d_out: int, bias: float) -> torch.nn.Sequential:
    linear = torch.nn.Linear(d_model, d_out)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.constant_(linear.bias, bias)
    return torch.nn.Sequential(torch.nn.LayerNorm(d_model, elementwise_affine=False), linear)
