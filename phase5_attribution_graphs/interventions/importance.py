"""How much each latent of a pruned graph matters alone: set to zero, one after the other.

What a latent does is compared with latents that the pruned graph leaves out: up to three partners for each, of its own
layer and position, near in activation (nulls.py). All partners at the last position are one null, all others another; p
is that of the absolute effect among them. Where nearly all active latents are kept, few partners are left, and nothing
can be found. Benjamini-Hochberg over the latents of one prompt: of those with q at most 0.05, about 5 % would be there
by chance.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata
from torch import Tensor

from common.evaluation.statistics import benjamini_hochberg
from common.tables import TableRow
from phase5_attribution_graphs.interventions.circuits import Circuit, largest
from phase5_attribution_graphs.interventions.measuring import FROZEN, Meter
from phase5_attribution_graphs.interventions.nulls import partners, pooled_p

N_PARTNERS = 3
FEWEST = 3  # values that a rank correlation needs
Columns = dict[str, Float[np.ndarray, " n"]]


@dataclass(frozen=True)
class Importance:
    """Rows of importance.parquet, and rank correlations over them by name; NaN where there are too few."""

    rows: list[TableRow]
    correlations: dict[str, float]


def importance(circuit: Circuit, meter: Meter, n_swept: int, seed: int) -> Importance:
    """Of the `n_swept` most influential latents of the pruned graph, or of all for 0, and of their partners."""
    kept, graph = circuit.kept, circuit.graph
    swept = kept[largest(circuit.influence[kept], n_swept or len(kept))].sort().values
    index, n = torch.cat([swept, partners(graph, swept, kept, N_PARTNERS, seed)]), len(swept)
    changes = [circuit.latents[one[None]].set_to(0.0) for one in index]
    free, frozen = meter.effects(changes), meter.effects(changes[:n], FROZEN)
    p = p_values(np.abs(free.capped), n, (graph.pos[index] == graph.n_pos - 1).numpy())
    unknown = np.full(len(index) - n, math.nan)
    columns = {
        "activation": graph.activation[index].numpy(),
        "influence": circuit.influence[index].numpy(),
        "signed_effect": circuit.signed_effect[index].numpy(),
        "effect": free.capped,
        "effect_before_cap": free.before_cap,
        "frozen_before_cap": np.concatenate([frozen.before_cap, unknown]),
        "p": p,
        "q": np.concatenate([benjamini_hochberg(p[:n].tolist()), unknown]),
    }
    return Importance(_rows(circuit, index, n, columns), _correlations(columns))


def p_values(size: Float[np.ndarray, " n"], n_swept: int, is_last: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Of the swept latents, which come first, among those behind them with the same role; NaN of these."""
    is_null, p = np.arange(len(size)) >= n_swept, np.full(len(size), math.nan)
    for role in (is_last, ~is_last):
        p[role & ~is_null] = pooled_p(size[role & ~is_null], size[role & is_null])
    return p


def _rows(circuit: Circuit, index: Int[Tensor, " n"], n_swept: int, columns: Columns) -> list[TableRow]:
    places = circuit.latents[index].places()
    return [
        {"kept": number < n_swept, "layer": layer, "pos": pos, "latent": latent}
        | {name: float(values[number]) for name, values in columns.items()}
        for number, (layer, pos, latent) in enumerate(places)
    ]


def _correlations(columns: Columns) -> dict[str, float]:
    """What is known of the kept latents alone is correlated over these."""
    pairs = {
        "influence_and_size": (columns["influence"], np.abs(columns["effect"])),
        "signed_and_effect": (columns["signed_effect"], columns["effect"]),
        "signed_and_frozen": (columns["signed_effect"], columns["frozen_before_cap"]),
        "frozen_and_free": (columns["frozen_before_cap"], columns["effect_before_cap"]),
    }
    return {name: _spearman(*both) for name, both in pairs.items()}


def _spearman(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float:
    known = ~np.isnan(one + other)
    one, other = one[known], other[known]
    if len(one) < FEWEST or np.ptp(one) == 0 or np.ptp(other) == 0:
        return math.nan
    return float(np.corrcoef(rankdata(one), rankdata(other))[0, 1])
