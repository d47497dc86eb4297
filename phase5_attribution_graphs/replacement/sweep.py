"""Edges into many targets in one sweep from the last layer to the first.

1. A target is a gradient at resid_mid of its layer and position. All are carried down together, each joining where it
   reads; a layer's attention is one linear map (clean_run.py), applied once for all that are above it.
2. On the way, what every source of a layer writes is multiplied with the gradients at its position.
3. Targets are swept in chunks, in the order of their positions, since early ones need short prefixes. A chunk is as
   large as the memory allows; 32 MB is faster than more, on a processor, because it stays in its cache.

With more active latents than `max_latents`, those get rows that have the largest influence on the targets through the
rows that are known so far. Rows that were computed stay as they are; columns of the others are dropped in the end.

Source: Ameisen et al. 2025, "Circuit Tracing", transformer-circuits.pub; the cap as in circuit-tracer.
"""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from phase5_attribution_graphs.replacement.clean_run import CleanRun
from phase5_attribution_graphs.replacement.graph import Graph
from phase5_attribution_graphs.replacement.influence import row_shares, totals
from phase5_attribution_graphs.replacement.local_model import N_SINKS, LocalModel
from phase5_attribution_graphs.replacement.targets import Target, value_of
from phase5_attribution_graphs.settings import MAX_LATENTS, MAX_MEMORY_MB

CHUNKS_BETWEEN_RANKINGS = 4  # of a capped graph


@torch.no_grad()
def build_graph(
    model: LocalModel,
    targets: Sequence[Target],
    *,
    max_latents: int = MAX_LATENTS,
    max_memory_mb: float = MAX_MEMORY_MB,
) -> Graph:
    """The graph of one prompt; `max_memory_mb` bounds what is held besides the edges themselves."""
    sweep = _Sweep(model, targets, max_memory_mb)
    n, limit = model.n_latents, min(model.n_latents, max_latents)
    edges = torch.zeros(limit + len(targets), sweep.n_columns)
    edges[limit:] = sweep.rows_of(torch.arange(n, n + len(targets)))
    known = torch.zeros(0, dtype=torch.long)
    if limit == n:
        for rows in sweep.chunks(torch.arange(n)):
            edges[rows] = sweep.rows_of(rows)
        known = torch.arange(n)
    while len(known) < limit:
        wanted = _most_influential(edges, known, limit, n, targets)[: sweep.chunk_size * CHUNKS_BETWEEN_RANKINGS]
        for rows in sweep.chunks(wanted[: limit - len(known)]):
            edges[len(known) : len(known) + len(rows)] = sweep.rows_of(rows)
            known = torch.cat([known, rows])
    return _graph(model, targets, edges, known, sweep)


def _most_influential(edges: Tensor, known: Tensor, limit: int, n: int, targets: Sequence[Target]) -> Tensor:
    """Latents without a row yet, those with the largest influence through the known rows first."""
    order = known.sort()
    weights = torch.tensor([target.weight for target in targets])
    start = (weights * row_shares(edges[limit:])) @ edges[limit:].abs()
    shares = row_shares(edges[: len(known)])
    influence = totals(edges[order.indices], order.values, shares[order.indices], start, absolute=True)[:n]
    influence[known] = -1
    return influence.argsort(descending=True)[: n - len(known)]


def _graph(model: LocalModel, targets: Sequence[Target], edges: Tensor, known: Tensor, sweep: "_Sweep") -> Graph:
    kept = known.sort()
    if len(known) < model.n_latents:
        others = torch.arange(model.n_latents, sweep.n_columns)
        rows = torch.cat([kept.indices, torch.arange(len(known), len(edges))])
        edges = edges[rows][:, torch.cat([kept.values, others])]
    of_targets = torch.tensor([value_of(model.run, target) for target in targets])
    latents = [tensor.cpu()[kept.values] for tensor in (model.layer, model.pos, model.latent, model.activation)]
    return Graph(
        *latents,
        values=torch.cat([model.explained.cpu()[kept.values], of_targets]),
        edges=edges,
        weights=torch.tensor([target.weight for target in targets]),
        tokens=model.run.tokens.cpu(),
        names=[target.name for target in targets],
        target_tokens=[target.tokens for target in targets],
        n_layers=model.run.n_layers,
        n_active=model.n_latents,
    )


