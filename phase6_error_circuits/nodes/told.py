"""Which nodes are told of, and the pairs on which their latents are read.

Of each contrast the nodes of the circuit that phase 6.4 found are told of, the strongest first; where there is none,
those that phase 6.3 ranks highest. Latents are read on the pairs of every contrast in the same format of the prompt,
whatever the gate says of them: there they fire or not. Effects are measured where the gate lets a template through.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from common import handoffs
from common.errors import ConfigError
from common.handoffs.error_attribution import AttributedShape, ErrorAttributionDocument
from common.handoffs.error_gate import ErrorGateDocument
from common.handoffs.error_latent_circuits import ErrorLatentCircuit
from common.handoffs.error_nodes import NodeSource
from common.phases.context import RunContext
from common.saes.dictionary import Latent
from phase6_error_circuits.circuits.config import POSITIVE
from phase6_error_circuits.latents.nodes import ERROR
from phase6_error_circuits.latents.studied import StudiedShape, shapes_in, shapes_of_format
from phase6_error_circuits.nodes.config import ErrorNodesConfig
from phase6_error_circuits.pair import pair_of

Key = tuple[str, str, str, int]  # contrast, format, template, shape
SHAPE = ("contrast", "format", "template", "shape")


@dataclass(frozen=True)
class Place:
    """A node by the name of its position, which means the same on every template; `latent` is None for an error."""

    layer: int
    latent: int | None
    place: str


@dataclass(frozen=True)
class RankedNode:
    """A node as phase 6.3 found it; `position` counts from the prompt's first token."""

    at: Place
    position: int
    effect: float
    above_null: bool


@dataclass(frozen=True)
class ToldContrast:
    """The nodes of a contrast, the strongest first, `of` so many, and the shape on which they were found."""

    shape: StudiedShape
    effect: float
    source: NodeSource
    of: int
    nodes: list[RankedNode]


@dataclass(frozen=True)
class Group:
    """Pairs that are read together. `goes_on`: the gate lets the template through, or it is studied all the same.

    `n_points`: of each layer with a dictionary, at how many points of the line effects are taken.
    """

    shape: StudiedShape
    goes_on: bool
    n_points: Mapping[int, int]

    @property
    def key(self) -> Key:
        return key_of(vars(self.shape))


@dataclass(frozen=True)
class NodesPlan:
    """What is told of, and what is read for it: record i is group i."""

    told: list[ToldContrast]
    groups: list[Group]

    @cached_property
    def layers(self) -> list[int]:
        """Layers in which some node is."""
        return sorted({node.at.layer for one in self.told for node in one.nodes})

    def latents(self, form: str) -> list[Latent]:
        """The latents that are read in a format of the prompt, each once, in the order of the nodes."""
        known = [node.at for one in self._in(form) for node in one.nodes]
        return [*dict.fromkeys((at.layer, at.latent) for at in known if at.latent is not None)]

    def places(self, form: str) -> list[Place]:
        """The nodes that are measured in a format, likewise."""
        return [*dict.fromkeys(node.at for one in self._in(form) for node in one.nodes)]

    def home_of(self, group: Group) -> ToldContrast | None:
        """The contrast whose nodes were found on a group's pairs."""
        return next((one for one in self.told if key_of(vars(one.shape)) == group.key), None)

    def _in(self, form: str) -> list[ToldContrast]:
        return [one for one in self.told if one.shape.format == form]


def plan_of(ctx: RunContext[ErrorNodesConfig]) -> NodesPlan:
    """Raises: ConfigError where phase 6.3 measured none of the contrasts that are asked for."""
    told = _told(ctx)
    homes = {key_of(vars(one.shape)): one.shape for one in told}
    pairs = [pair_of(row) for row in ctx.read(handoffs.ERROR_PAIRS).table("pairs.parquet")]
    gate = ctx.read(handoffs.ERROR_GATE).document()
    shapes = [
        shape
        for form in dict.fromkeys(one.shape.format for one in told)
        for shape in shapes_of_format(pairs, form, ctx.config.n_pairs)
        if key_of(vars(shape)) not in homes
    ]
    every = _first_shapes([*homes.values(), *shapes], ctx.config.n_shapes)
    document = ctx.read(handoffs.ERROR_ATTRIBUTION).document()
    return NodesPlan(
        told,
        [Group(shape, _goes_on(gate, shape), points_of(document, shape, ctx.config.n_points)) for shape in every],
    )


def points_of(document: ErrorAttributionDocument, shape: StudiedShape, least: int) -> dict[int, int]:
    """Points of the line by layer, as many as phase 6.3 needed there, so that effects are those that it found.

    Of a shape that it did not measure, as many as it needed for the most difficult one; `least` in any case.
    """
    same_shape = [one for one in document.shapes if key_of(vars(one)) == key_of(vars(shape))]
    points: defaultdict[int, int] = defaultdict(lambda: least)
    for one in same_shape or document.shapes:
        for layer in one.layers:
            points[layer.layer] = max(points[layer.layer], layer.n_points)
    return dict(points)


