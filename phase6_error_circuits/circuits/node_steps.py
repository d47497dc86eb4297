"""Steps on circuits of nodes: curves, one layer cut at a time, other templates, masks. Each gives JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from common.handoffs.document import as_json
from common.handoffs.error_latent_circuits import (
    Curve,
    EnoughNodes,
    LearnedMask,
    NullCircuit,
    OneLayerCut,
    Transfer,
)
from phase6_error_circuits.circuits.config import ABSOLUTE, ERROR_MODES, LAYERS, MASK, NODES, POSITIVE, RESAMPLE
from phase6_error_circuits.circuits.mask import learn_mask, open_in_the_mean
from phase6_error_circuits.circuits.ranking import first_of_layers
from phase6_error_circuits.circuits.scoring import Scorer, size_that_reaches, sizes_of, without_errors
from phase6_error_circuits.circuits.subject import Subject
from phase6_error_circuits.circuits.transfer import PooledCircuit
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.studied import StudiedShape
from phase6_error_circuits.pair import REPORT, SELECT

Found = dict[str, Any]  # parts of an ErrorLatentCircuit by their name, as JSON values


def curves_step(subject: Subject, ablation: str) -> Found:
    """The positive ranking over sizes, with each use of error nodes; with corrupted values also where it is enough."""
    nodes, config = subject.order(POSITIVE, ablation), subject.config
    curves = [
        _curve(subject, POSITIVE, nodes, REPORT, ablation, errors, at_random=(ablation, errors) == (RESAMPLE, NODES))
        for errors in sorted(config.errors, key=ERROR_MODES.index)
    ]
    beside: Found = {}
    if ablation != RESAMPLE:  # only with what speaks against the answer too are all nodes the clean run
        every = subject.order(ABSOLUTE, ablation)
        curves.append(_curve(subject, ABSOLUTE, every, REPORT, ablation, NODES))
    else:
        curves.append(_curve(subject, POSITIVE, nodes, SELECT, ablation, NODES))
        beside = _enough(subject, curves[0], nodes) | {"null_pairs": as_json(null_circuit(subject))}
        beside |= _whole_circuit(subject, beside["enough"][0]["size"] or len(nodes), nodes)
    return {"curves": as_json(curves)} | beside


def null_circuit(subject: Subject) -> NullCircuit:
    """All nodes above the null pairs' largest that support the clean answer."""
    counted = [node for node in subject.order(POSITIVE) if subject.importance[node] > subject.threshold]
    scorer = subject.scorer(REPORT)
    return NullCircuit(
        threshold=subject.threshold,
        size=len(counted),
        faithfulness=scorer.faithfulness(counted) if counted else None,
    )


def _whole_circuit(subject: Subject, size: int, nodes: Sequence[Node]) -> Found:
    """The circuit that is enough, on held-out pairs; and what is lost when every latent is kept and no error."""
    scorer, circuit = subject.scorer(REPORT), nodes[:size]
    every_error = [Node(layer, pos, None) for layer in scorer.layers for pos in range(scorer.batches[0].n_pos)]
    lost = scorer.share(scorer.nothing + scorer.clean - scorer.metric_without(every_error))
    return {
        "size": len(circuit),
        "faithfulness": as_json(scorer.faithfulness(circuit)),
        "completeness": as_json(scorer.completeness(circuit)),
        "error_share": as_json(lost),
    }


def rankings_step(subject: Subject) -> Found:
    """The rankings beside the positive one, on held-out pairs."""
    result: Found = {"curves": [], "enough": []}
    for ranking in (ABSOLUTE, LAYERS):
        nodes = subject.order(ranking)
        curve = _curve(subject, ranking, nodes, REPORT, RESAMPLE, NODES)
        result["curves"].append(as_json(curve))
        result["enough"] += _enough(subject, curve, nodes)["enough"]
    return result


def layers_step(subject: Subject) -> Found:
    """One layer cut at a time to its first nodes, all others whole: what a chain of cuts multiplies."""
    scorer, cuts = subject.scorer(REPORT), []
    for n in subject.config.one_layer:
        shares = {}
        for layer in scorer.layers:
            circuit = first_of_layers(subject.order(POSITIVE), n, [layer])
            shares[str(layer)] = scorer.faithfulness(circuit, layers=[layer]).value
        known = [value for value in shares.values() if value is not None]
        product = float(np.prod(known)) if len(known) == len(shares) else None
        cuts.append(OneLayerCut(kept=n, split=REPORT, layers=shares, product=product))
    return {"one_layer": as_json(cuts)}


