"""What the model answers after each prompt: the logits of the eight names, their mass, and its most likely token."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from common.model.forward import next_token_logits
from common.model.hooks import read_sites
from common.model.language_model import LanguageModel
from common.model.memory import FittingParts, batch_bytes
from phase6_error_circuits.metric import AnswerLogits

Prompt = tuple[int, ...]  # token ids


@dataclass(frozen=True, eq=False)
class Answer:
    """`logits` of the names in their order, in float32; `mass` is the probability of all of them; `top` a token."""

    logits: Float[np.ndarray, " n_names"]
    mass: float
    top: int


def read_answers(
    lm: LanguageModel, prompts: Sequence[Prompt], names: Sequence[int], batch_size: int, log: logging.Logger
) -> dict[Prompt, Answer]:
    """The answer after each prompt; `names` are the first tokens of the names.

    Batches are of prompts of one length, so that nothing is padded; the longest come first.
    Raises: ConfigError where one prompt alone is too much for the memory, or as `AnswerLogits`.
    """
    head = AnswerLogits(lm, names)
    by_length: dict[int, list[Prompt]] = {}
    for prompt in dict.fromkeys(prompts):
        by_length.setdefault(len(prompt), []).append(prompt)

    def compute(part: list[Prompt]) -> list[Answer]:
        return _read_together(lm, part, head)

    def expected(part: list[Prompt]) -> int:
        return batch_bytes(lm.model, len(part), len(part[0]), 0)

    read = FittingParts(compute, size=len, expected=expected, name=lambda _: "a prompt", device=lm.device, log=log)
    answers: dict[Prompt, Answer] = {}
    for length in sorted(by_length, reverse=True):
        alike = by_length[length]
        for start in range(0, len(alike), batch_size):
            part = alike[start : start + batch_size]
            answers |= zip(part, read(part), strict=True)
    return answers


def _read_together(lm: LanguageModel, prompts: list[Prompt], head: AnswerLogits) -> list[Answer]:
    ids = torch.tensor(prompts, device=lm.device)
    kept: list[Tensor] = []
    with torch.inference_mode():
        with read_sites(lm.model, [head.site], lambda _site, resid: kept.append(resid[:, -1])):
            whole = next_token_logits(lm, ids, torch.ones_like(ids), None)
        [resid] = kept
        head.check(resid, whole)
        names, whole = head(resid), whole.float()
        tokens = torch.tensor(sorted({*head.tokens}), device=whole.device)  # two names may begin alike
        mass = whole[:, tokens].logsumexp(-1).sub(whole.logsumexp(-1)).exp()
    rows = zip(names.cpu().numpy(), mass.tolist(), whole.argmax(-1).tolist(), strict=True)
    return [Answer(logits, share, top) for logits, share, top in rows]


def mean_logits(answers: Mapping[Prompt, Answer], prompts: Sequence[Prompt]) -> Float[np.ndarray, " n_names"]:
    """Each name's mean logit over the prompts of a format: what the model says whatever the code."""
    return np.mean([answers[prompt].logits for prompt in dict.fromkeys(prompts)], axis=0)
