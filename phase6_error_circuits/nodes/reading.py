"""What latents and nodes do in the pairs of one shape: activations at every token, and what they are worth there.

An importance by integrated gradients falls into two parts, one for each program. With g the mean gradient of the metric
along the line from clean to corrupted, latent f of decoder row d adds f(clean) d.g to the clean program's error, and
-f(corrupted) d.g to the corrupted program's error, each beyond the other one. Their sum is the latent's effect.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.model.language_model import LanguageModel
from common.saes.dictionary import Latent
from phase6_error_circuits.arms import Arms, arms_of
from phase6_error_circuits.latents.dictionaries import SiteDictionaries
from phase6_error_circuits.latents.gradients import error_parts, gradient, latent_parts, midpoints
from phase6_error_circuits.latents.shares import share
from phase6_error_circuits.latents.split_arms import SplitArm, SplitArms, Values, values_at_sites
from phase6_error_circuits.latents.studied import StudiedShape
from phase6_error_circuits.nodes.config import ErrorNodesConfig
from phase6_error_circuits.nodes.told import Place, RankedNode
from phase6_error_circuits.pair import SELECT, ErrorPair

ARMS = ("clean", "corrupted")


@dataclass(frozen=True)
class PairProgram:
    """One program of a pair: `ids` are those of its whole prompt."""

    pair: ErrorPair
    arm: str

    @property
    def ids(self) -> list[int]:
        return getattr(self.pair, f"{self.arm}_ids")

    @property
    def error(self) -> str:
        return getattr(self.pair, f"{self.arm}_error")

    def facts(self) -> list[Any]:
        """As a record holds it."""
        return [self.pair.pair, self.pair.split, self.arm, self.error]


class Effects:
    """Sums over pairs that select: of the whole effect, of each latent, of each node at its place, if there is one."""

    def __init__(self, n_latents: int, n_places: int) -> None:
        self.whole = 0.0
        self.added = np.zeros((len(ARMS), n_latents))
        self.at_place: list[float | None] = [None] * n_places

    def means(self, n: int) -> dict[str, Any]:
        at_place = [None if value is None else value / n for value in self.at_place]
        return {"whole": self.whole / n, "added": (self.added / n).tolist(), "at_place": at_place}


class AtHome:
    """Sums over pairs that select of what stands at the nodes of the shape on which they were found.

    Of both programs the size; of an error besides the squares of what differs in it, and in the value.
    """

    def __init__(self, nodes: Sequence[RankedNode], shape: StudiedShape) -> None:
        self.nodes = [(node.at, node.position - shape.example.code_start) for node in nodes]
        self._sizes = np.zeros((len(nodes), len(ARMS)))
        self._differ = np.zeros((len(nodes), 2))

    def add(self, arms: SplitArms) -> None:
        for number, (at, pos) in enumerate(self.nodes):
            self._sizes[number] += [float(_size(arms, run, at, pos).sum()) for run in ARMS]
            if at.latent is None:
                self._differ[number] += _squares_that_differ(arms, at.layer, pos)

    def means(self, n: int) -> list[dict[str, Any]]:
        means = []
        for (at, _), sizes, differ in zip(self.nodes, self._sizes, self._differ, strict=True):
            means.append(dict(zip(ARMS, (sizes / n).tolist(), strict=True)))
            if at.latent is None:
                means[-1]["differs"] = share(*differ.tolist())
        return means


@dataclass(frozen=True, eq=False)
class Reader:
    """Reads latents and nodes in one format of the prompt; `dictionaries` are those of the layers that have nodes.

    `n_points`: at how many points of the line effects are taken, by layer.
    """

    lm: LanguageModel
    dictionaries: SiteDictionaries
    config: ErrorNodesConfig
    n_points: Mapping[int, int]
    latents: Sequence[Latent]
    places: Sequence[Place]

    def read(self, shape: StudiedShape, *, effects: bool, nodes: Sequence[RankedNode]) -> dict[str, Any]:
        """The record of a shape; `nodes` are those that were found on it."""
        pairs, size, n_select = [*shape.select, *shape.held_out], self.config.batch_size, len(shape.select)
        programs = [PairProgram(pair, arm) for pair in pairs for arm in ARMS]
        worth = Effects(len(self.latents), len(self.places)) if effects else None
        home = AtHome(nodes, shape)
        batches = [pairs[first : first + size] for first in range(0, len(pairs), size)]
        acts = torch.cat([self._of_batch(batch, shape, worth, home) for batch in batches]).numpy()
        return {
            "programs": [program.facts() for program in programs],
            "peaks": [[_short(value) for value in peaks] for peaks in acts.max(1).T.tolist()],
            "places": [_places(acts[:, :, number], shape.places) for number in range(len(self.latents))],
            "kept": self._kept(programs, acts, shape, with_examples=bool(nodes)),
            "effects": worth and worth.means(n_select),
            "nodes": home.means(n_select),
        }

    def _of_batch(
        self, pairs: Sequence[ErrorPair], shape: StudiedShape, worth: Effects | None, home: AtHome
    ) -> Float[Tensor, "program pos latent"]:
        """Activations; the pairs that select, which stand first, are added to the sums. Streams are let go with it."""
        arms = arms_of(self.lm, pairs)
        n_select = sum(pair.split == SELECT for pair in pairs)
        if n_select and (worth or home.nodes):
            select = self._split(arms.of_pairs(0, n_select))
            home.add(select)
            if worth:
                self._add_effects(worth, shape, select)
        return self._activations(arms)

    @torch.no_grad()
    def _activations(self, arms: Arms) -> Float[Tensor, "program pos latent"]:
        """Of both programs of each pair, one after the other."""
        both = []
        for run in (arms.clean, arms.corrupted):
            values = values_at_sites(run, self.dictionaries)
            activations = torch.zeros(len(arms.pairs), arms.replay.n_positions, len(self.latents))
            for layer in self.dictionaries.layers:
                places, latents = self._of_layer(layer)
                activations[..., places] = self.dictionaries.some_latents(layer, values[layer], latents).float().cpu()
            both.append(activations)
        return torch.stack(both, dim=1).flatten(0, 1)

    def _of_layer(self, layer: int) -> tuple[list[int], Int[Tensor, " n"]]:
        """The latents of a layer, ascending: their places among all that are read, and their numbers."""
        of_layer = sorted((latent, number) for number, (at, latent) in enumerate(self.latents) if at == layer)
        latents = torch.tensor([latent for latent, _ in of_layer], dtype=torch.long, device=self.lm.device)
        return [number for _, number in of_layer], latents

    @torch.no_grad()
    def _split(self, arms: Arms) -> SplitArms:
        """With the latents that are read alone, and errors only in layers of which one is told of."""
        columns = {layer: self._of_layer(layer)[1] for layer in self.dictionaries.layers}
        with_errors = {at.layer for at in self.places if at.latent is None}
        halves = []
        for run in (arms.clean, arms.corrupted):
            whole = values_at_sites(run, self.dictionaries)
            latents = {layer: self.dictionaries.some_latents(layer, whole[layer], columns[layer]) for layer in columns}
            errors = {layer: self.dictionaries.split(layer, whole[layer])[1] for layer in sorted(with_errors)}
            halves.append(SplitArm(run, Values(whole, latents, errors)))
        return SplitArms(self.dictionaries, columns, *halves)

    def _kept(
        self,
        programs: Sequence[PairProgram],
        acts: Float[np.ndarray, "program pos latent"],
        shape: StudiedShape,
        with_examples: bool,
    ) -> list[dict[str, Any]]:
        """Of each latent the programs that are shown: those in which it fires most, and example pairs."""
        config, first = self.config, shape.example.code_start
        examples = [*shape.select[: config.n_examples], *shape.held_out[: config.n_examples]] if with_examples else []
        shown = {pair.record for pair in examples}
        kept = []
        for number in range(len(self.latents)):
            of_latent = acts[:, :, number]
            tops = _strongest(programs, of_latent, first, config.n_snippets)
            pairs = [place for place, program in enumerate(programs) if program.pair.record in shown]
            kept.append({"top": [_kept_program(i, programs, of_latent) for i in tops]})
            kept[-1]["pair"] = [_kept_program(i, programs, of_latent) for i in pairs]
        return kept

    def _add_effects(self, sums: Effects, shape: StudiedShape, arms: SplitArms) -> None:
        positions = {place: pos for pos, place in enumerate(shape.places)}
        sums.whole += float(arms.effect.sum())
        for layer in self.dictionaries.layers:
            points = midpoints(self.n_points[layer])
            grad = gradient(arms, layer, arms.corrupted.values.whole[layer], points)
            sums.added[:, self._of_layer(layer)[0]] += _added(arms, layer, grad)
            for number, at in enumerate(self.places):
                if at.layer == layer and (pos := positions.get(at.place)) is not None:
                    sums.at_place[number] = (sums.at_place[number] or 0.0) + _worth(arms, at, pos, grad)


def _added(arms: SplitArms, layer: int, grad: Float[Tensor, "pair pos d_model"]) -> Float[np.ndarray, "arm column"]:
    """What the latents of a layer add to the program's own error, summed over pairs and positions."""
    towards = grad @ arms.dictionaries.rows(layer, arms.columns[layer]).T
    both = (run.values.latents[layer] for run in (arms.clean, arms.corrupted))
    sums = [(acts * towards).sum((0, 1)).double().cpu().numpy() for acts in both]
    return np.stack([sums[0], -sums[1]])


