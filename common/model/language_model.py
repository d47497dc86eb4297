"""A loaded model with its tokenizer, as every phase is handed it."""

import sys
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from common.model.hooks import embeddings_of
from common.model.token_meter import TokenMeter
from common.phases.settings import kind_of

# GPT-2 has its own name, which transformers maps to the first; MPT has the second.
_POSITION_LIMITS = ("max_position_embeddings", "max_seq_len", "n_positions", "n_ctx")


@dataclass(frozen=True)
class LanguageModel:
    """A loaded model, in evaluation mode, on its device."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerFast
    name: str
    device: str
    dtype: str
    revision: str | None
    meter: TokenMeter = field(default_factory=TokenMeter, compare=False)

    @property
    def n_layers(self) -> int:
        return self.model.config.get_text_config().num_hidden_layers

    @property
    def d_model(self) -> int:
        return self.model.config.get_text_config().hidden_size

    @property
    def context_length(self) -> int:
        """Positions the model was made for, prompt and generated tokens together; sys.maxsize where it knows none."""
        config = self.model.config.get_text_config()
        limits = (getattr(config, name, None) for name in _POSITION_LIMITS)
        return next((limit for limit in limits if limit and limit > 0), sys.maxsize)

    @property
    def pad_token_id(self) -> int:
        """What fills rows up. It is masked, so any token serves that the model has an embedding for."""
        named = self.tokenizer.pad_token_id
        return named if isinstance(named, int) and named < embeddings_of(self.model).num_embeddings else 0

    @property
    def end_of_sequence_ids(self) -> frozenset[int]:
        """Tokens that end a text; some models have several."""
        ids = self.model.generation_config.eos_token_id
        ids = self.tokenizer.eos_token_id if ids is None else ids
        return frozenset(one for one in (ids if isinstance(ids, list) else [ids]) if isinstance(one, int))

    def describe(self) -> dict[str, Any]:
        """What a manifest says of the model."""
        facts = {"name": self.name, "revision": self.revision, "dtype": self.dtype, "device": self.device}
        if kind_of(self.device) == "cuda":
            facts |= {"gpu": torch.cuda.get_device_name(self.device), "cuda": torch.version.cuda}
        if spread := getattr(self.model, "hf_device_map", None):
            facts["device_map"] = {name: str(place) for name, place in spread.items()}
        return {**facts, "threads": torch.get_num_threads(), "n_layers": self.n_layers, "d_model": self.d_model}
