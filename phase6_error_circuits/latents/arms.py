"""Pairs of one shape run through the model: clean and corrupted arm, and what stands at the dictionaries' sites."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.model.hooks import change_sites
from common.model.language_model import LanguageModel
from common.model.replay import Replay
from common.model.sites import RESID_POST
from phase6_error_circuits.latents.dictionaries import SiteDictionaries
from phase6_error_circuits.pair import ErrorPair

ChangeFn = Callable[[Tensor], Tensor]
ByLayer = Mapping[int, Tensor]


@dataclass(frozen=True, eq=False)
class Values:
    """What stands at the site of every layer: the value [pair, pos, d_model], its latents in `columns`, its error.

    The first dimension may be 1: the same for every pair.
    """

    whole: ByLayer
    latents: ByLayer
    errors: ByLayer


@dataclass(frozen=True, eq=False)
class Arm:
    """One program of each pair: the stream that enters each block, and behind the last; the values; the metric."""

    entering: Sequence[Float[Tensor, "pair pos d_model"]]
    values: Values
    metric: Float[Tensor, " pair"]


@dataclass(frozen=True, eq=False)
class Arms:
    """Both arms of some pairs. `columns` are the latents of a layer that fire in either arm, ascending.

    `answers` are the two tokens of each pair. A change is made in the clean arm: see `swapped`.
    """

    dictionaries: SiteDictionaries
    replay: Replay
    answers: tuple[Int[Tensor, " pair"], Int[Tensor, " pair"]]
    columns: Mapping[int, Int[Tensor, " n"]]
    clean: Arm
    corrupted: Arm

    @property
    def n_pairs(self) -> int:
        return len(self.clean.metric)

    @property
    def n_pos(self) -> int:
        return self.replay.n_positions

    @property
    def effect(self) -> Float[Tensor, " pair"]:
        """The whole effect of each pair: the metric of the clean run minus that of the corrupted one."""
        return self.clean.metric - self.corrupted.metric

    def swapped(self) -> Self:
        """The same pairs the other way round: changes are made in the corrupted run."""
        return dataclasses.replace(self, clean=self.corrupted, corrupted=self.clean)

    def metric(self, stream: Tensor) -> Float[Tensor, " pair"]:
        """Of the stream behind the last block."""
        return self.replay.logit_difference(stream, *self.answers)

    def block(self, layer: int, stream: Tensor, change: ChangeFn | None = None) -> Tensor:
        """The stream after a block; where there is a change, it is made at the site of the dictionaries."""
        if change is None:
            return self.replay.block(layer, stream)
        if self.dictionaries.kind == RESID_POST:
            return change(self.replay.block(layer, stream))
        with change_sites(self.replay.model, {self.dictionaries.site(layer): change}):
            return self.replay.block(layer, stream)

    def metric_with(self, layer: int, value: Tensor) -> Float[Tensor, " pair"]:
        """The metric of the clean run when `value` stands at the site of a layer."""
        stream = value
        if self.dictionaries.kind != RESID_POST:
            stream = self.block(layer, self.clean.entering[layer], lambda _: value)
        return self.metric(self.replay.run_from(layer + 1, stream))


def batches_of(lm: LanguageModel, dictionaries: SiteDictionaries, pairs: Sequence[ErrorPair], size: int) -> list[Arms]:
    """Pairs of one shape, `size` together; positions count from the first token of the code."""
    ids = torch.tensor([pairs[0].clean_ids], device=lm.device)
    replay = Replay(lm.model, ids, pairs[0].code_start)
    return [arms_of(replay, dictionaries, pairs[first : first + size]) for first in range(0, len(pairs), size)]


@torch.no_grad()
def arms_of(replay: Replay, dictionaries: SiteDictionaries, pairs: Sequence[ErrorPair]) -> Arms:
    """Pairs of one shape, run together."""
    device = next(replay.model.parameters()).device
    right, wrong = (torch.tensor([pair.answers[place] for pair in pairs], device=device) for place in (0, 1))
    prompts = [[pair.clean_ids for pair in pairs], [pair.corrupted_ids for pair in pairs]]
    read = [_read(replay, dictionaries, torch.tensor(ids, device=device)) for ids in prompts]
    split = [{layer: dictionaries.split(layer, value) for layer, value in whole.items()} for _, whole in read]
    columns = {
        layer: torch.stack([(one[layer][0] != 0).flatten(0, 1).any(0) for one in split]).any(0).nonzero().flatten()
        for layer in dictionaries.layers
    }
    arms = []
    for (entering, whole), own in zip(read, split, strict=True):
        latents = {layer: found[..., columns[layer]] for layer, (found, _) in own.items()}
        errors = {layer: error for layer, (_, error) in own.items()}
        metric = replay.logit_difference(entering[-1], right, wrong)
        arms.append(Arm(entering, Values(whole, latents, errors), metric))
    return Arms(dictionaries, replay, (right, wrong), columns, *arms)


def _read(
    replay: Replay, dictionaries: SiteDictionaries, prompts: Int[Tensor, "pair n_tokens"]
) -> tuple[list[Tensor], dict[int, Tensor]]:
    """The stream that enters each block, and behind the last one; and the value at each site."""
    entering, whole = [replay.embedded(prompts)], {}
    for layer in range(replay.n_layers):

        def keep(value: Tensor, layer: int = layer) -> Tensor:
            whole[layer] = value.clone()
            return value

        sites = {dictionaries.site(layer): keep} if layer in dictionaries.by_layer else {}
        with change_sites(replay.model, sites):
            entering.append(replay.block(layer, entering[-1]))
    return entering, whole


def take_latents(columns: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Those of `wanted` latents out of values [..., columns]; zero for a latent that has no column."""
    if len(columns) == 0:
        return values.new_zeros(*values.shape[:-1], len(wanted))
    places = torch.searchsorted(columns, wanted).clamp(max=len(columns) - 1)
    return values[..., places] * (columns[places] == wanted)
