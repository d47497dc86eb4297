"""Logits of a few tokens from the residual stream after the last block, in float32 whatever the model computes in.

A difference of two logits near 20 comes in steps of an eighth in bfloat16, too coarse for what one latent does to it.
So the last norm, the rows of the unembedding that are asked for and the cap that some models put on their logits are
taken in float32 here; all before them is the model's own.
"""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from common.errors import ConfigError
from common.model.language_model import LanguageModel
from common.model.sites import resid_post_site
from common.model.unembedding import final_norm

CLOSE = {"float32": 1e-3}  # of logits; to those of the model itself
CLOSE_16_BIT = 0.5


class AnswerLogits:
    """Reads the logits of some tokens off the stream. `site` is where the stream is read.

    Raises: ConfigError for a model that does not end in a norm and one product.
    """

    def __init__(self, lm: LanguageModel, tokens: Sequence[int]):
        head, norm = lm.model.get_output_embeddings(), final_norm(lm.model)
        if not isinstance(head, nn.Linear) or not head.weight.is_floating_point() or norm is None:
            raise ConfigError(f"{lm.name} ({type(lm.model).__name__}) does not end in a norm and one product\n{_GIVE}")
        rows = torch.tensor(list(tokens), device=head.weight.device)
        self.tokens, self.site = tuple(tokens), resid_post_site(lm.n_layers - 1)
        self._norm = copy.deepcopy(norm).float().requires_grad_(False)
        self._rows = head.weight.detach()[rows].float()
        self._bias = None if head.bias is None else head.bias.detach()[rows].float()
        self._cap = getattr(lm.model.config.get_text_config(), "final_logit_softcapping", None)
        self._close, self._name = CLOSE.get(lm.dtype, CLOSE_16_BIT), lm.name

    def __call__(self, resid: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch n_tokens"]:
        """Logits after the given states of the stream; gradients go through."""
        logits = nn.functional.linear(self._norm(resid.float()), self._rows, self._bias)
        return logits if self._cap is None else self._cap * torch.tanh(logits / self._cap)

    def check(self, resid: Float[Tensor, "batch d_model"], of_model: Float[Tensor, "batch d_vocab"]) -> None:
        """Compare with the logits that the model itself gives.

        Raises: ConfigError where they differ by more than rounding: something else stands between norm and logits.
        """
        own = of_model[:, list(self.tokens)].float()
        off = float((self(resid) - own).abs().max())
        if off > self._close * max(1.0, float(own.abs().max())):
            raise ConfigError(
                f"the logits of {self._name} are off by {off:.3g} when they are read from its last norm\n{_GIVE}"
            )


_GIVE = "Give a --model of the form of Llama, Qwen or Gemma for phase 6"