def transfer_step(subject: Subject) -> Found:
    """The circuit, without positions, on held-out pairs of its own shape and of the contrast's others."""
    nodes, config = subject.order(POSITIVE), subject.config
    pool = {
        layer: {node.latent for node in nodes if node.layer == layer and node.latent is not None}
        for layer in subject.dictionaries.layers
    }
    transfers = []
    for shape in [subject.shape, *subject.others[: config.n_others or None]]:
        is_own = shape is subject.shape
        scorer = subject.scorer(REPORT) if is_own else subject.scorer_of(subject.batches(shape.held_out))
        for size in sorted({min(size, len(nodes)) for size in config.other_sizes}):
            circuit = PooledCircuit(nodes[:size], scorer.layers, subject.shape.named)
            transfers.append(
                Transfer(
                    template=shape.template,
                    shape=shape.shape,
                    own=is_own,
                    n=len(shape.held_out),
                    size=size,
                    faithfulness=_pooled(scorer, circuit, shape),
                    random=circuit.at_random(scorer, shape.named, pool, config.n_random, config.seed),
                )
            )
    return {"transfers": as_json(transfers)}


def mask_step(subject: Subject) -> Found:
    """Masks for several weights of the open share, and the ranking that they make together."""
    config = subject.config
    by_size = subject.order(ABSOLUTE)[: config.mask_nodes]
    [arms, *_] = subject.batches(subject.shape.select[: config.mask_pairs])
    masks, told = [], []
    for weight in config.mask_lambdas:
        learned = learn_mask(arms, by_size, weight, config.mask_steps, config.mask_rate)
        masks.append(learned)
        told.append(
            LearnedMask(
                weight=weight,
                open=len(learned.open),
                of=len(by_size),
                loss=learned.loss,
                select=subject.scorer(SELECT).faithfulness(learned.open),
                held_out=subject.scorer(REPORT).faithfulness(learned.open),
            )
        )
    opened = open_in_the_mean(masks)
    curve = _curve(subject, MASK, [*opened], REPORT, RESAMPLE, NODES)
    return {
        "masks": as_json(told),
        "curves": [as_json(curve)],
        "mask": [[*node, value] for node, value in opened.items()],
        **_enough(subject, curve, [*opened]),
    }


def _pooled(scorer: Scorer, circuit: PooledCircuit, shape: StudiedShape) -> Any:
    return scorer.of_cut(lambda arms: circuit.cut(arms, shape.named))


def _curve(
    subject: Subject,
    ranking: str,
    nodes: Sequence[Node],
    split: str,
    ablation: str,
    errors: str,
    *,
    at_random: bool = False,
) -> Curve:
    config, scorer = subject.config, subject.scorer(split, ablation)
    counted = without_errors(nodes, errors)
    candidates, points = [*subject.importance], []
    for size in sizes_of(config.sizes, len(counted)):
        circuit, beside = counted[:size], None
        if at_random and size < len(counted):
            beside = scorer.at_random(circuit, candidates, config.n_random, config.seed)
        points.append(scorer.point(circuit, errors, beside))
    return Curve(
        ranking=ranking,
        ablation=ablation,
        error_nodes=errors,
        split=split,
        n=len(scorer.clean),
        clean=float(scorer.clean.mean()),
        nothing=float(scorer.nothing.mean()),
        points=points,
    )


def _enough(subject: Subject, curve: Curve, nodes: Sequence[Node]) -> Found:
    """The size at which held-out faithfulness is enough, looked for between the sizes of a curve."""
    scorer, enough = subject.scorer(REPORT), subject.config.enough
    faithfulness_at = {point.size: point.faithfulness for point in curve.points}

    def measure(size: int) -> float | None:
        faithfulness_at[size] = scorer.faithfulness(nodes[:size])
        return faithfulness_at[size].value

    known = {size: one.value for size, one in faithfulness_at.items()}
    size = size_that_reaches(enough, [*known], known, measure)
    told = EnoughNodes(
        ranking=curve.ranking,
        enough=enough,
        size=size,
        of=len(nodes),
        faithfulness=None if size is None else faithfulness_at[size],
    )
    return {"enough": [as_json(told)]}
