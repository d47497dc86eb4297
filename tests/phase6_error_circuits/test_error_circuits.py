"""Covers phase 6.4 on toys (phase6_error_circuits/circuits): rankings, curves, random circuits, masks, the graph."""

import json
import random
from dataclasses import replace

import pytest
import torch
from error_circuit_toys import planted, random_decoder, random_dictionaries, random_pairs

from common.errors import ConfigError
from common.handoffs.error_latent_circuits import ErrorLatentCircuit, RandomCircuits
from common.handoffs.error_latents import ERROR_LATENT_CIRCUITS
from common.model.sites import ATTN_OUT
from common.phases.settings import build_config
from phase6_error_circuits.circuits.bases import bases_of, on_common_columns
from phase6_error_circuits.circuits.circuits import STEPS, joined, steps_of
from phase6_error_circuits.circuits.config import (
    ABLATIONS,
    ABSOLUTE,
    ERROR_MODES,
    LAYERS,
    MEAN,
    POSITIVE,
    RESAMPLE,
    ZERO,
    ErrorCircuitsConfig,
)
from phase6_error_circuits.circuits.figures import draw_curves, draw_edges
from phase6_error_circuits.circuits.mask import learn_mask, open_in_the_mean
from phase6_error_circuits.circuits.node_steps import curves_step
from phase6_error_circuits.circuits.ranking import first_of_layers, random_circuit, ranked
from phase6_error_circuits.circuits.rows import circuit_rows, curve_rows, edge_rows
from phase6_error_circuits.circuits.scoring import Scorer, of_random, size_that_reaches, sizes_of
from phase6_error_circuits.circuits.subject import Subject
from phase6_error_circuits.latents.dictionaries import SiteDictionaries
from phase6_error_circuits.latents.gradients import corrupted_of, integrated
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.shares import Bootstrap
from phase6_error_circuits.latents.split_arms import batches_of
from phase6_error_circuits.latents.studied import StudiedShape
from phase6_error_circuits.pair import REPORT, SELECT

GIVEN = {"n_resamples": 1000, "sizes": (5, 20), "mask_steps": 3, "edge_nodes": 6, "edge_sizes": (10,), "n_exact": 5}
GIVEN |= {"errors": ERROR_MODES, "other_sizes": (5, 20)}
CONFIG = build_config(ErrorCircuitsConfig, "demo", GIVEN)


def subject_of(lm, dictionaries: SiteDictionaries, pairs, threshold: float = 0.0) -> Subject:
    half = len(pairs) // 2
    other = [replace(pair, template="another") for pair in random_pairs(2, seed=11)]
    facts = ("TypeError/SyntaxError", "seed")
    shape = StudiedShape(*facts, "toy", 0, pairs[:half], pairs[half:], [])
    another = StudiedShape(*facts, "another", 0, other, other, [])
    batches = batches_of(lm, dictionaries, shape.select, 8)
    importance = integrated(batches, corrupted_of(batches)).importance.nodes()
    return Subject(lm, dictionaries, CONFIG, shape, [another], importance, threshold)


@pytest.fixture(scope="module")
def subject() -> Subject:
    lm = random_decoder()
    return subject_of(lm, random_dictionaries(lm), random_pairs(6))


@pytest.fixture(scope="module")
def parts(subject) -> list[dict]:
    steps = [curves_step(subject, name) if name in ABLATIONS else STEPS[name](subject) for name in steps_of(CONFIG)]
    return [json.loads(json.dumps(part)) for part in steps]


@pytest.fixture(scope="module")
def circuit(subject, parts) -> ErrorLatentCircuit:
    return joined(parts, subject.shape, len(subject.importance))


def test_rankings_put_the_same_nodes_in_their_own_order():
    importance = {Node(0, 0, 1): 3.0, Node(0, 1, 2): 2.0, Node(1, 0, 3): 1.0, Node(1, 0, None): -5.0}
    assert ranked(importance, POSITIVE) == [Node(0, 0, 1), Node(0, 1, 2), Node(1, 0, 3)]
    assert ranked(importance, ABSOLUTE)[0] == Node(1, 0, None)
    assert ranked(importance, LAYERS) == [Node(0, 0, 1), Node(1, 0, 3), Node(0, 1, 2)]
    assert first_of_layers(ranked(importance, POSITIVE), 1) == [Node(0, 0, 1), Node(1, 0, 3)]
    assert first_of_layers(ranked(importance, POSITIVE), 1, [1]) == [Node(1, 0, 3)]