class _Sweep:
    """Row r is latent r of the local model, or target r - n."""

    def __init__(self, model: LocalModel, targets: Sequence[Target], max_memory_mb: float) -> None:
        run = model.run
        self.model, self.run, self.n = model, run, model.n_latents
        self.directions = torch.stack([target.direction for target in targets]) * run.final_factor
        self.row_layer = torch.cat([model.layer, model.layer.new_full((len(targets),), run.n_layers)]).cpu()
        self.row_pos = torch.cat([model.pos, model.pos.new_full((len(targets),), run.n_pos - 1)]).cpu()
        self.written = model.written(torch.arange(self.n, device=model.layer.device))
        self.n_columns = self.n + run.n_layers * (run.n_pos + 1) + run.n_pos
        # Sources of a layer at a position stand side by side: this is where each such place begins.
        places = (model.layer * run.n_pos + model.pos).cpu()
        counts = torch.bincount(places, minlength=run.n_layers * run.n_pos)
        self.begins = [0, *counts.cumsum(0).tolist()]
        floats_of_a_row = 4 * run.n_pos * run.embeddings.shape[1] + self.n_columns
        self.chunk_size = max(1, int(max_memory_mb * 2**20 / 4 / floats_of_a_row))

    def chunks(self, rows: Int[Tensor, " k"]) -> Iterator[Int[Tensor, " chunk"]]:
        """By position: early targets need short prefixes."""
        yield from rows[self.row_pos[rows].argsort(stable=True)].split(self.chunk_size)

    def rows_of(self, rows: Int[Tensor, " k"]) -> Float[Tensor, "k column"]:
        """The edges into some targets, on the processor."""
        run = self.run
        order = self.row_layer[rows].argsort(descending=True, stable=True)
        rows = rows[order]
        tops, n_pos = self.row_layer[rows], int(self.row_pos[rows].max()) + 1
        v = self._starts(rows, n_pos)
        block = torch.zeros(len(rows), self.n_columns, device=v.device)
        for layer in range(min(int(tops[0]), run.n_layers - 1), -1, -1):
            above = int((tops > layer).sum())  # targets that see what this layer's MLP writes
            if above:
                self._sources(layer, v[:above], block[:above])
                v[:above] = through_skip(self.model, layer, v[:above])
            here = int((tops >= layer).sum())
            v[:here], bias = run.blocks[layer].attention_transposed(v[:here])
            block[:here, self._constant_column(layer)] += bias
        first_token = self.n + run.n_layers * run.n_pos
        block[:, first_token : first_token + n_pos] = torch.einsum("ntd,td->nt", v, run.embeddings[:n_pos])
        edges = torch.empty(len(rows), self.n_columns)
        edges[order] = block.cpu()
        return edges

    def _starts(self, rows: Tensor, n_pos: int) -> Float[Tensor, "k pos d_model"]:
        device = self.run.embeddings.device
        is_latent, at = rows < self.n, self.row_pos[rows].to(device)
        vectors = torch.empty(len(rows), self.run.embeddings.shape[1], device=device)
        vectors[is_latent] = self.model.read_vectors(rows[is_latent].to(device))
        vectors[~is_latent] = self.directions[rows[~is_latent] - self.n]
        v = torch.zeros(len(rows), n_pos, vectors.shape[1], device=device)
        v[torch.arange(len(rows), device=device), at] = vectors
        return v

    def _sources(self, layer: int, v: Tensor, block: Tensor) -> None:
        """Edges from all that the layer's MLP writes."""
        run, n_pos = self.run, v.shape[1]
        for pos in range(n_pos):
            first, last = self.begins[layer * run.n_pos + pos], self.begins[layer * run.n_pos + pos + 1]
            if last > first:
                block[:, first:last] = v[:, pos] @ self.written[first:last].T
        first = self.n + layer * run.n_pos
        block[:, first : first + n_pos] = torch.einsum("ntd,td->nt", v, self.model.errors[layer, :n_pos])
        constant = torch.einsum("ntd,td->n", v, self.model.constants[layer, :n_pos])
        block[:, self._constant_column(layer)] = constant

    def _constant_column(self, layer: int) -> int:
        return self.n_columns - self.run.n_layers + layer


def through_skip(model: LocalModel, layer: int, v: Tensor) -> Tensor:
    """Gradients at the stream before a skip transcoder's MLP; at the sink it is fixed."""
    transcoder = model.transcoders[layer]
    if transcoder is None or transcoder.W_skip is None:
        return v
    block, n_pos = model.run.blocks[layer], v.shape[1]
    factor = skip_factor(model.run, layer, transcoder.with_gain)[:n_pos].clone()
    factor[:N_SINKS] = 0
    return v + (v @ transcoder.W_skip.T) * factor.to(block.resid_mid)


def skip_factor(run: CleanRun, layer: int, with_gain: bool) -> Float[Tensor, "pos d_model"]:
    """What the stream is multiplied by before a transcoder of this layer reads it."""
    block = run.blocks[layer]
    scale = block.mlp_scale[:, None]
    return scale * block.mlp_gain if with_gain else scale.expand(-1, len(block.mlp_gain))