def key_of(row: Mapping[str, Any]) -> Key:
    """Contrast, format, template and shape of a row or a document."""
    contrast, form, template, shape = (row[name] for name in SHAPE)
    return contrast, form, template, shape


def _told(ctx: RunContext[ErrorNodesConfig]) -> list[ToldContrast]:
    config, attribution = ctx.config, ctx.read(handoffs.ERROR_ATTRIBUTION)
    document: ErrorAttributionDocument = attribution.document()
    measured = {key_of(vars(shape)): shape for shape in document.shapes}
    circuits = _circuits(ctx)
    homes: dict[str, StudiedShape] = {}
    for shape in shapes_in(ctx, config.contrasts, config.n_pairs):
        key = key_of(vars(shape))
        if key in measured and (shape.contrast not in homes or key in circuits):
            homes[shape.contrast] = shape
    if not homes:
        names = ",".join(config.contrasts)
        raise ConfigError(
            f"phase 6.3 measured {len(measured)} shapes, none of {names}: it has "
            f"{', '.join(dict.fromkeys(key[0] for key in measured))}\n"
            f"Measure it with: python3 run.py phase 6.3 --contrasts {names}"
        )
    rows = attribution.table("nodes.parquet")
    return [_of_contrast(ctx, shape, measured[key_of(vars(shape))], rows, circuits) for shape in homes.values()]


def _circuits(ctx: RunContext[ErrorNodesConfig]) -> dict[Key, ErrorLatentCircuit]:
    """What phase 6.4 found, where it was run."""
    if handoffs.ERROR_LATENT_CIRCUITS.name not in ctx.artifacts:
        return {}
    document = ctx.read(handoffs.ERROR_LATENT_CIRCUITS).document()
    return {key_of(vars(circuit)): circuit for circuit in document.circuits}


def _of_contrast(
    ctx: RunContext[ErrorNodesConfig],
    shape: StudiedShape,
    measured: AttributedShape,
    rows: Sequence[Mapping[str, Any]],
    circuits: Mapping[Key, ErrorLatentCircuit],
) -> ToldContrast:
    key = key_of(vars(shape))
    its_rows = [row for row in rows if key_of(row) == key]
    its_rows.sort(key=lambda row: -abs(row["ig"]))
    source, of = source_of(circuits.get(key), measured.n_nodes)
    if source is NodeSource.CIRCUIT:
        rank_of = _circuit_nodes(ctx, key, of)
        its_rows = [row for row in its_rows if _node_key(row) in rank_of]
        its_rows.sort(key=lambda row: rank_of[_node_key(row)])
    nodes = [_ranked(row) for row in its_rows[: ctx.config.n_nodes]]
    return ToldContrast(shape, measured.effect.known, source, of, nodes)


def source_of(circuit: ErrorLatentCircuit | None, n_nodes: int) -> tuple[NodeSource, int]:
    """Which nodes are told of, and of how many: of the circuit that keeps enough of the effect on held-out pairs.

    `circuit` is None where phase 6.4 was not run; `n_nodes` are those that phase 6.3 ranks.
    """
    if circuit is None:
        return NodeSource.NOT_RUN, n_nodes
    size = next((one.size for one in circuit.enough if one.ranking == POSITIVE), None)
    return (NodeSource.CIRCUIT, size) if size else (NodeSource.STRONGEST, n_nodes)


def _circuit_nodes(ctx: RunContext[ErrorNodesConfig], key: Key, size: int) -> dict[tuple[int, ...], int]:
    """Ranks of the circuit's nodes."""
    contrast, _, template, shape = key
    return {
        _node_key(row): row["rank"]
        for row in ctx.read(handoffs.ERROR_LATENT_CIRCUITS).table("circuit.parquet")
        if (row["contrast"], row["template"], row["shape"]) == (contrast, template, shape) and row["rank"] < size
    }


def _node_key(row: Mapping[str, Any]) -> tuple[int, ...]:
    return row["layer"], row["position"], row["latent"]


def _ranked(row: Mapping[str, Any]) -> RankedNode:
    at = Place(row["layer"], None if row["kind"] == ERROR else row["latent"], row["place"])
    return RankedNode(at, row["position"], row["ig"], row["above_null"])


def _first_shapes(shapes: Sequence[StudiedShape], n_shapes: int) -> list[StudiedShape]:
    """The first `n_shapes` of each template, in order; 0: all."""
    seen: dict[tuple[str, ...], int] = {}
    first = []
    for shape in shapes:
        template = shape.contrast, shape.format, shape.template
        seen[template] = seen.get(template, 0) + 1
        if not n_shapes or seen[template] <= n_shapes:
            first.append(shape)
    return first


def _goes_on(gate: ErrorGateDocument, shape: StudiedShape) -> bool:
    studied = gate.studied
    if studied is not None and (studied.contrast, studied.format) == (shape.contrast, shape.format):
        return shape.template in studied.templates
    result = gate.contrasts.get(shape.contrast, {}).get(shape.format)
    return result is not None and result.verdict.goes_on and shape.template in result.templates