def test_random_circuits_have_as_many_nodes_of_each_layer_kind_and_position():
    pool = [Node(layer, pos, one) for layer in (0, 1) for pos in (0, 1) for one in (None, 1, 2, 3, 4)]
    circuit = [Node(0, 1, 1), Node(0, 1, 2), Node(1, 0, 3), Node(1, 1, None)]
    drawn = random_circuit(circuit, pool, random.Random(0))
    assert sorted((node.layer, node.pos) for node in drawn if not node.is_error) == [(0, 1), (0, 1), (1, 0)]
    assert [node.layer for node in drawn if node.is_error] == [1] and len({*drawn}) == 4


def test_the_whole_ranking_by_absolute_value_is_the_clean_run_and_nothing_the_corrupted_one(subject):
    scorer = subject.scorer(REPORT)
    assert scorer.faithfulness([]).value == pytest.approx(0.0, abs=1e-5)
    assert scorer.completeness([]).value == pytest.approx(1.0, abs=1e-5)
    select = subject.scorer(SELECT)
    assert select.faithfulness(subject.order(ABSOLUTE)).value == pytest.approx(1.0, abs=1e-4)
    assert select.completeness(subject.order(ABSOLUTE)).value == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("ablation", [MEAN, ZERO])
def test_every_active_node_kept_is_the_clean_run_whatever_stands_outside(subject, ablation):
    everything = [node for node in subject.order(ABSOLUTE, ablation)]
    assert subject.scorer(SELECT, ablation).faithfulness(everything).value == pytest.approx(1.0, abs=1e-3)
    assert len(everything) > len(subject.order(ABSOLUTE))


def test_means_are_those_of_the_pairs_that_select(subject):
    held_out = bases_of(MEAN, subject.select, subject.held_out)
    [arms], [base] = subject.select, bases_of(MEAN, subject.select, subject.select)
    by_hand = torch.cat([arms.clean.values.whole[1], arms.corrupted.values.whole[1]]).mean(0)
    assert torch.allclose(base.whole[1][0], by_hand, atol=1e-6)
    assert all(torch.equal(one.whole[1], base.whole[1]) for one in held_out)


def test_batches_get_the_columns_of_all(subject):
    one, other = on_common_columns(subject.select, subject.held_out)
    assert all(torch.equal(one[0].columns[layer], other[0].columns[layer]) for layer in subject.dictionaries.layers)
    latents = one[0].dictionaries.split(0, one[0].clean.values.whole[0])[0]
    assert torch.equal(latents[..., one[0].columns[0]], one[0].clean.values.latents[0])


def test_the_planted_circuit_of_two_nodes_is_found_with_faithfulness_one():
    lm, dictionaries, pairs = planted()
    subject = subject_of(lm, dictionaries, pairs, threshold=1e-3)
    found = joined([curves_step(subject, RESAMPLE), *[STEPS[name](subject) for name in STEPS]], subject.shape, 2)
    assert found.enough[0].size == 2 and found.size == 2
    assert found.faithfulness.value == pytest.approx(1.0, abs=1e-5)
    assert found.completeness.value == pytest.approx(0.0, abs=1e-5)
    assert found.error_share.value == pytest.approx(0.0, abs=1e-5)
    assert found.null_pairs.size == 2
    assert found.edges is not None and found.edges.n_edges == 1
    assert found.edges.all_pairs.value == pytest.approx(1.0, abs=1e-5)
    assert found.edges.path_patching.sign == 1.0


def test_a_learned_mask_opens_the_planted_nodes_and_closes_the_others():
    lm, dictionaries, pairs = planted()
    [arms] = batches_of(lm, dictionaries, pairs, 8)
    planted_nodes = [Node(0, 2, 0), Node(1, arms.n_pos - 1, 1)]
    others = [Node(0, 1, 3), Node(0, 2, 4), Node(1, 2, 5), Node(1, 3, None)]
    learned = learn_mask(arms, [*others, *planted_nodes], 0.3, 120, 0.1)
    assert {*learned.open} == {*planted_nodes} and learned.loss < 0.05
    assert {*[*open_in_the_mean([learned])][:2]} == {*planted_nodes}


def test_every_step_tells_its_part(circuit):
    assert {(curve.ablation, curve.error_nodes) for curve in circuit.curves} >= {
        (ablation, errors) for ablation in ABLATIONS for errors in ERROR_MODES
    }
    assert {one.ranking for one in circuit.enough} == {"positive", "absolute", "layers", "mask"}
    assert [cut.kept for cut in circuit.one_layer] == [*CONFIG.one_layer]
    assert {one.template for one in circuit.transfers} == {"toy", "another"}
    assert len(circuit.masks) == len(CONFIG.mask_lambdas)
    assert circuit.edges is not None and circuit.edges.path_patching.n == CONFIG.n_exact


