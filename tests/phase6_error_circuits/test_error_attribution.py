"""Covers phase 6.3 (phase6_error_circuits/attribution): what is told of a shape, null pairs, the strongest latents."""

import json

import pytest
from error_circuit_toys import a_pair, null_of, planted, random_decoder, random_dictionaries, random_pairs

from common.handoffs.document import as_json, from_json
from common.handoffs.error_attribution import AttributedShape
from common.handoffs.error_latents import ERROR_ATTRIBUTION
from common.phases.settings import build_config
from phase6_error_circuits.attribution.attribution import nodes_of, row_of
from phase6_error_circuits.attribution.config import ErrorAttributionConfig
from phase6_error_circuits.attribution.figures import draw_errors, draw_places
from phase6_error_circuits.attribution.measuring import Measured, Measurer
from phase6_error_circuits.attribution.top_latents import strongest
from phase6_error_circuits.latents.gradients import IG
from phase6_error_circuits.latents.nodes import Node
from phase6_error_circuits.latents.studied import StudiedShape, disjoint_nulls
from phase6_error_circuits.pair import ErrorPair

CONFIG = build_config(ErrorAttributionConfig, "demo", {"n_resamples": 1000})


def a_shape(select: list[ErrorPair], nulls: list[ErrorPair], held_out: list[ErrorPair] | None = None) -> StudiedShape:
    return StudiedShape("TypeError/SyntaxError", "seed", "toy", 0, select, held_out or [], nulls)


@pytest.fixture(scope="module")
def measured() -> tuple[StudiedShape, Measured]:
    lm = random_decoder()
    select = random_pairs(4)
    shape = a_shape(select, disjoint_nulls(null_of(select)), random_pairs(3, seed=9))
    return shape, Measurer(lm, random_dictionaries(lm), CONFIG).measure(shape)


def test_what_is_told_of_a_shape_survives_its_json(measured):
    _, found = measured
    assert from_json(AttributedShape, json.loads(json.dumps(as_json(found.told)))) == found.told


def test_each_layer_is_told_of_with_its_errors(measured):
    _, found = measured
    for layer in found.told.layers:
        assert layer.worth == pytest.approx(1.0, abs=1e-4)
        assert layer.ig == pytest.approx(1.0, abs=0.021)
        errors = layer.errors
        assert errors.signed is not None and errors.absolute is not None and 0 < errors.absolute < 1
        assert layer.differs.keys() == {"diff_first", "diff_last", "after_diff", "code_end", "raise", "end"}


def test_the_errors_of_all_layers_are_changed_together(measured):
    _, found = measured
    error_share = found.told.error_share
    assert error_share.share.low is not None and error_share.share.low <= error_share.share.known
    last = found.told.layers[-1].errors.exact
    assert error_share.share.known != pytest.approx(last)


def test_held_out_pairs_are_measured_apart(measured):
    shape, found = measured
    held_out = found.told.held_out
    assert held_out is not None and held_out.n == len(shape.held_out) == 3
    assert held_out.effect.value != found.told.effect.value
    assert held_out.agreement is not None and -1 <= held_out.agreement <= 1


def test_null_pairs_give_no_node_above_the_threshold():
    lm, select = random_decoder(), random_pairs(6)
    nulls = disjoint_nulls(null_of(select))
    as_real = [a_pair(pair.pair, pair.clean_ids, pair.corrupted_ids) for pair in nulls]
    found = Measurer(lm, random_dictionaries(lm), CONFIG).measure(a_shape(as_real, nulls))
    assert found.told.null_pairs.above == 0
    assert not any(
        row["above_null"]
        for row in nodes_of(row_of(0, a_shape(as_real, nulls), found), a_shape(as_real, nulls), found.told)
    )


def test_without_null_pairs_no_node_counts():
    lm = random_decoder()
    shape = a_shape(random_pairs(3), [])
    found = Measurer(lm, random_dictionaries(lm), CONFIG).measure(shape)
    assert found.told.null_pairs.n == 0
    assert not any(row["above_null"] for row in nodes_of(row_of(0, shape, found), shape, found.told))


def test_planted_nodes_are_above_the_null_and_their_errors_are_nothing():
    lm, dictionaries, pairs = planted()
    found = Measurer(lm, dictionaries, CONFIG).measure(a_shape(pairs, disjoint_nulls(null_of(pairs))))
    assert found.told.null_pairs.above == 2
    assert found.told.error_share.share.value == pytest.approx(0.0, abs=1e-6)
    assert found.tried[Node(1, 5, 1)] == pytest.approx((found.by_method[IG].of(Node(1, 5, 1)),) * 2, rel=1e-5)


def test_rows_of_nodes_have_every_declared_column(measured):
    shape, found = measured
    rows = nodes_of(row_of(0, shape, found), shape, found.told)
    assert all(row.keys() == ERROR_ATTRIBUTION.tables["nodes.parquet"].keys() for row in rows)
    assert len(rows) == found.told.n_nodes
    tried = [row for row in rows if row["noising"] is not None]
    assert len(tried) == found.told.exact.n == CONFIG.n_exact
    assert [abs(row["ig"]) for row in rows] == sorted((abs(row["ig"]) for row in rows), reverse=True)


def test_the_strongest_latents_are_means_over_the_pairs_of_all_shapes(measured):
    shape, found = measured
    rows = nodes_of(row_of(0, shape, found), shape, found.told)
    other = AttributedShape(**{**vars(found.told), "template": "another", "n": 3 * found.told.n})
    tops = strongest(rows, [found.told, other], 5)
    alone = strongest(rows, [found.told], 5)
    assert [(top.layer, top.latent, top.place) for top in tops] == [(top.layer, top.latent, top.place) for top in alone]
    assert [top.effect for top in tops] == pytest.approx([top.effect / 4 for top in alone])
    assert tops[0].templates == pytest.approx({"toy": alone[0].share, "another": 0.0})
    assert all(top.latent >= 0 for top in tops)


def test_figures_are_drawn(measured):
    shape, found = measured
    assert draw_errors([found.told]).startswith(b"<?xml")
    assert b"diff_first" in draw_places(nodes_of(row_of(0, shape, found), shape, found.told), "toy")
