"""The document of phase 6.5: what the nodes of a circuit are, where they fire and what they write."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from common.handoffs.error_attribution import PromotedToken
from common.handoffs.estimates import Interval


class NodeSource(enum.StrEnum):
    """Which nodes are told of."""

    CIRCUIT = "of the circuit that phase 6.4 found"
    STRONGEST = "of those that phase 6.3 ranks, since phase 6.4 found no circuit"
    NOT_RUN = "of those that phase 6.3 ranks, since phase 6.4 was not run on this contrast"


@dataclass(frozen=True, kw_only=True)
class ErrorNode:
    """A node that is an error: what the layer's dictionary leaves unexplained at a position. It has no latent.

    `clean` and `corrupted`: the length of the error as a share of that of the value, mean over the pairs that select.
    `differs`: square of what differs in the error between the two programs, over the square of what differs in the
    value.
    """

    clean: float
    corrupted: float
    differs: float | None


@dataclass(frozen=True, kw_only=True)
class LatentNode:
    """A node that is a latent: its mean activation at the node's position, in the latent's own units.

    What the latent is otherwise is told once, whatever the positions of its nodes: see `DescribedLatent`.
    """

    latent: int
    clean: float
    corrupted: float


@dataclass(frozen=True, kw_only=True)
class ToldNode:
    """A node with what phase 6.3 found it to be worth, in the logit difference and as a share of the whole effect.

    `position` counts from the prompt's first token, `token` is what stands there in the example: 'a'/'b' where the two
    programs differ. `templates`: its effect as a share of the template's, at the place of the same name; None where the
    template has no such place. `above_null`: whether it is larger than any node of null pairs.
    """

    layer: int
    position: int
    place: str
    token: str
    effect: float
    share: float | None
    above_null: bool
    what: LatentNode | ErrorNode
    templates: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class KindOfLatent:
    """Programs that raise one error, of both splits: the mean of the latent's largest activation in each of the `n`.

    `fires` is the share in which it is active at all. `added`: what its activation in such programs adds to the logit
    of their own error beyond that of the other one, by integrated gradients, mean over the pairs that select of the
    templates that the gate lets through; None where there are none.
    """

    n: int
    mean: float
    fires: float
    added: float | None


@dataclass(frozen=True, kw_only=True)
class TemplateOfLatent:
    """One template: `clean` and `corrupted` are means of the latent's largest activation in each program.

    `effect` is that of the latent wherever it stands, in the logit difference, and `share` that of the whole effect:
    None where the gate stops the template.
    """

    contrast: str
    template: str
    n: int
    clean: float
    corrupted: float
    effect: float | None
    share: float | None


@dataclass(frozen=True, kw_only=True)
class KindSelectivity:
    """How well a latent tells one error from the others: that in whose programs it is largest on average.

    It is chosen on pairs that select. `auroc` is of the largest activation in each held-out program, of which `n` raise
    that error and `others` another; `within` the same among programs of one template, which differ in one thing.
    Intervals are by a bootstrap over pairs.
    """

    error: str
    n: int
    others: int
    auroc: Interval
    within: Interval


@dataclass(frozen=True, kw_only=True)
class DescribedLatent:
    """What a latent is: read in one format on `n` programs, in `fires` of which it is active.

    `places`: where its largest activation stands, by name, in how many of these; the most frequent first. `kinds` are
    by error. `spread`: the effective number of templates, by the absolute share of each one's whole effect: 1 where the
    latent counts in one alone; None where fewer than two were measured. `promotes` and `suppresses` are None where the
    model's end is none that tells.
    """

    layer: int
    latent: int
    format: str
    n: int
    fires: int
    largest: float
    places: dict[str, int]
    kinds: dict[str, KindOfLatent]
    selective: KindSelectivity | None
    templates: list[TemplateOfLatent]
    spread: float | None
    promotes: list[PromotedToken] | None
    suppresses: list[PromotedToken] | None
    url: str | None


@dataclass(frozen=True, kw_only=True)
class NodesOfContrast:
    """The strongest nodes of a contrast, of `of` in the circuit, or that differ where there is no circuit.

    `effect` is the whole effect on the logit difference, of the shape on which the nodes were found.
    """

    contrast: str
    format: str
    template: str
    shape: int
    source: NodeSource
    of: int
    effect: float
    nodes: list[ToldNode]


@dataclass(frozen=True, kw_only=True)
class ErrorNodesDocument:
    """nodes.json; `site` is what the dictionaries read. `n` programs were read, of `templates` templates.

    `latents` has each latent of some node once for every format. What they fire on is in snippets.parquet.
    """

    site: str
    dictionaries: str
    n: int
    templates: int
    contrasts: list[NodesOfContrast]
    latents: list[DescribedLatent]