@pytest.mark.parametrize("ablation", [MEAN, ZERO])
def test_with_means_or_nothing_outside_there_is_a_curve_with_what_speaks_against_the_answer_too(circuit, ablation):
    own = [curve for curve in circuit.curves if (curve.ablation, curve.error_nodes) == (ablation, "nodes")]
    by_ranking = {curve.ranking: curve for curve in own}
    assert len(own) == 2 and by_ranking.keys() == {POSITIVE, ABSOLUTE}
    assert by_ranking[ABSOLUTE].points[-1].size > by_ranking[POSITIVE].points[-1].size


def test_errors_kept_or_ablated_are_no_part_of_the_size(circuit):
    for curve in circuit.curves:
        counted = {point.errors for point in curve.points}
        assert curve.error_nodes == "nodes" or counted == {0}


def test_random_circuits_stand_beside_every_size_but_the_last(circuit):
    [main] = [
        curve
        for curve in circuit.curves
        if (curve.ranking, curve.ablation, curve.error_nodes, curve.split) == ("positive", RESAMPLE, "nodes", REPORT)
    ]
    assert [point.random is not None for point in main.points] == [True] * (len(main.points) - 1) + [False]


def test_where_there_is_no_effect_nothing_is_told_of_random_circuits_but_their_number():
    assert of_random([None, None]) == RandomCircuits(n=2, mean=None, largest=None)
    assert of_random([0.1, 0.3]) == RandomCircuits(n=2, mean=pytest.approx(0.2), largest=0.3)


def test_all_pairs_as_edges_are_the_node_circuit_on_held_out_pairs(circuit):
    assert circuit.edges is not None
    assert circuit.edges.all_pairs.value == pytest.approx(circuit.edges.node_circuit.value, abs=1e-4)


def test_rows_have_every_declared_column(subject, parts, circuit):
    tables = ERROR_LATENT_CIRCUITS.tables
    links, mask = (next(part[name] for part in parts if name in part) for name in ("links", "mask"))
    found = {
        "curves.parquet": curve_rows(circuit),
        "circuit.parquet": circuit_rows(subject.shape, subject.importance, mask),
        "edges.parquet": edge_rows(subject.shape, links),
    }
    for name, rows in found.items():
        assert rows and all(row.keys() == tables[name].keys() for row in rows)


def test_dictionaries_of_attention_outputs_make_circuits_without_edges():
    lm = random_decoder()
    subject = subject_of(lm, random_dictionaries(lm, ATTN_OUT), random_pairs(6))
    found = joined([curves_step(subject, RESAMPLE), STEPS["edges"](subject)], subject.shape, 1)
    assert found.edges is None
    assert subject.scorer(SELECT).faithfulness(subject.order(ABSOLUTE)).value == pytest.approx(1.0, abs=1e-3)


def test_figures_are_drawn(circuit):
    assert draw_curves(circuit).startswith(b"<?xml")
    assert circuit.edges is not None and draw_edges(circuit.edges, "toy").startswith(b"<?xml")


def test_sizes_are_those_below_all_and_all():
    assert sizes_of((5, 100, 20), 50) == [5, 20, 50]
    assert sizes_of((5,), 0) == [0]


def test_the_size_that_is_enough_is_found_to_a_tenth():
    found = {10: 0.1, 100: 0.5, 1000: 0.9}
    size = size_that_reaches(0.8, [10, 100, 1000], found, lambda n: 0.9 if n >= 437 else 0.5)
    assert size is not None and 437 <= size <= 437 * 1.12
    assert size_that_reaches(0.95, [10, 100, 1000], found, lambda n: 0.0) is None


def test_shares_are_ratios_of_means(subject):
    batches = subject.select
    scorer = Scorer(batches, bases_of(RESAMPLE, batches, batches), Bootstrap(3, 1000, 0))
    metric = scorer.nothing + torch.tensor([1.0, 2.0, 3.0])
    whole = scorer.clean - scorer.nothing
    assert scorer.share(metric).value == pytest.approx(2.0 / float(whole.mean()), rel=1e-4)


def test_resample_and_ranked_errors_cannot_be_left_out():
    with pytest.raises(ConfigError, match="Give resample"):
        build_config(ErrorCircuitsConfig, "demo", {"ablations": ("mean",)})
    with pytest.raises(ConfigError, match="Give nodes"):
        build_config(ErrorCircuitsConfig, "demo", {"errors": ("kept", "ablated")})
