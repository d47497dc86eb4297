"""Logits of the eight names from the residual stream after the last block (common/model/logit_difference.py)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from common.errors import ConfigError
from common.model.language_model import LanguageModel
from common.model.logit_difference import LogitDifference
from common.model.sites import resid_post_site

LOGITS_CLOSE = {"float32": 1e-3}  # to those of the model itself
LOGITS_CLOSE_16_BIT = 0.5


class AnswerLogits:
    """Reads the logits of some tokens off the stream. `site` is where the stream is read.

    Raises: ConfigError for a model that does not end in a norm and one product.
    """

    def __init__(self, lm: LanguageModel, tokens: Sequence[int]):
        self.tokens, self.site = tuple(tokens), resid_post_site(lm.n_layers - 1)
        self._logits = LogitDifference(lm.model).logits
        self._close, self._name = LOGITS_CLOSE.get(lm.dtype, LOGITS_CLOSE_16_BIT), lm.name

    def __call__(self, resid: Float[Tensor, "batch d_model"]) -> Float[Tensor, "batch n_tokens"]:
        """Logits after the given states of the stream; gradients go through."""
        return self._logits(resid[:, None], torch.tensor([self.tokens] * len(resid), device=resid.device))

    def check(self, resid: Float[Tensor, "batch d_model"], of_model: Float[Tensor, "batch d_vocab"]) -> None:
        """Compare with the logits that the model itself gives.

        Raises: ConfigError where they differ by more than rounding: something else stands between norm and logits.
        """
        expected = of_model[:, list(self.tokens)].float()
        off = float((self(resid) - expected).abs().max())
        if off > self._close * max(1.0, float(expected.abs().max())):
            raise ConfigError(
                f"the logits of {self._name} are off by {off:.3g} when they are read from its last norm\n{_GIVE}"
            )


_GIVE = "Give a --model of the form of Llama, Qwen or Gemma for phase 6"
