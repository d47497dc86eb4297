"""Both arms of some pairs, and what stands at the dictionaries' sites in them, split into latents and errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.errors import ConfigError
from common.model.hooks import change_sites, read_sites
from common.model.language_model import LanguageModel
from common.model.replay import Replay
from common.model.sites import RESID_POST
from phase6_error_circuits.arms import Arm, arms_of
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
class SplitArm:
    """One program of each pair: its run, and the values in it."""

    run: Arm
    values: Values

    @property
    def metric(self) -> Float[Tensor, " pair"]:
        return self.run.metric


@dataclass(frozen=True, eq=False)
class SplitArms:
    """Both arms of some pairs. `columns` are the latents of a layer that fire in either arm, ascending.

    A change is made in the clean arm: see `swapped`.
    """

    dictionaries: SiteDictionaries
    columns: Mapping[int, Int[Tensor, " n"]]
    clean: SplitArm
    corrupted: SplitArm

    @property
    def replay(self) -> Replay:
        return self.clean.run.replay

    @property
    def device(self) -> str:
        return str(self.clean.metric.device)

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

    def entering(self, layer: int) -> Float[Tensor, "pair pos d_model"]:
        """The stream that enters a block of the clean run."""
        return self.clean.run.entering(layer)

    def metric(self, stream: Tensor) -> Float[Tensor, " pair"]:
        """Of the stream behind the last block."""
        return self.clean.run.metric_from(self.replay.n_layers, stream)

    def block(self, layer: int, stream: Tensor, change: ChangeFn | None = None) -> Tensor:
        """The stream after a block; where there is a change, it is made at the site of the dictionaries."""
        if change is None:
            return self.replay.block(layer, stream)
        if self.dictionaries.kind == RESID_POST:
            return change(self.replay.block(layer, stream))
        with change_sites(self.replay.model, {self.dictionaries.site(layer): change}):
            return self.replay.block(layer, stream)

    def metric_with(self, layer: int, value: Tensor) -> Float[Tensor, " rows"]:
        """The metric of the clean run when `value` stands at the site of a layer; of the pairs once or more often."""
        stream = value
        if self.dictionaries.kind != RESID_POST:
            entering = self.entering(layer).repeat(len(value) // self.n_pairs, 1, 1)
            stream = self.block(layer, entering, lambda _: value)
        return self.clean.run.metric_from(layer + 1, stream)

    def on_columns(self, columns: Mapping[int, Int[Tensor, " n"]]) -> Self:
        """The same with other columns, among which are all of its own."""

        def moved(arm: SplitArm) -> SplitArm:
            latents = {
                layer: take_latents(self.columns[layer], acts, columns[layer])
                for layer, acts in arm.values.latents.items()
            }
            return SplitArm(arm.run, dataclasses.replace(arm.values, latents=latents))

        return dataclasses.replace(self, columns=columns, clean=moved(self.clean), corrupted=moved(self.corrupted))


def batches_of(
    lm: LanguageModel, dictionaries: SiteDictionaries, pairs: Sequence[ErrorPair], size: int
) -> list[SplitArms]:
    """Pairs of one shape, `size` together; positions of streams count from the first token of the code."""
    return [split_arms_of(lm, dictionaries, pairs[first : first + size]) for first in range(0, len(pairs), size)]


@torch.no_grad()
def split_arms_of(lm: LanguageModel, dictionaries: SiteDictionaries, pairs: Sequence[ErrorPair]) -> SplitArms:
    """Pairs of one shape, run together. Of a layer's latents no more than the columns is ever kept.

    Raises: ConfigError where streams cannot begin with the code.
    """
    arms = arms_of(lm, pairs)
    if arms.offset != pairs[0].code_start:
        raise ConfigError(
            f"{lm.name} hands on more than keys and values, so its prompts are read from token {arms.offset} on, "
            f"not from the code's first, {pairs[0].code_start}: phases 6.3 to 6.5 cannot tell where nodes stand\n"
            "Take phases 6.2 and 6.4b, which can; or a model that has attention in every layer"
        )
    runs = (arms.clean, arms.corrupted)
    wholes = [values_at_sites(run, dictionaries) for run in runs]
    columns: dict[int, Tensor] = {}
    latents: list[dict[int, Tensor]] = [{}, {}]
    errors: list[dict[int, Tensor]] = [{}, {}]
    for layer in dictionaries.layers:
        split = [dictionaries.split(layer, whole[layer]) for whole in wholes]
        fires = torch.stack([(acts != 0).flatten(0, 1).any(0) for acts, _ in split]).any(0)
        columns[layer] = fires.nonzero().flatten()
        for number, (acts, error) in enumerate(split):
            latents[number][layer], errors[number][layer] = acts[..., columns[layer]], error
    clean, corrupted = (
        SplitArm(run, Values(wholes[number], latents[number], errors[number])) for number, run in enumerate(runs)
    )
    return SplitArms(dictionaries, columns, clean, corrupted)


def values_at_sites(run: Arm, dictionaries: SiteDictionaries) -> dict[int, Tensor]:
    """What stands at the site of each layer of a run, [pair, pos, d_model]."""
    if dictionaries.kind == RESID_POST:
        return {layer: run.streams[layer] for layer in dictionaries.layers}
    values: dict[int, Tensor] = {}
    for layer in dictionaries.layers:

        def take(_site: str, value: Tensor, layer: int = layer) -> None:
            values[layer] = value.clone()

        with read_sites(run.replay.model, [dictionaries.site(layer)], take):
            run.replay.block(layer, run.entering(layer))
    return values


def take_latents(columns: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Those of `wanted` latents out of values [..., columns]; zero for a latent that has no column."""
    if len(columns) == 0:
        return values.new_zeros(*values.shape[:-1], len(wanted))
    places = torch.searchsorted(columns, wanted).clamp(max=len(columns) - 1)
    return values[..., places] * (columns[places] == wanted)
