"""The clean and the corrupted prompts of some pairs of one shape, as runs of a model that patches go between."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.errors import ConfigError
from common.model.hooks import ChangeFn, change_sites, name_of
from common.model.language_model import LanguageModel
from common.model.replay import ROWS_AT_ONCE, KnownRuns, Replay
from phase6_error_circuits.pair import ErrorPair


@dataclass(frozen=True, eq=False)
class Arm:
    """One prompt of each pair. The metric is the logit of `right` minus that of `wrong`, the same in both arms.

    `embedded` enters block 0; `streams` are resid_post of every block; `metric` is that of each pair, unpatched. They
    are computed before anything is patched: never among the hooks of a patch.
    """

    replay: Replay
    ids: Int[Tensor, "pairs n_tokens"]
    right: Int[Tensor, " pairs"]
    wrong: Int[Tensor, " pairs"]
    embedded: Float[Tensor, "pairs pos d_model"]
    streams: list[Float[Tensor, "pairs pos d_model"]]
    metric: Float[Tensor, " pairs"]

    @cached_property
    def known(self) -> KnownRuns:
        """What shortens runs that are like this one up to some position. To be asked for before anything is patched."""
        return self.replay.knowing(self.ids)

    def entering(self, layer: int) -> Float[Tensor, "pairs pos d_model"]:
        """The stream that enters a block."""
        return self.streams[layer - 1] if layer else self.embedded

    def metric_from(
        self, layer: int, resid: Float[Tensor, "rows pos d_model"], replay: Replay | None = None
    ) -> Float[Tensor, " rows"]:
        """The metric of each row when `resid` enters block `layer`; rows are the pairs in order, once or more often.

        `replay`: what runs it, where that is not all positions.
        """
        last, times = (replay or self.replay).run_from(layer, resid), len(resid) // len(self.ids)
        return self.replay.logit_difference(last, self.right.repeat(times), self.wrong.repeat(times))

    def run_keeping(self, embedded: Tensor, sites: Sequence[str]) -> tuple[Float[Tensor, " rows"], list[Tensor]]:
        """The metric when `embedded` enters block 0, and what it is made of at each site, which gradients reach.

        Raises: UnknownHookError where there is no such site.
        """
        kept: dict[str, Tensor] = {}

        def keeping(site: str) -> ChangeFn:
            def keep(values: Tensor) -> Tensor:
                kept[site] = values
                return values  # what follows reads this very tensor: some modules are given another view of it

            return keep

        with change_sites(self.replay.model, {site: keeping(site) for site in sites}):
            metric = self.metric_from(0, embedded)
        return metric, [kept[site] for site in sites]

    def of_pairs(self, places: slice) -> "Arm":
        """The same of some of the pairs."""
        tensors = {name: getattr(self, name)[places] for name in ("ids", "right", "wrong", "embedded", "metric")}
        return replace(self, streams=[stream[places] for stream in self.streams], **tensors)


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

    def with_effect(self) -> Self:
        """The same. Raises: ConfigError where the mean metric is alike in both arms: there is nothing to share out."""
        if not len(self.pairs) or float(self.total.mean()):
            return self
        raise ConfigError(
            f"after clean and corrupted prompts of {len(self.pairs)} pairs of {self.pairs[0].contrast} the mean logit "
            f"difference is {float(self.clean.metric.mean()):.3g} alike: there is no effect to explain\n"
            "Give another --contrast, or more pairs"
        )

    def of_pairs(self, first: int, end: int) -> "Arms":
        """The same of the pairs from `first` to before `end`."""
        places = slice(first, end)
        return Arms(self.pairs[places], self.clean.of_pairs(places), self.corrupted.of_pairs(places))

    def in_parts(self, n_pairs: int) -> Iterator["Arms"]:
        """Of so many pairs at most, in order."""
        for first in range(0, len(self.pairs), n_pairs):
            yield self.of_pairs(first, first + n_pairs)

    def named_positions(self) -> dict[str, int]:
        """Positions of the streams by name, each once: those that are the same place have both names, with +."""
        names_at: dict[int, str] = {}
        for name in self.pairs[0].positions:
            place = self.position(name)
            names_at[place] = f"{names_at[place]}+{name}" if place in names_at else name
        return {name: place for place, name in sorted(names_at.items())}

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
    return Arms([*pairs], *(_arm(replay, ids, right, wrong) for ids in (clean, corrupted)))


@torch.no_grad()
def _arm(replay: Replay, ids: Tensor, right: Tensor, wrong: Tensor) -> Arm:
    embedded, parts = replay.embedded(ids), []
    for some in embedded.split(ROWS_AT_ONCE):
        parts.append(replay.streams(some))
    streams = [torch.cat(layer) for layer in zip(*parts, strict=True)]
    metric = replay.logit_difference(streams[-1], right, wrong)
    return Arm(replay, ids, right, wrong, embedded, streams, metric)


def _n_shared(clean: Tensor, corrupted: Tensor, pairs: Sequence[ErrorPair]) -> int:
    """How many tokens stand before the code of every pair, all of them the same."""
    both = torch.cat([clean, corrupted])
    alike = int((both == both[:1]).all(0).long().cumprod(0).sum())
    return min([alike, *(pair.code_start for pair in pairs)])


def width_of_a_head(arms: Arms, values: Tensor) -> int:
    """Raises: ConfigError where what attention's last product reads is not that of so many heads."""
    model = arms.replay.model
    n_heads = model.config.get_text_config().num_attention_heads
    if values.shape[-1] % n_heads:
        raise ConfigError(
            f"the heads of {name_of(model)} cannot be told apart: the last product of its attention reads "
            f"{values.shape[-1]} numbers, of {n_heads} heads\nGive a --model whose heads all have one width"
        )
    return values.shape[-1] // n_heads
