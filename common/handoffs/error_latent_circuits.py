"""The document of phase 6.4: circuits of latents and errors, and what they keep of the difference of two answers."""

from __future__ import annotations

from dataclasses import dataclass

from common.handoffs.estimates import Interval


@dataclass(frozen=True, kw_only=True)
class RandomCircuits:
    """Faithfulness of `n` random circuits with as many nodes of each layer, kind and position.

    None where there is no effect to keep a share of.
    """

    n: int
    mean: float | None
    largest: float | None


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """A circuit of `size` nodes, `errors` of them errors that were ranked with the latents.

    `faithfulness`: of the effect, what the circuit alone keeps; `completeness`: what everything but the circuit keeps.
    """

    size: int
    errors: int
    faithfulness: Interval
    completeness: Interval
    random: RandomCircuits | None


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Circuits of one ranking over their size; the last has every node of the ranking.

    `ranking`: positive, absolute, layers or mask. `ablation`: what stands for nodes outside: resample, mean or zero.
    `error_nodes`: nodes (ranked with the latents), kept (all of them) or ablated (all of them). `split`: select or
    report. `clean` and `nothing` are the mean metrics of the whole run and with no node left.
    """

    ranking: str
    ablation: str
    error_nodes: str
    split: str
    n: int
    clean: float
    nothing: float
    points: list[CurvePoint]


@dataclass(frozen=True, kw_only=True)
class EnoughNodes:
    """The smallest circuit of a ranking whose faithfulness on held-out pairs reaches `enough`; None where none does.

    `of` nodes are in the ranking.
    """

    ranking: str
    enough: float
    size: int | None
    of: int
    faithfulness: Interval | None


@dataclass(frozen=True, kw_only=True)
class OneLayerCut:
    """Faithfulness by layer when that layer alone is cut to its first `kept` nodes, and the product of all."""

    kept: int
    split: str
    layers: dict[str, float | None]
    product: float | None


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """The circuit on pairs of another shape or template: its latents are kept at every position.

    Errors are kept at the named positions at which the circuit has them. `random`: as many other latents of each layer.
    `own`: held-out pairs of the shape on which the circuit was found.
    """

    template: str
    shape: int
    own: bool
    n: int
    size: int
    faithfulness: Interval
    random: RandomCircuits


@dataclass(frozen=True, kw_only=True)
class LearnedMask:
    """What one weight of the open share leaves open: `open` of `of` nodes, and the faithfulness of these."""

    weight: float
    open: int
    of: int
    loss: float
    select: Interval
    held_out: Interval | None


@dataclass(frozen=True, kw_only=True)
class EdgePoint:
    """A circuit of `size` edges, and random edges between the same layers; `random` None where all are taken."""

    size: int
    faithfulness: Interval
    random: RandomCircuits | None


@dataclass(frozen=True, kw_only=True)
class PathPatching:
    """The `n` largest edges beside what a change along each does, mean of the two directions: the share with the same
    sign, and Spearman's rho. Weights are averaged from the clean to the corrupted run, so neither direction alone is
    what they estimate; `noising` and `denoising` are rho beside each.
    """

    n: int
    sign: float | None
    rank_correlation: float | None
    noising: float | None
    denoising: float | None


@dataclass(frozen=True, kw_only=True)
class EdgeCircuits:
    """Edges between `n_nodes` nodes of neighbouring layers: `n_edges` of `n_pairs` pairs of nodes have a weight.

    `node_circuit`: faithfulness of the nodes; `all_pairs` of every pair of them as an edge, which is the same.
    `absolute`: the sum of absolute weights, and of their parts along the skip path, attention and the MLP.
    """

    n: int
    n_nodes: int
    n_edges: int
    n_pairs: int
    node_circuit: Interval
    all_pairs: Interval
    points: list[EdgePoint]
    absolute: dict[str, float]
    path_patching: PathPatching


@dataclass(frozen=True, kw_only=True)
class NullCircuit:
    """The circuit of all nodes that are larger than any node of null pairs, on held-out pairs."""

    threshold: float
    size: int
    faithfulness: Interval | None


@dataclass(frozen=True, kw_only=True)
class ErrorLatentCircuit:
    """The circuits of one contrast, found on `n` pairs of one shape; `n_held_out` pairs have other words.

    `faithfulness` and `completeness` are those on held-out pairs of the circuit that is enough, else of the largest;
    `error_share` is what is lost on held-out pairs when every latent is kept and no error.
    """

    contrast: str
    format: str
    template: str
    shape: int
    n: int
    n_held_out: int
    n_nodes: int
    size: int
    faithfulness: Interval
    completeness: Interval
    error_share: Interval
    null_pairs: NullCircuit
    enough: list[EnoughNodes]
    curves: list[Curve]
    one_layer: list[OneLayerCut]
    transfers: list[Transfer]
    masks: list[LearnedMask]
    edges: EdgeCircuits | None


@dataclass(frozen=True, kw_only=True)
class ErrorLatentCircuitsDocument:
    """circuits.json; the fields besides `circuits` are those of its first contrast. `held_out` counts pairs."""

    site: str
    dictionaries: str
    faithfulness: Interval
    completeness: Interval
    error_share: Interval
    null_pairs: NullCircuit
    held_out: int
    edges: EdgeCircuits | None
    circuits: list[ErrorLatentCircuit]
