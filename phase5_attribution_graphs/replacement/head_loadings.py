"""Through which attention heads does an edge run?

Between its source and its target an edge passes the attention of one layer after another, each of which hands on the
stream itself and what its heads add. With patterns and scales fixed all of that is linear. So at every layer an edge is
the sum of what each head carries and of what bypasses that layer's attention:

    edge = g . x + sum over heads h of g . head_h(x)

where x is the part of the stream before the layer's attention that comes from the source along all paths, and g the
target's gradient at the stream behind it. One pass up gives every x, one pass down every g.

Biases of an attention are constants, and sources of their own: they are in the x of the layers above it.

Source: the head loadings of Ameisen et al. 2025, "Circuit Tracing", transformer-circuits.pub.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from common.model.block_parts import Stream
from phase5_attribution_graphs.replacement.clean_run import FrozenBlock
from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.local_model import N_SINKS, LocalModel
from phase5_attribution_graphs.replacement.sweep import skip_factor, through_skip
from phase5_attribution_graphs.replacement.targets import Target
from phase5_attribution_graphs.replacement.verify import source


@dataclass(frozen=True)
class HeadLoadings:
    """One edge at each of `layers`, those between its source and its target: `heads` and `bypass` add up to `edge`."""

    edge: float
    layers: list[int]
    heads: Float[Tensor, "layer head"]
    bypass: Float[Tensor, " layer"]


@torch.no_grad()
def head_loadings(graph: Graph, model: LocalModel, targets: Sequence[Target], row: int, column: int) -> HeadLoadings:
    """Of the edge that `graph.edges[row, column]` holds; without layers where no attention lies between the two."""
    first, stream = _behind_source(graph, model, column)
    last, gradient = _at_target(graph, model, targets, row)
    layers, blocks, streams = list(range(first, last + 1)), model.run.blocks[first : last + 1], []
    for layer, block in zip(layers, blocks, strict=True):
        streams.append(stream)
        stream = stream + block.attention(stream, biases=False)
        stream = stream + _skipped(model, layer, stream)
    heads, bypass = torch.zeros(len(layers), blocks[0].pattern.shape[0] if blocks else 0), torch.zeros(len(layers))
    for place in reversed(range(len(layers))):
        heads[place] = _carried(blocks[place], streams[place], gradient)
        bypass[place] = (streams[place] * gradient).sum()
        if place:
            below = blocks[place].attention_transposed(gradient[None])[0]
            gradient = through_skip(model, layers[place] - 1, below)[0]
    return HeadLoadings(float(graph.edges[row, column]), layers, heads, bypass)


def _behind_source(graph: Graph, model: LocalModel, column: int) -> tuple[int, Stream]:
    """The first layer that reads a source, and what it adds to the stream there."""
    run = model.run
    stream = torch.zeros_like(run.embeddings)
    if column >= graph.constant_columns.start:
        layer = column - graph.constant_columns.start
        biases = run.blocks[layer].attention(stream)
        return layer + 1, biases + _skipped(model, layer, biases) + model.constants[layer]
    added = source(graph, model, column)
    stream[added.pos] = added.vector
    return added.layer + 1, stream


def _at_target(graph: Graph, model: LocalModel, targets: Sequence[Target], row: int) -> tuple[int, Stream]:
    """The last layer whose attention reaches a target, and the target's gradient at the stream behind that."""
    run, n = model.run, graph.n_latents
    gradient = torch.zeros_like(run.embeddings)
    if row >= n:
        gradient[-1] = targets[row - n].direction * run.final_factor
        return run.n_layers - 1, through_skip(model, run.n_layers - 1, gradient[None])[0]
    layer, pos, latent = (int(numbers[row]) for numbers in (graph.layer, graph.pos, graph.latent))
    index = torch.tensor([model.index_of(layer, pos, latent)], device=model.layer.device)
    gradient[pos] = model.read_vectors(index)[0]
    return layer, gradient


def _skipped(model: LocalModel, layer: int, stream: Stream) -> Stream:
    """What a skip transcoder adds for a part of the stream, behind the sink."""
    transcoder = model.transcoders[layer]
    if transcoder is None or transcoder.W_skip is None:
        return torch.zeros_like(stream)
    added = (stream * skip_factor(model.run, layer, transcoder.with_gain)) @ transcoder.W_skip
    added[:N_SINKS] = 0
    return added


def _carried(block: FrozenBlock, stream: Stream, gradient: Stream) -> Float[Tensor, " head"]:
    by_head = block.by_head(gradient[None])[0][0]
    return (by_head * block.values(stream).repeat_interleave(block.group_size, 1)).sum((0, 2))
