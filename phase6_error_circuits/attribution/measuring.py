"""One shape measured: nodes by three methods, the largest by really changing them; errors, null and held-out pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.handoffs.error_attribution import (
    AgainstExact,
    AllErrors,
    AttributedShape,
    ErrorShares,
    HeldOutAttribution,
    LayerAttribution,
    NullNodes,
)
from common.model.language_model import LanguageModel
from phase6_error_circuits.attribution.config import ErrorAttributionConfig
from phase6_error_circuits.latents.cutting import cut_of, removed
from phase6_error_circuits.latents.dictionaries import SiteDictionaries
from phase6_error_circuits.latents.exact import denoising, mean_over_pairs, noising, parts_of_layer
from phase6_error_circuits.latents.gradients import (
    CLEAN,
    CORRUPTED,
    IG,
    METHODS,
    along,
    corrupted_of,
    first_order,
    integrated,
)
from phase6_error_circuits.latents.nodes import Importance, Node
from phase6_error_circuits.latents.shares import Bootstrap, linear_correlation, rank_correlation, share
from phase6_error_circuits.latents.split_arms import SplitArms, batches_of
from phase6_error_circuits.latents.studied import StudiedShape

Tried = dict[Node, tuple[float, float]]  # noising and denoising


@dataclass(frozen=True)
class Measured:
    """What is told of a shape, and of each of its nodes: by method, and where it was tried by noising and denoising."""

    told: AttributedShape
    by_method: dict[str, Importance]
    tried: Tried


@dataclass(frozen=True)
class Measurer:
    """Measures shapes with one model and its dictionaries."""

    lm: LanguageModel
    dictionaries: SiteDictionaries
    config: ErrorAttributionConfig

    def measure(self, shape: StudiedShape) -> Measured:
        """All that phase 6.3 tells of one shape."""
        config = self.config
        batches = batches_of(self.lm, self.dictionaries, shape.select, config.batch_size)
        others = corrupted_of(batches)
        ig = integrated(batches, others, config.n_points)
        by_method = {
            CLEAN: first_order(batches, others, 0.0),
            CORRUPTED: first_order(batches, others, 1.0),
            IG: ig.importance,
        }
        nodes = ig.importance.nodes()
        tried = {node: _tried(batches, node) for node in [*nodes][: config.n_exact]}
        effect, bootstrap = _effect(batches), self.bootstrap(batches)
        told = AttributedShape(
            contrast=shape.contrast,
            format=shape.format,
            template=shape.template,
            shape=shape.shape,
            n_tokens=shape.example.n_tokens,
            n=len(shape.select),
            clean=mean_over_pairs([arms.clean.metric for arms in batches]),
            corrupted=mean_over_pairs([arms.corrupted.metric for arms in batches]),
            effect=bootstrap.mean(effect),
            n_nodes=len(nodes),
            layers=layers_of(batches, shape.named, by_method, ig.n_points, float(effect.mean())),
            error_share=all_errors(batches, bootstrap),
            null_pairs=self._null(shape, ig.n_points, nodes),
            exact=against_exact(by_method, tried),
            held_out=self._held_out(shape, ig.n_points, nodes),
        )
        return Measured(told, by_method, tried)

    def bootstrap(self, batches: Sequence[SplitArms]) -> Bootstrap:
        return Bootstrap(sum(arms.n_pairs for arms in batches), self.config.n_resamples, self.config.seed)

    def _null(self, shape: StudiedShape, n_points: Mapping[int, int], nodes: dict[Node, float]) -> NullNodes:
        """Without null pairs nothing is known of chance, and no node counts."""
        if not shape.null_pairs:
            return NullNodes(n=0, change=None, largest=0.0, above=0)
        batches = batches_of(self.lm, self.dictionaries, shape.null_pairs, self.config.batch_size)
        largest = along(batches, corrupted_of(batches), n_points).largest()
        return NullNodes(
            n=len(shape.null_pairs),
            change=float(_effect(batches).abs().mean()),
            largest=largest,
            above=sum(abs(value) > largest for value in nodes.values()),
        )

    def _held_out(
        self, shape: StudiedShape, n_points: Mapping[int, int], nodes: dict[Node, float]
    ) -> HeldOutAttribution | None:
        if not shape.held_out:
            return None
        batches = batches_of(self.lm, self.dictionaries, shape.held_out, self.config.batch_size)
        importance, effect = along(batches, corrupted_of(batches), n_points), _effect(batches)
        bootstrap, top = self.bootstrap(batches), [*nodes][:100]
        return HeldOutAttribution(
            n=len(shape.held_out),
            effect=bootstrap.mean(effect),
            sums={
                str(layer): share(importance.sum_of(layer), float(effect.mean())) for layer in self.dictionaries.layers
            },
            error_share=all_errors(batches, bootstrap).share,
            n_nodes=len(top),
            agreement=rank_correlation([nodes[node] for node in top], [importance.of(node) for node in top]),
        )


def layers_of(
    batches: Sequence[SplitArms],
    named: dict[str, int],
    by_method: dict[str, Importance],
    n_points: Mapping[int, int],
    effect: float,
) -> list[LayerAttribution]:
    """What is told of each layer."""
    layers = []
    for layer in batches[0].dictionaries.layers:
        parts = [parts_of_layer(arms, layer) for arms in batches]
        errors, latents, whole = (mean_over_pairs([part[number] for part in parts]) for number in range(3))
        sums = {method: share(by_method[method].sum_of(layer), effect) for method in METHODS}
        ig = by_method[IG]
        of_errors, of_latents = ig.errors[layer], ig.latents[layer]
        shares = ErrorShares(
            signed=share(float(of_errors.sum()), effect),
            absolute=share(float(of_errors.abs().sum()), float(of_errors.abs().sum() + of_latents.abs().sum())),
            exact=share(errors, effect),
            latents=share(latents, effect),
        )
        layers.append(
            LayerAttribution(
                layer=layer,
                worth=share(whole, effect),
                **sums,
                n_points=n_points[layer],
                errors=shares,
                differs={name: error_of_difference(batches, layer, pos) for name, pos in named.items()},
            )
        )
    return layers


def error_of_difference(batches: Sequence[SplitArms], layer: int, pos: int) -> float | None:
    """|d error|^2 / |d value|^2 at a position, over all pairs; None where nothing differs."""
    squares = []
    for part in ("errors", "whole"):
        differences = [
            (getattr(arms.clean.values, part)[layer] - getattr(arms.corrupted.values, part)[layer])[:, pos].float()
            for arms in batches
        ]
        squares.append(sum(float(one.square().sum()) for one in differences))
    return share(*squares)


@torch.no_grad()
def all_errors(batches: Sequence[SplitArms], bootstrap: Bootstrap) -> AllErrors:
    """What is lost when the errors of all layers are the corrupted ones, and what the model says without any."""
    lost, metrics = [], ([], [])
    for arms in batches:
        cut = cut_of([], arms.dictionaries.layers, arms.n_pos, arms.device, every_error=True)
        lost.append(arms.clean.metric - removed(arms, cut, arms.corrupted.values))
        for one, of_program in zip((arms, arms.swapped()), metrics, strict=True):
            values = one.clean.values
            nothing = {layer: torch.zeros_like(error) for layer, error in values.errors.items()}
            of_program.append(removed(one, cut, dataclasses.replace(values, errors=nothing)))
    return AllErrors(
        share=bootstrap.ratio(torch.cat(lost), _effect(batches)),
        clean=mean_over_pairs(metrics[0]),
        corrupted=mean_over_pairs(metrics[1]),
    )


def against_exact(by_method: dict[str, Importance], tried: Tried) -> AgainstExact:
    """How each method ranks the nodes that were tried."""
    noised, denoised = [both[0] for both in tried.values()], [both[1] for both in tried.values()]
    means = [(one + other) / 2 for one, other in tried.values()]
    guesses = {method: [importance.of(node) for node in tried] for method, importance in by_method.items()}
    return AgainstExact(
        n=len(tried),
        between=rank_correlation(noised, denoised),
        noising={method: rank_correlation(guess, noised) for method, guess in guesses.items()},
        denoising={method: rank_correlation(guess, denoised) for method, guess in guesses.items()},
        mean={method: rank_correlation(guess, means) for method, guess in guesses.items()},
        pearson={method: linear_correlation(guess, means) for method, guess in guesses.items()},
    )


def _tried(batches: Sequence[SplitArms], node: Node) -> tuple[float, float]:
    noised, denoised = ([change(arms, node) for arms in batches] for change in (noising, denoising))
    return mean_over_pairs(noised), mean_over_pairs(denoised)


def _effect(batches: Sequence[SplitArms]) -> Tensor:
    return torch.cat([arms.effect for arms in batches])