def _worth(arms: SplitArms, at: Place, pos: int, grad: Float[Tensor, "pair pos d_model"]) -> float:
    """Importance of a node at a position, summed over pairs."""
    other = arms.corrupted.values
    if at.latent is None:
        return float(error_parts(arms, at.layer, other, grad)[:, pos].sum())
    return float(latent_parts(arms, at.layer, other, grad)[:, pos, arms.columns[at.layer] == at.latent].sum())


def _size(arms: SplitArms, run: str, at: Place, pos: int) -> Float[Tensor, " pair"]:
    """A latent's activation; of an error its length as a share of that of the value."""
    values = getattr(arms, run).values
    if at.latent is not None:
        return values.latents[at.layer][:, pos, arms.columns[at.layer] == at.latent].sum(-1)
    return values.errors[at.layer][:, pos].norm(dim=-1) / values.whole[at.layer][:, pos].float().norm(dim=-1)


def _squares_that_differ(arms: SplitArms, layer: int, pos: int) -> list[float]:
    """|d error|^2 and |d value|^2 at a position, summed over pairs."""
    clean, corrupted = arms.clean.values, arms.corrupted.values
    both = ((clean.errors, corrupted.errors), (clean.whole, corrupted.whole))
    return [float((one[layer] - other[layer])[:, pos].float().square().sum()) for one, other in both]


