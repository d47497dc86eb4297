"""Is a graph exact? Its rows add up, and its edges are what happens in the model itself when a source is doubled.

1. Each row's sum against its value, relative to the sum of its absolute edges.
2. Edges against interventions in double precision, attention, norms and MLPs as recorded: each source is added once
   more, and the target moves by the edge. The strongest edges, and random ones that are not zero.
3. A change of zero changes nothing: bit for bit, within one call.

Any dictionary gives an exact graph, with the rest in its errors: whether the transcoders are the model's own is asked
before (fit on text, phase 5.3).
"""

import random
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from common.handoffs.graphs import Claims, Verification
from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.interventions import (
    EMBEDDING,
    LINEAR,
    Add,
    Change,
    Interventions,
    Outcome,
    SetLatents,
    in_double,
)
from phase5_attribution_graphs.replacement.local_model import LocalModel
from phase5_attribution_graphs.replacement.targets import Target
from phase5_attribution_graphs.settings import N_EDGES

ROWS_BOUND, STRONGEST_BOUND, RANDOM_BOUND = 2e-5, 1e-5, 1e-3


def verify(
    graph: Graph,
    model: LocalModel,
    targets: Sequence[Target],
    runner: Interventions,
    *,
    n_edges: int = N_EDGES,
    seed: int = 0,
) -> Verification:
    """Everything at once. The rows of a capped graph lack the latents that were left out, and are not judged."""
    with in_double(runner.lm):
        strongest = _claims(graph, model, targets, runner, _strongest(graph, n_edges))
        drawn = _claims(graph, model, targets, runner, _random(graph, n_edges, seed))
    rows = None if graph.is_capped else float(graph.unexplained().max())
    zero = zero_change(graph, runner)
    return Verification(
        rows=rows,
        strongest=strongest,
        random=drawn,
        zero_change=zero,
        exact=bool(
            (rows is None or rows <= ROWS_BOUND)
            and strongest.largest <= STRONGEST_BOUND
            and drawn.largest <= RANDOM_BOUND
            and zero == 0
        ),
    )


def zero_change(graph: Graph, runner: Interventions) -> float:
    """The largest change of a logit by changes that change nothing, next to an unchanged row."""
    nothing = torch.zeros(runner.run.embeddings.shape[1])
    last = graph.n_pos - 1
    adds = tuple(Add(layer, last, nothing) for layer in range(EMBEDDING, graph.n_layers))
    logits = runner.outcomes([Change(), Change(adds=adds)]).logits
    return float((logits[1] - logits[0]).abs().max())


def _strongest(graph: Graph, n: int) -> Int[Tensor, "k 2"]:
    """Found row by row: a copy of all edges would take more memory than building them did."""
    rows = [edges.abs().topk(min(n, len(edges))) for edges in graph.edges[:, : graph.token_columns.stop]]
    sizes = torch.stack([row.values for row in rows])
    best = sizes.flatten().topk(min(n, sizes.numel())).indices
    row = best // sizes.shape[1]
    return torch.stack([row, torch.stack([one.indices for one in rows]).flatten()[best]], 1)


def _random(graph: Graph, n: int, seed: int) -> Int[Tensor, "k 2"]:
    """Some of the edges that are not zero, each as likely."""
    edges = graph.edges[:, : graph.token_columns.stop]
    ends = torch.stack([row.count_nonzero() for row in edges]).cumsum(0)
    drawn = torch.tensor(random.Random(seed).sample(range(int(ends[-1])), min(n, int(ends[-1]))))
    rows = torch.searchsorted(ends, drawn, right=True)
    from_end = (ends[rows] - drawn).tolist()
    columns = [int(edges[row].nonzero()[-place, 0]) for row, place in zip(rows.tolist(), from_end, strict=True)]
    return torch.stack([rows, torch.tensor(columns)], 1)


@torch.no_grad()
def _claims(
    graph: Graph, model: LocalModel, targets: Sequence[Target], runner: Interventions, places: Int[Tensor, "k 2"]
) -> Claims:
    """Edges beside what the model does; relative errors."""
    rows, columns = places.T.tolist()
    changes = [Change(), *(Change(adds=(source(graph, model, column),)) for column in columns)]
    outcome = runner.outcomes(changes, LINEAR)
    claimed = graph.edges[places[:, 0], places[:, 1]].double()
    moved = torch.stack([_moved(graph, model, targets, outcome, row, i) for i, row in enumerate(rows, 1)])
    errors = (moved.cpu() - claimed).abs() / claimed.abs()
    return Claims(
        n=len(rows), median=float(errors.median()), largest=float(errors.max()), weakest=float(claimed.abs().min())
    )


def source(graph: Graph, model: LocalModel, column: int) -> Add:
    """A source once more on top of itself."""
    if column < graph.n_latents:
        layer, pos = int(graph.layer[column]), int(graph.pos[column])
        transcoder = model.transcoders[layer]
        assert transcoder is not None
        return Add(layer, pos, graph.activation[column].item() * transcoder.W_dec[graph.latent[column]])
    if column < graph.error_columns.stop:
        layer, pos = divmod(column - graph.n_latents, graph.n_pos)
        return Add(layer, pos, model.errors[layer, pos])
    pos = column - graph.token_columns.start
    return Add(EMBEDDING, pos, model.run.embeddings[pos])


def _moved(
    graph: Graph, model: LocalModel, targets: Sequence[Target], outcome: Outcome, row: int, entry: int
) -> Float[Tensor, ""]:
    """By how much a row's value moves in an entry of the batch, against the unchanged first one."""
    run, n = model.run, graph.n_latents
    if row >= n:
        reads = targets[row - n].direction.double() * run.final_gain.double() * run.final_scale[-1].double()
        streams = outcome.resid_final[:, -1]
    else:
        layer, pos = int(graph.layer[row]), int(graph.pos[row])
        transcoder, block = model.transcoders[layer], run.blocks[layer]
        assert transcoder is not None
        reads = transcoder.W_enc[:, graph.latent[row]].double() * block.mlp_scale[pos].double()
        reads = reads * block.mlp_gain.double() if transcoder.with_gain else reads
        streams = outcome.resid_mid[layer][:, pos]
    return (streams[entry] - streams[0]).double() @ reads


def set_to(graph: Graph, index: Int[Tensor, " k"], value: Tensor | float) -> Change:
    """Some latents of a graph set to a value, at their places."""
    values = torch.as_tensor(value, dtype=graph.activation.dtype).expand(len(index))
    return Change(SetLatents(graph.layer[index], graph.pos[index], graph.latent[index], values))
