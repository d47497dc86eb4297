"""Named sets of latents set to zero, to their mean, or below zero, beside sets that were drawn to match them.

- The top by *signed effect* claims to speak for the right answer together: its effect stands beside that of null sets.
- The top by *influence* has no sign, so what raises and what lowers may cancel: each latent is set to zero alone, and
  the mean of the absolute effects stands beside that of the null sets' latents.
- All latents but those of the pruned graph set to zero tell how faithful it is, and those alone how complete.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from common.tables import TableRow
from phase5_attribution_graphs.interventions.circuits import KEPT, TOP_INFLUENCE, TOP_SIGNED, Circuit
from phase5_attribution_graphs.interventions.measuring import FIXED, Effects, Meter
from phase5_attribution_graphs.interventions.nulls import NullSets, null_sets, p_of_rank, rank, seed_of
from phase5_attribution_graphs.interventions.rows import INHIBIT, MEAN, UNKNOWN, ZERO, ZERO_EACH, effect_row
from phase5_attribution_graphs.replacement.interventions import Change

FREELY = next(iter(FIXED))
OTHERS, ALL = "others", "all"


@dataclass(frozen=True)
class Tried:
    """One change of a set of latents; `factor` is that of inhibition."""

    intervention: str
    named: str
    n_latents: int
    change: Change
    factor: float = UNKNOWN


@dataclass(frozen=True)
class Nulls:
    """Null sets of both named sets, with what they reach: the effect of each set that matches the top by signed effect,
    and the mean absolute effect of the latents of each that matches the top by influence."""

    drawn: dict[str, NullSets]
    effects: Float[np.ndarray, " n_nulls"]
    each: Float[np.ndarray, " n_nulls"]


def ablated(circuit: Circuit, meter: Meter, means: Mapping[str, Tensor | None], inhibit: float) -> list[TableRow]:
    """Rows of effects.parquet, without ranks: every set under every change, everything else free and frozen.

    `means` are those of the latents of each named set; None where they are not known.
    """
    tried = [one for name in circuit.named for one in _of_named(circuit, name, means[name], inhibit)]
    wholes = {KEPT: circuit.latents[circuit.kept], OTHERS: circuit.others(), ALL: circuit.active}
    tried += [Tried(ZERO, name, len(one), one.set_to(0.0)) for name, one in wholes.items()]
    rows = []
    for fixed, how in FIXED.items():
        effects = meter.effects([one.change for one in tried], how)
        rows += [
            effect_row(
                one.intervention,
                one.named,
                fixed,
                one.n_latents,
                effects,
                number,
                meter.baseline,
                coefficient=one.factor,
            )
            for number, one in enumerate(tried)
        ]
    return rows


def _of_named(circuit: Circuit, name: str, means: Tensor | None, inhibit: float) -> list[Tried]:
    latents = circuit.latents[circuit.named[name]]
    n, below = len(latents), latents.set_to(-inhibit * latents.activation)
    to_mean = [] if means is None else [Tried(MEAN, name, n, latents.set_to(means))]
    return [Tried(ZERO, name, n, latents.set_to(0.0)), *to_mean, Tried(INHIBIT, name, n, below, inhibit)]


def null_effects(circuit: Circuit, meter: Meter, n_nulls: int, base_seed: int, record: int) -> Nulls:
    drawn = {
        name: null_sets(circuit.graph, index, n_nulls, seed_of(base_seed, record, purpose))
        for purpose, (name, index) in enumerate(circuit.named.items())
    }
    sets = meter.effects([circuit.latents[index].set_to(0.0) for index in drawn[TOP_SIGNED].sets])
    members, single = drawn[TOP_INFLUENCE].members, np.zeros(circuit.graph.n_latents)
    single[members.numpy()] = np.abs(one_by_one(circuit, meter, members).capped)
    each = [single[index.numpy()].mean() if len(index) else 0.0 for index in drawn[TOP_INFLUENCE].sets]
    return Nulls(drawn, sets.capped, np.array(each))


def one_by_one(circuit: Circuit, meter: Meter, index: Int[Tensor, " k"]) -> Effects:
    """Effects of single latents set to zero."""
    return meter.effects([circuit.latents[one[None]].set_to(0.0) for one in index])


def ranked(circuit: Circuit, meter: Meter, rows: list[TableRow], nulls: Nulls) -> list[TableRow]:
    """The rows, the top by signed effect with its rank, and one more: the top by influence, latent by latent."""
    alone = one_by_one(circuit, meter, circuit.top_influence)
    sizes = Effects(np.abs(alone.capped).mean(keepdims=True), np.abs(alone.before_cap).mean(keepdims=True))
    n = len(circuit.top_influence)
    each = effect_row(ZERO_EACH, TOP_INFLUENCE, FREELY, n, sizes, 0, meter.baseline)
    place = next(number for number, row in enumerate(rows) if is_row(row, ZERO, TOP_SIGNED))
    signed = _with_rank(rows[place], nulls.effects)
    return [*rows[:place], signed, *rows[place + 1 :], _with_rank(each, nulls.each)]


def is_row(row: TableRow, intervention: str, named: str, fixed: str = FREELY) -> bool:
    return (row["intervention"], row["set"], row["fixed"]) == (intervention, named, fixed)


def _with_rank(row: TableRow, null: Float[np.ndarray, " n"]) -> TableRow:
    rank_of_set = rank(row["effect"], null)
    return {**row, "rank": rank_of_set, "n_nulls": len(null), "p": p_of_rank(rank_of_set, len(null))}
