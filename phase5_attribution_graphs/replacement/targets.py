"""What a graph explains: logits of the likeliest next tokens, or the contrast of two.

A target is a direction over the normalised final stream: W_U[token] minus the mean of W_U, so the logit before the
model's final cap, centred over the vocabulary. That is linear, so its row adds up exactly; the cap is monotone, so
rankings stand. Probabilities are those of the real, capped logits.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from common.model.language_model import LanguageModel
from phase5_attribution_graphs.replacement.clean_run import CleanRun

MOST_LOGITS, MASS = 10, 0.95
CONTRAST = "contrast"


@dataclass(frozen=True)
class Target:
    """`tokens`: of one logit, or the right and the wrong token of a contrast. `weight`: its share of the influence."""

    name: str
    tokens: tuple[int, ...]
    direction: Float[Tensor, " d_model"]
    weight: float

    @property
    def is_contrast(self) -> bool:
        return len(self.tokens) == 2


def likeliest(run: CleanRun, lm: LanguageModel, most: int = MOST_LOGITS, mass: float = MASS) -> list[Target]:
    """The likeliest tokens until their probability reaches `mass`, at most so many; weighted by their probability."""
    top = torch.softmax(run.logits, -1).topk(min(most, len(run.logits)))
    n = min(most, int((top.values.cumsum(0) < mass).sum()) + 1)
    mean = run.W_U.mean(0)
    return [
        Target(_shown(lm, token), (token,), run.W_U[token] - mean, weight)
        for token, weight in zip(top.indices[:n].tolist(), top.values[:n].tolist(), strict=True)
    ]


def contrast(run: CleanRun, lm: LanguageModel, correct: int, incorrect: int) -> Target:
    """The logit of one token minus that of another."""
    names = [f'"{_shown(lm, token)}"' for token in (correct, incorrect)]
    return Target(" - ".join(names), (correct, incorrect), run.W_U[correct] - run.W_U[incorrect], 1.0)


def _shown(lm: LanguageModel, token: int) -> str:
    return str(lm.tokenizer.decode([token]))


def value_of(run: CleanRun, target: Target) -> float:
    """The target's value in this run, in double precision."""
    final = run.resid_final[-1].double() * run.final_factor.double()
    return float(target.direction.double() @ final)