def _places(acts: Float[np.ndarray, "program pos"], places: Sequence[str]) -> dict[str, int]:
    """In how many programs the largest activation stands at each place, of those in which the latent fires."""
    firing: list[int] = acts[acts.max(1) > 0].argmax(1).tolist()
    return dict(Counter([places[pos] for pos in firing]))


def _strongest(
    programs: Sequence[PairProgram], acts: Float[np.ndarray, "program pos"], first: int, n: int
) -> list[int]:
    """The programs of each split in which a latent fires most; those that are the same up to that token count once."""
    seen: set[tuple[str, tuple[int, ...]]] = set()
    kept: Counter[str] = Counter()
    strongest = []
    for place in np.argsort(-acts.max(1), kind="stable").tolist():
        program, pos = programs[place], int(acts[place].argmax())
        read = program.pair.split, tuple(program.ids[: first + pos + 1])
        if acts[place, pos] > 0 and read not in seen and kept[program.pair.split] < n:
            seen.add(read)
            kept[program.pair.split] += 1
            strongest.append(place)
    return strongest


def _kept_program(place: int, programs: Sequence[PairProgram], acts: Float[np.ndarray, "program pos"]) -> list[Any]:
    """The number of a program, its tokens from the code on, and the activation at each."""
    pair = programs[place].pair
    return [place, programs[place].ids[pair.code_start :], [_short(value) for value in acts[place].tolist()]]


def _short(value: float) -> float:
    """Six digits, all that float32 has, since a record is text; a gate that is closed may give -0."""
    return float(f"{value:.6g}") + 0.0
