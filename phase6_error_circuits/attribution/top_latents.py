"""The strongest latents of each contrast: where they stand, what they are worth, which tokens they write."""

from __future__ import annotations

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Sequence
from logging import Logger
from typing import Any

import torch
from torch import Tensor

from common.errors import PipelineError
from common.handoffs.error_attribution import AttributedShape, PromotedToken, TopLatent, TopLatentsDocument
from common.model.loading import load_tokenizer
from common.model.unembedding import Unembedding, find_unembedding
from common.saes.encoder import LayerSae, load_sae
from common.saes.settings import SaeConfig
from common.saes.sources import SaeSource
from common.tables import TableRow
from phase6_error_circuits.latents.nodes import LATENT
from phase6_error_circuits.latents.shares import share

N_TOKENS = 10  # to either side
AT_ONCE = 128  # latents: their effects on a vocabulary of 256,000 take 130 MB
Key = tuple[int, int, str]  # layer, latent, place


class Ends:
    """What a latent writes, and where its page is: the dictionaries and the end of the model, read when asked for."""

    def __init__(self, config: SaeConfig, source: SaeSource, log: Logger) -> None:
        self.config, self.source, self.log = config, source, log
        self._saes: dict[int, LayerSae] = {}

    def of_each(self, latents: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
        """Tokens that each latent, given by layer and number, raises and lowers most, and its page."""
        ends = []
        for first in range(0, len(latents), AT_ONCE):
            some = latents[first : first + AT_ONCE]
            saes = [self._sae(layer) for layer, _ in some]
            tokens = self._tokens([sae.W_dec[latent] for sae, (_, latent) in zip(saes, some, strict=True)])
            pages = [sae.neuronpedia_url(latent) for sae, (_, latent) in zip(saes, some, strict=True)]
            ends += [{**written, "url": page} for written, page in zip(tokens, pages, strict=True)]
        return ends

    def _tokens(self, directions: Sequence[Tensor]) -> list[dict[str, list[PromotedToken] | None]]:
        if (end := self._unembedding) is None:
            return [{"promotes": None, "suppresses": None} for _ in directions]
        tokens = []
        for effects in end.effects_of(torch.stack([*directions]), len(self._tokenizer)):
            order = effects.argsort(descending=True).tolist()
            ends = {"promotes": order[:N_TOKENS], "suppresses": order[: -N_TOKENS - 1 : -1]}
            tokens.append({name: [self._token(one, effects) for one in places] for name, places in ends.items()})
        return tokens

    def _token(self, token: int, effects: Tensor) -> PromotedToken:
        return PromotedToken(token=str(self._tokenizer.decode([token])), effect=float(effects[token]))

    def _sae(self, layer: int) -> LayerSae:
        if layer not in self._saes:
            self._saes[layer] = load_sae(self.source, layer)
        return self._saes[layer]

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return load_tokenizer(self.config.model, self.config.revision)

    @functools.cached_property
    def _unembedding(self) -> Unembedding | None:
        try:
            return find_unembedding(self.config.model, self.config.revision)
        except PipelineError as error:
            self.log.info("which tokens latents promote is not told: %s", str(error).partition("\n")[0])
            return None


def top_latents(nodes: Sequence[TableRow], shapes: Sequence[AttributedShape], n: int, ends: Ends) -> TopLatentsDocument:
    """The `n` strongest of every contrast; `nodes` are the rows of nodes.parquet."""
    of_contrast = {}
    for contrast in dict.fromkeys(shape.contrast for shape in shapes):
        its_shapes = [shape for shape in shapes if shape.contrast == contrast]
        tops = strongest([row for row in nodes if row["contrast"] == contrast], its_shapes, n)
        written = ends.of_each([(top.layer, top.latent) for top in tops])
        of_contrast[contrast] = [dataclasses.replace(top, **told) for top, told in zip(tops, written, strict=True)]
    return TopLatentsDocument(contrasts=of_contrast)


def strongest(rows: Sequence[TableRow], shapes: Sequence[AttributedShape], n: int) -> list[TopLatent]:
    """Latents by place, means over the pairs of all shapes; what they write is left open."""
    groups: defaultdict[Key, list[TableRow]] = defaultdict(list)
    for row in rows:
        if row["kind"] == LATENT:
            groups[row["layer"], row["latent"], row["place"]].append(row)
    n_pairs = {(shape.template, shape.shape): shape.n for shape in shapes}
    n_all = sum(n_pairs.values())
    whole = sum(shape.effect.known * shape.n for shape in shapes) / n_all

    def effect_of(key: Key) -> float:
        return sum(row["ig"] * n_pairs[row["template"], row["shape"]] for row in groups[key]) / n_all

    ranked = sorted(groups, key=lambda key: -abs(effect_of(key)))[:n]
    return [_top(key, effect_of(key), groups[key], shapes, whole) for key in ranked]


def _top(
    key: Key, effect: float, rows: Sequence[TableRow], shapes: Sequence[AttributedShape], whole: float
) -> TopLatent:
    effects = {shape.template: 0.0 for shape in shapes}
    pairs = {shape.template: sum(one.n for one in shapes if one.template == shape.template) for shape in shapes}
    wholes = {
        name: sum(one.effect.known * one.n for one in shapes if one.template == name) / n for name, n in pairs.items()
    }
    n_of = {(shape.template, shape.shape): shape.n for shape in shapes}
    for row in rows:
        name = row["template"]
        effects[name] += row["ig"] * n_of[name, row["shape"]] / pairs[name]

    def tried(column: str) -> float | None:
        known = [(row[column], n_of[row["template"], row["shape"]]) for row in rows if row[column] is not None]
        return sum(value * n for value, n in known) / sum(n for _, n in known) if known else None

    layer, latent, place = key
    return TopLatent(
        layer=layer,
        latent=latent,
        place=place,
        effect=effect,
        share=share(effect, whole),
        noising=tried("noising"),
        denoising=tried("denoising"),
        above_null=any(row["above_null"] for row in rows),
        templates={name: share(effect_there, wholes[name]) for name, effect_there in effects.items()},
        promotes=None,
        suppresses=None,
        url=None,
    )
