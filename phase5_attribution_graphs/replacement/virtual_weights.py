"""What weights alone say of two latents, beside the edge between them.

The *virtual weight* W_dec[source] . W_enc[target] (with the norm's gain between, where the target's transcoder reads
it) depends on no prompt. It is blind to attention, norms and gates, so no edge rests on it. It gives, exactly, one part
of an edge, the direct path: to a target at the same position, through the residual stream, past the attention and the
MLP of every layer between. Skip transcoders are no part of it.

    direct = activation of the source x virtual weight x 1/rms of the norm that the target reads

Source: Ameisen et al. 2025, "Circuit Tracing", transformer-circuits.pub.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.local_model import LocalModel


@dataclass(frozen=True)
class VirtualWeights:
    """Of some latents of a graph, `latents`, as [target, source]; zero where the target is in no later layer.

    `virtual`: in pre-activation of the target for one unit of activation of the source. `direct` and `edges`: in
    pre-activation.
    """

    latents: Int[Tensor, " k"]
    virtual: Float[Tensor, "k k"]
    direct: Float[Tensor, "k k"]
    edges: Float[Tensor, "k k"]


@torch.no_grad()
def virtual_weights(graph: Graph, model: LocalModel, latents: Int[Tensor, " k"]) -> VirtualWeights:
    """`latents` are rows of the graph, those that were kept as a rule: the result has k x k numbers thrice."""
    layer, pos = graph.layer[latents], graph.pos[latents]
    reads, writes, scale = _weights(graph, model, latents)
    virtual = (reads @ writes.T).cpu() * (layer[:, None] > layer)
    direct = virtual * (pos[:, None] == pos) * scale.cpu()[:, None] * graph.activation[latents]
    return VirtualWeights(latents, virtual, direct, graph.edges[latents][:, latents])


def _weights(graph: Graph, model: LocalModel, latents: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Directions that are read and written, [k, d_model], and the scales [k] of the norms that are read."""
    reads = model.run.embeddings.new_zeros(len(latents), model.run.embeddings.shape[1])
    writes, scale = torch.zeros_like(reads), reads.new_zeros(len(latents))
    for layer in graph.layer[latents].unique().tolist():
        transcoder, block = model.transcoders[layer], model.run.blocks[layer]
        assert transcoder is not None  # a layer without one has no latents
        here = (graph.layer[latents] == layer).nonzero()[:, 0]
        numbers = graph.latent[latents[here]].to(reads.device)
        directions = transcoder.of_latents(numbers)[0]
        reads[here] = directions * block.mlp_gain if transcoder.with_gain else directions
        writes[here] = transcoder.W_dec[numbers]
        scale[here] = block.mlp_scale[graph.pos[latents[here]]]
    return reads, writes, scale
