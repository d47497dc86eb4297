"""The documents of phases 5.3 to 5.5: transcoders' fit, attribution graphs and what interventions make of them."""

from dataclasses import dataclass

from common.handoffs.estimates import Interval


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


@dataclass(frozen=True, kw_only=True)
class FrequentNode:
    """A latent at a role that many graphs of a behaviour show: in `n` of them.

    `effect` is its signed effect, as a share of the value explained, 0 where it is not shown. `shuffled` is the share
    of graphs for another prompt's answers that show it, `excess` the paired difference of the two.
    """

    layer: int
    latent: int
    role: str
    n: int
    frequency: Interval
    effect: Interval
    shuffled: float
    excess: Interval
    beyond_shuffled: bool


@dataclass(frozen=True, kw_only=True)
class BehaviourGraphs:
    """The graphs of one behaviour: means over its `n` prompts with bootstrap intervals.

    `value` is the logit difference that is explained, before the model's final cap; `capped` that of the logits as the
    model gives them. `active` latents, of which `shown` are kept. `exact` graphs passed every check.
    """

    n: int
    exact: int
    value: Interval
    capped: Interval
    active: Interval
    shown: Interval
    scores: dict[str, Interval]
    nodes: list[FrequentNode]


@dataclass(frozen=True, kw_only=True)
class GraphsDocument:
    """graphs.json; `behaviours` by name. `worst` is the largest figure of each check among all graphs."""

    experiment: dict[str, str]
    split: str
    targets: str
    n: int
    exact: int
    worst: dict[str, float | None]
    behaviours: dict[str, BehaviourGraphs]
