"""The metric of phase 6: the logit of one token minus that of another, of the stream after the last block.

The final norm and the rows of the unembedding compute in float32 whatever the model's number type is: logits near 20
come in steps of 1/8 in bfloat16, and the difference is of two of them. What some models do to their logits belongs to
the metric: a cap (Gemma-2), a factor (Granite, Cohere), a bias (Phi).
"""

import copy

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from common.errors import ConfigError
from common.model.hooks import name_of
from common.model.unembedding import final_norm


class LogitDifference:
    """Reads logits of single tokens off a model's last stream, in float32 and with gradients."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Raises: ConfigError for a model that does not end in one norm and one product."""
        norm, head = final_norm(model), model.get_output_embeddings()
        config = model.config.get_text_config()
        if norm is None or not isinstance(head, nn.Linear) or head.in_features != config.hidden_size:
            raise ConfigError(
                f"the logits of single tokens of {name_of(model)} cannot be read off its last stream: "
                f"{type(model).__name__} does not end in one norm and one product\n"
                f"Give a --model of the form of Llama, Gemma, Qwen or GPT-2"
            )
        self._norm, self._head = copy.deepcopy(norm).float(), head
        self._cap = getattr(config, "final_logit_softcapping", None)
        self._factor = getattr(config, "logit_scale", None) or 1 / getattr(config, "logits_scaling", 1)

    def __call__(
        self, resid: Float[Tensor, "batch pos d_model"], right: Int[Tensor, " batch"], wrong: Int[Tensor, " batch"]
    ) -> Float[Tensor, " batch"]:
        """Logit of each row's `right` token minus that of its `wrong` one, after its last position."""
        both = self.logits(resid, torch.stack([right, wrong], 1))
        return both[:, 0] - both[:, 1]

    def logits(
        self, resid: Float[Tensor, "batch pos d_model"], tokens: Int[Tensor, "batch n"]
    ) -> Float[Tensor, "batch n"]:
        """Logits of each row's `tokens` after its last position; `resid` is the stream after the last block."""
        normed = self._norm(resid[:, -1:].float())[:, 0]
        tokens = tokens.to(self._head.weight.device)
        logits = torch.einsum("bd,bnd->bn", normed.to(tokens.device), self._head.weight[tokens].float())
        if self._head.bias is not None:
            logits = logits + self._head.bias[tokens].float()
        logits = logits * self._factor
        return logits if not self._cap else torch.tanh(logits / self._cap) * self._cap
