"""A finished, pruned attribution graph as it is exported: plain values, whatever computed them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

TOKEN_LAYER = -1  # below the first layer
CONSTANT_POSITION = 0
LOGIT_CONVENTION = "before the final cap, centred over the vocabulary"

Scalar = str | int | float | bool | None


class NodeKind(StrEnum):
    """What a node stands for."""

    LATENT = "latent"
    ERROR = "error"  # what a layer's transcoder leaves unexplained at a position
    TOKEN = "token"
    CONSTANT = "constant"  # what a layer adds whatever the prompt: biases, and the first position's output
    LOGIT = "logit"  # a target of the graph


@dataclass(frozen=True)
class TextExample:
    """A text on which a latent fires, cut at the token where it does, with its activation there."""

    before: str
    token: str
    after: str
    activation: float | None = None


@dataclass(frozen=True)
class LogitEffect:
    """How much one unit of a latent's activation adds to a token's logit by the direct path."""

    token: str
    effect: float


@dataclass(frozen=True)
class GraphNode:
    """One node; make it with `latent_node` and its neighbours, which know what each kind needs.

    `index` is the latent, or the vocabulary's index of a token or logit; a contrast's lies beyond the vocabulary (see
    `contrast_index`). `influence` is cumulative, 0 to 1: the share that this node and all stronger ones carry.
    `signed_effect` is what the node adds to the target. `probability` is that of a logit's token, 1 for a contrast.
    """

    kind: NodeKind
    layer: int
    position: int
    index: int | None = None
    label: str = ""
    activation: float | None = None
    influence: float | None = None
    signed_effect: float | None = None
    probability: float | None = None
    examples: tuple[TextExample, ...] = ()
    promotes: tuple[LogitEffect, ...] = ()
    suppresses: tuple[LogitEffect, ...] = ()

    @property
    def id(self) -> str:
        """The name by which links know it: Neuronpedia's, in which errors cannot be taken for latents of layer 0."""
        match self.kind:
            case NodeKind.TOKEN:
                return f"E_{self.index}_{self.position}"
            case NodeKind.ERROR:
                return f"{self.layer}_-1_{self.position}"
            case NodeKind.CONSTANT:
                return f"{self.layer}_bias_{self.position}"
            case NodeKind.LATENT | NodeKind.LOGIT:
                return f"{self.layer}_{self.index}_{self.position}"


def latent_node(layer: int, latent: int, position: int, activation: float, **known: Any) -> GraphNode:
    """A latent that fires; `known` are `label`, `influence`, `signed_effect`, `examples`, `promotes`, `suppresses`."""
    return GraphNode(NodeKind.LATENT, layer, position, latent, activation=activation, **known)


def error_node(layer: int, position: int, **known: Any) -> GraphNode:
    """What a layer's transcoder leaves unexplained at one position."""
    return GraphNode(NodeKind.ERROR, layer, position, **known)


def token_node(token: int, position: int, **known: Any) -> GraphNode:
    """A token of the prompt, by its index in the vocabulary."""
    return GraphNode(NodeKind.TOKEN, TOKEN_LAYER, position, token, **known)


def constant_node(layer: int, **known: Any) -> GraphNode:
    """All that a layer adds whatever the prompt."""
    return GraphNode(NodeKind.CONSTANT, layer, CONSTANT_POSITION, **known)


def logit_node(n_layers: int, token: int, text: str, position: int, probability: float, **known: Any) -> GraphNode:
    """The logit of a token, whose `text` is its label."""
    layer, label = logit_layer(n_layers), f'Output "{text}"'
    return GraphNode(NodeKind.LOGIT, layer, position, token, label, probability=probability, **known)


def contrast_node(
    n_layers: int, d_vocab: int, correct: str, incorrect: str, position: int, place: int = 0, **known: Any
) -> GraphNode:
    """The logit of the token `correct` minus that of `incorrect`; `place` numbers the contrasts of one graph."""
    layer, label = logit_layer(n_layers), f'Output "{correct}" - "{incorrect}"'
    index = contrast_index(d_vocab, place)
    return GraphNode(NodeKind.LOGIT, layer, position, index, label, probability=1.0, **known)


def logit_layer(n_layers: int) -> int:
    """The layer on which viewers expect logits: one is left free above the last layer, `n_layers - 1`."""
    return n_layers + 1


def contrast_index(d_vocab: int, place: int = 0) -> int:
    """An index that no token has, so that a contrast does not get the id of a logit beside it."""
    return d_vocab + place


@dataclass(frozen=True)
class GraphLink:
    """`weight` is what the source adds to the target: to a latent's pre-activation, or to a logit."""

    source: str
    target: str
    weight: float


@dataclass(frozen=True)
class PruningSettings:
    """Which share of the influence the kept nodes, and then the kept links, carry."""

    node_share: float
    edge_share: float


@dataclass(frozen=True)
class Origin:
    """Who made the graph, with what, from which dictionaries, and when (milliseconds since 1970, UTC)."""

    create_time_ms: int
    creator_name: str = ""
    source_urls: tuple[str, ...] = ()
    generator_name: str = "PVA-SAE"
    generator_version: str = ""
    generator_url: str = ""


@dataclass(frozen=True)
class GraphDocument:
    """A graph with all that is said of it.

    `slug` names it in addresses and files. `scores` and `verification` are shown as they are: a name and a plain value
    each. `settings` are those of the computation. `sink_token` is the token put before a prompt whose model has no
    beginning of sequence, None where none was. `notes` are sentences for who reads the graph.
    """

    slug: str
    model: str
    prompt: str
    tokens: tuple[str, ...]
    n_layers: int
    d_vocab: int
    nodes: tuple[GraphNode, ...]
    links: tuple[GraphLink, ...]
    pruning: PruningSettings
    origin: Origin
    scores: Mapping[str, Scalar] = field(default_factory=dict)
    verification: Mapping[str, Scalar] = field(default_factory=dict)
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    logit_convention: str = LOGIT_CONVENTION
    sink_token: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[GraphNode, ...]:
        """The logits and contrasts that the graph explains, the first one first."""
        return tuple(node for node in self.nodes if node.kind is NodeKind.LOGIT)
