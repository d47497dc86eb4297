"""The clean and the corrupted prompts of some pairs of one shape, as runs of a model that patches go between."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.model.language_model import LanguageModel
from common.model.replay import Replay
from phase6_error_circuits.pair import ErrorPair


@dataclass(frozen=True, eq=False)
class Arm:
    """One prompt of each pair. The metric is the logit of `right` minus that of `wrong`, the same in both arms."""

    replay: Replay
    ids: Int[Tensor, "pairs n_tokens"]
    right: Int[Tensor, " pairs"]
    wrong: Int[Tensor, " pairs"]

    @cached_property
    def embedded(self) -> Float[Tensor, "pairs pos d_model"]:
        """What enters block 0."""
        return self.replay.embedded(self.ids)

    @cached_property
    def streams(self) -> list[Float[Tensor, "pairs pos d_model"]]:
        """resid_post of every block; computed once."""
        with torch.no_grad():
            return self.replay.streams(self.embedded)

    @cached_property
    def metric(self) -> Float[Tensor, " pairs"]:
        """The logit difference of each pair, nothing patched."""
        with torch.no_grad():
            return self.metric_from(self.replay.n_layers, self.streams[-1])

    def entering(self, layer: int) -> Float[Tensor, "pairs pos d_model"]:
        """The stream that enters a block."""
        return self.streams[layer - 1] if layer else self.embedded

    def metric_from(self, layer: int, resid: Float[Tensor, "rows pos d_model"]) -> Float[Tensor, " rows"]:
        """The metric of each row when `resid` enters block `layer`; rows are the pairs in order, once or more often."""
        last, times = self.replay.run_from(layer, resid), len(resid) // len(self.ids)
        return self.replay.logit_difference(last, self.right.repeat(times), self.wrong.repeat(times))


@dataclass(frozen=True, eq=False)
class Arms:
    """Both arms of the same pairs. A position of a pair is `offset` less in the streams, which lack what all share."""

    pairs: list[ErrorPair]
    clean: Arm
    corrupted: Arm

    @property
    def replay(self) -> Replay:
        return self.clean.replay

    @property
    def offset(self) -> int:
        return self.replay.n_shared

    @property
    def first_difference(self) -> int:
        """The first position of the streams at which the prompts of any pair differ: before it nothing can."""
        return int((self.clean.ids != self.corrupted.ids).any(0).nonzero()[0]) - self.offset

    @property
    def total(self) -> Float[Tensor, " pairs"]:
        """Of each pair, the metric after the clean prompt minus that after the corrupted one."""
        return self.clean.metric - self.corrupted.metric

    def position(self, name: str) -> int:
        """Where in the streams a named position is; -1 and below stand among what all prompts share."""
        return self.pairs[0].positions[name] - self.offset


def arms_of(lm: LanguageModel, pairs: Sequence[ErrorPair]) -> Arms:
    """Both arms of pairs of one shape. Raises: ConfigError for a model that cannot be run from the middle."""
    assert len({pair.n_tokens for pair in pairs}) == 1, "pairs of one shape"
    clean, corrupted = (
        torch.tensor([getattr(pair, name) for pair in pairs], device=lm.device)
        for name in ("clean_ids", "corrupted_ids")
    )
    right, wrong = (
        torch.tensor(tokens, device=lm.device) for tokens in zip(*(pair.answers for pair in pairs), strict=True)
    )
    replay = Replay(lm.model, torch.cat([clean, corrupted]), _n_shared(clean, corrupted, pairs))
    return Arms([*pairs], Arm(replay, clean, right, wrong), Arm(replay, corrupted, right, wrong))


def _n_shared(clean: Tensor, corrupted: Tensor, pairs: Sequence[ErrorPair]) -> int:
    """How many tokens stand before the code of every pair, all of them the same."""
    both = torch.cat([clean, corrupted])
    alike = int((both == both[:1]).all(0).long().cumprod(0).sum())
    return min([alike, *(pair.code_start for pair in pairs)])
