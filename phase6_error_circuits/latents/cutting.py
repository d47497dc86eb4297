"""A run in which only a circuit is left: every node outside it has another value (base), or every node inside it has.

keep:    value' = base + sum of (node - its base) over the circuit
remove:  value' = value - the same sum

Nodes are recomputed from the stream as it has become. A latent's own gate needs its own column of the encoder alone, so
that a small circuit costs little more than the plain model; errors need the whole dictionary, at their positions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.split_arms import SplitArms, Values, take_latents


@dataclass(frozen=True, eq=False)
class LayerCut:
    """The circuit's nodes in one layer: `gates` say how far each is open, 0 to 1, of latents by position."""

    latents: Int[Tensor, " n"]
    gates: Float[Tensor, "pos n"]
    errors: Int[Tensor, " m"]
    error_gates: Float[Tensor, " m"]


Cut = Mapping[int, LayerCut]


def cut_of(nodes: Iterable[Node], layers: Collection[int], n_pos: int, device: str, every_error: bool = False) -> Cut:
    """The nodes, open, in each of `layers`; with the errors at all positions where `every_error`."""
    by_layer: dict[int, list[Node]] = {layer: [] for layer in layers}
    for node in nodes:
        if node.layer in by_layer:
            by_layer[node.layer].append(node)
    return {layer: _layer_cut(of_layer, n_pos, device, every_error) for layer, of_layer in by_layer.items()}


def _layer_cut(nodes: list[Node], n_pos: int, device: str, every_error: bool) -> LayerCut:
    known = [(node.pos, node.latent) for node in nodes if node.latent is not None]
    latents, places = torch.tensor([latent for _, latent in known], dtype=torch.long).unique(return_inverse=True)
    gates = torch.zeros(n_pos, len(latents))
    gates[torch.tensor([pos for pos, _ in known], dtype=torch.long), places] = 1.0
    errors = range(n_pos) if every_error else sorted({node.pos for node in nodes if node.is_error})
    positions = torch.tensor([*errors], dtype=torch.long)
    return LayerCut(
        latents.to(device), gates.to(device), positions.to(device), torch.ones(len(positions), device=device)
    )


def pooled_cut(
    latents: Mapping[int, Collection[int]], errors: Mapping[int, Collection[int]], n_pos: int, device: str
) -> Cut:
    """Latents that are kept wherever they stand, and the positions whose errors are."""
    return {
        layer: LayerCut(
            torch.tensor(sorted(numbers), dtype=torch.long, device=device),
            torch.ones(n_pos, len(numbers), device=device),
            torch.tensor(sorted(errors[layer]), dtype=torch.long, device=device),
            torch.ones(len(errors[layer]), device=device),
        )
        for layer, numbers in latents.items()
    }


def kept(arms: SplitArms, cut: Cut, base: Values) -> Float[Tensor, " pair"]:
    """The metric when the circuit alone is left, in the layers of the cut."""
    return _run(arms, cut, base, keep=True)


def removed(arms: SplitArms, cut: Cut, base: Values) -> Float[Tensor, " pair"]:
    """The metric when everything but the circuit is left."""
    return _run(arms, cut, base, keep=False)


def _run(arms: SplitArms, cut: Cut, base: Values, *, keep: bool) -> Float[Tensor, " pair"]:
    n_layers = arms.replay.n_layers
    first = min(cut, default=n_layers)
    stream = arms.entering(first)  # nothing is cut before
    for layer in range(first, n_layers):
        if layer not in cut:
            stream = arms.block(layer, stream)
            continue

        def change(value: Tensor, layer: int = layer) -> Tensor:
            start = base.whole[layer].expand_as(value) if keep else value
            sign = 1 if keep else -1
            return start + (sign * _difference(arms, layer, cut[layer], value, base)).to(value.dtype)

        stream = arms.block(layer, stream, change)
    return arms.metric(stream)


def _difference(arms: SplitArms, layer: int, cut: LayerCut, value: Tensor, base: Values) -> Tensor:
    """The sum of (node - its base) over the circuit's nodes of a layer, at every position."""
    total = torch.zeros_like(value, dtype=torch.float32)
    if len(cut.latents):
        now = arms.dictionaries.some_latents(layer, value, cut.latents)
        then = take_latents(arms.columns[layer], base.latents[layer], cut.latents)
        total = total + (cut.gates * (now - then)) @ arms.dictionaries.rows(layer, cut.latents)
    if len(cut.errors):
        _, errors = arms.dictionaries.split(layer, value[:, cut.errors])
        change = cut.error_gates[:, None] * (errors - base.errors[layer][:, cut.errors])
        total = total.index_add(1, cut.errors, change)
    return total
