"""The documents of phase 6.3: which latents carry the difference between two errors, and how much no latent carries."""

from __future__ import annotations

from dataclasses import dataclass

from common.handoffs.estimates import Interval


@dataclass(frozen=True, kw_only=True)
class ErrorShares:
    """How much of the whole effect the error nodes of one layer carry.

    `signed`: their sum by integrated gradients; `absolute`: their part of the sum of absolute values of all nodes.
    `exact`: what the clean run really loses when all errors of the layer are the corrupted ones, `latents` when all its
    latents are: the two need not add up to what the layer is worth.
    """

    signed: float | None
    absolute: float | None
    exact: float | None
    latents: float | None


@dataclass(frozen=True, kw_only=True)
class LayerAttribution:
    """One layer with a dictionary. Shares are of the whole effect.

    `worth`: what the clean run really loses when its whole value is the corrupted one: 1 at the residual stream.
    `clean`, `corrupted` and `ig` are the sums of all its nodes by the gradient at the clean end, at the corrupted end,
    and at `n_points` points between. `differs`: by named position, the square of what differs in the error over the
    square of what differs in the value: above 1 the dictionary loses more than there is to see.
    """

    layer: int
    worth: float | None
    clean: float | None
    corrupted: float | None
    ig: float | None
    n_points: int
    errors: ErrorShares
    differs: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class AllErrors:
    """All layers together: `share` of the effect is lost when the errors of all of them are the corrupted ones.

    `clean` and `corrupted` are the two metrics without any error: what the model says when the dictionaries stand in.
    """

    share: Interval
    clean: float
    corrupted: float


@dataclass(frozen=True, kw_only=True)
class NullNodes:
    """`n` pairs of two clean programs, no program in two of them: `change` is the mean absolute change of the metric.

    A node counts where it is larger than `largest`, the largest node of these pairs: `above` nodes of the real pairs.
    """

    n: int
    change: float | None
    largest: float
    above: int


@dataclass(frozen=True, kw_only=True)
class AgainstExact:
    """`n` nodes, the largest by integrated gradients, beside what really changing them does.

    Rank correlations of each method (clean, corrupted, ig) with noising, denoising and the mean of both, and Pearson's
    with that mean. `between`: of noising with denoising. None where one of the two is constant.
    """

    n: int
    between: float | None
    noising: dict[str, float | None]
    denoising: dict[str, float | None]
    mean: dict[str, float | None]
    pearson: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class HeldOutAttribution:
    """The same on pairs of other words: `sums` by layer as shares of their effect, and their share of the errors.

    `agreement`: rank correlation of the `n_nodes` largest nodes with what they are worth here.
    """

    n: int
    effect: Interval
    sums: dict[str, float | None]
    error_share: Interval
    n_nodes: int
    agreement: float | None


@dataclass(frozen=True, kw_only=True)
class AttributedShape:
    """Pairs of one template and shape: `n` select. `effect` is m(clean) - m(corrupted), mean over pairs.

    `n_nodes` nodes differ between the two runs; what is told of nodes is in nodes.parquet.
    """

    contrast: str
    format: str
    template: str
    shape: int
    n_tokens: int
    n: int
    clean: float
    corrupted: float
    effect: Interval
    n_nodes: int
    layers: list[LayerAttribution]
    error_share: AllErrors
    null_pairs: NullNodes
    exact: AgainstExact
    held_out: HeldOutAttribution | None


@dataclass(frozen=True, kw_only=True)
class ErrorAttributionDocument:
    """attribution.json; `site` is what the dictionaries read. `n` pairs select.

    `error_share`, `null_pairs` and `held_out` are those of the first of `shapes`, the one with most pairs of the
    contrast that is studied.
    """

    site: str
    dictionaries: str
    note: str
    n: int
    error_share: AllErrors
    null_pairs: NullNodes
    held_out: HeldOutAttribution | None
    shapes: list[AttributedShape]


@dataclass(frozen=True, kw_only=True)
class PromotedToken:
    """A token that a latent raises by its direct path, and by how much per unit of activation before the last norm."""

    token: str
    effect: float


@dataclass(frozen=True, kw_only=True)
class TopLatent:
    """A latent at a place of the prompt.

    `effect` is its importance by integrated gradients in the logit difference, positive where it supports the first
    error; `share` that of the whole effect; both means over the pairs of all templates of the contrast, 0 where a
    template has no such place. `noising` and `denoising` are what really changing it does, in the pairs where it was
    tried. `templates`: the share in each. `above_null`: whether it counts in one of them at least. `url`: its page,
    with a label, where Neuronpedia has these dictionaries. `promotes` and `suppresses` are None where the model's end
    is none that tells.
    """

    layer: int
    latent: int
    place: str
    effect: float
    share: float | None
    noising: float | None
    denoising: float | None
    above_null: bool
    templates: dict[str, float | None]
    promotes: list[PromotedToken] | None
    suppresses: list[PromotedToken] | None
    url: str | None


@dataclass(frozen=True, kw_only=True)
class TopLatentsDocument:
    """top_latents.json: the strongest latents of each contrast, by absolute effect."""

    contrasts: dict[str, list[TopLatent]]
