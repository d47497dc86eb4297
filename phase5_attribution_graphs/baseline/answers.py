"""Log-probabilities of answers by teacher forcing: of each token, those before it given."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from common.model.forward import logits_of_last_tokens
from common.model.language_model import LanguageModel
from common.model.memory import FLOAT32, FittingParts, batch_bytes


@dataclass(frozen=True)
class Asked:
    """The tokens of a prompt, with what stands in front, and those of an answer to it."""

    prompt: list[int]
    answer: list[int]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.answer)


def read_answers(lm: LanguageModel, asked: Sequence[Asked], batch_size: int, log: logging.Logger) -> list[list[float]]:
    """Log-probability of each token of each answer [nats], in their order.

    Batches are of neighbours in length, the longest first, padded on the left, where the model does not look.
    Raises: ConfigError where one alone is too much for the memory.
    """
    order = sorted(range(len(asked)), key=lambda place: -asked[place].length)
    vocabulary, size = lm.model.config.get_text_config().vocab_size, lm.model.dtype.itemsize

    def compute(places: list[int]) -> list[list[float]]:
        return _read_together(lm, [asked[place] for place in places])

    def expected(places: list[int]) -> int:
        width = max(asked[place].length for place in places)
        n_kept = len(places) * max(len(asked[place].answer) + 1 for place in places)
        return batch_bytes(lm.model, len(places), width, 0) + n_kept * vocabulary * (size + 2 * FLOAT32)

    read = FittingParts(compute, size=len, expected=expected, name=lambda _: "an answer", device=lm.device, log=log)
    logprobs: dict[int, list[float]] = {}
    for start in range(0, len(order), batch_size):
        places = order[start : start + batch_size]
        logprobs |= zip(places, read(places), strict=True)
    return [logprobs[place] for place in range(len(asked))]


def _read_together(lm: LanguageModel, asked: list[Asked]) -> list[list[float]]:
    width, n_last = max(one.length for one in asked), max(len(one.answer) for one in asked) + 1
    ids = torch.full((len(asked), width), lm.pad_token_id)
    mask = torch.zeros((len(asked), width), dtype=torch.long)
    for row, one in enumerate(asked):
        ids[row, width - one.length :] = torch.tensor(one.prompt + one.answer)
        mask[row, width - one.length :] = 1
    with torch.inference_mode():
        logits = logits_of_last_tokens(lm, ids.to(lm.device), mask.to(lm.device), n_last)
        log_p = logits.float().log_softmax(-1)[:, :-1]  # after the last token nothing is asked for
        # Answers end with their row; what is taken at the places before one is left off.
        taken = log_p.gather(-1, ids[:, width - n_last + 1 :, None].to(lm.device))[..., 0].tolist()
    return [row[len(row) - len(one.answer) :] for row, one in zip(taken, asked, strict=True)]
