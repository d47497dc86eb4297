"""The documents of phases 5.3 to 5.5: transcoders' fit, attribution graphs and what interventions make of them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Claims:
    """Edges of a graph beside interventions: relative errors of `n` of them; `weakest` is the smallest edge."""

    n: int
    median: float
    largest: float
    weakest: float


@dataclass(frozen=True, kw_only=True)
class Verification:
    """verification.json.

    `rows`: the largest |sum - value| of a row, relative to the sum of its absolute edges; None for a capped graph,
    whose rows lack what was left out. `zero_change`: of a logit, by changes that change nothing. `exact`: whether all
    of it is within the bounds of phase5_attribution_graphs/replacement/verify.py.
    """

    rows: float | None
    strongest: Claims
    random: Claims
    zero_change: float
    exact: bool


@dataclass(frozen=True, kw_only=True)
class GraphScores:
    """Shares of a whole graph. `replacement` and `completeness` as circuit-tracer counts them, without constants.

    `completeness` counts rows of errors and tokens, which have no inputs, as fully explained;
    `completeness_of_nodes` does not. `errors_direct` and `errors_signed` are what errors add to the first target, by
    edges into it and along all paths, as shares of its value.
    """

    replacement: float
    completeness: float
    completeness_of_nodes: float
    errors_influence: float
    constants_influence: float
    errors_direct: float
    errors_signed: float
