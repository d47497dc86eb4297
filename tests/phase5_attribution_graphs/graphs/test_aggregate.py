"""Covers nodes that many graphs of a behaviour share (phase5_attribution_graphs/graphs/aggregate.py)."""

import numpy as np
import pytest

from phase5_attribution_graphs.graphs.aggregate import ShownNodes, as_row, frequent_nodes

ALWAYS, OFTEN, RARELY = (0, 7, "last"), (1, 3, "entity"), (2, 5, "last")


def graphs(n: int = 10, *, in_shuffled: frozenset = frozenset()) -> list[ShownNodes]:
    """ALWAYS in all of them, OFTEN in half, RARELY in one."""
    found = []
    for number in range(n):
        effects = {ALWAYS: 0.5 + 0.01 * number}
        effects |= {OFTEN: -0.2} if number % 2 else {}
        effects |= {RARELY: 0.1} if number == 0 else {}
        found.append(ShownNodes(effects, in_shuffled))
    return found


def test_nodes_below_the_wanted_frequency_are_left_out():
    nodes = frequent_nodes(graphs(), 0.2, 1000, 0)
    assert [(node.layer, node.latent, node.role) for node in nodes] == [ALWAYS, OFTEN]
    assert [(node.n, node.frequency.value) for node in nodes] == [(10, 1.0), (5, 0.5)]
    assert len(frequent_nodes(graphs(), 0.1, 1000, 0)) == 3


def test_an_effect_is_the_mean_over_all_graphs_with_zero_where_a_node_is_not_shown():
    always, often = frequent_nodes(graphs(), 0.2, 2000, 0)
    assert always.effect.value == pytest.approx(0.545)
    assert often.effect.value == pytest.approx(-0.1)
    assert often.effect.low is not None and often.effect.low < -0.1 < often.effect.known + 0.1


def test_what_other_answers_show_as_often_is_not_beyond_shuffled():
    apart = frequent_nodes(graphs(), 0.2, 1000, 0)
    assert [(node.shuffled, node.beyond_shuffled) for node in apart] == [(0.0, True), (0.0, True)]
    alike = frequent_nodes(graphs(in_shuffled=frozenset({ALWAYS, OFTEN})), 0.2, 1000, 0)
    assert [node.beyond_shuffled for node in alike] == [False, False]
    assert [node.excess.value for node in alike] == pytest.approx([0.0, -0.5])


def test_intervals_are_quantiles_of_resampled_prompts():
    [_, often] = frequent_nodes(graphs(), 0.2, 4000, 3)
    shown = np.array([number % 2 for number in range(10)], float)
    drawn = np.random.default_rng(3).multinomial(10, np.full(10, 0.1), size=4000) @ shown / 10
    assert (often.frequency.low, often.frequency.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_a_row_has_every_declared_column():
    from common.handoffs.graphing import CIRCUIT_GRAPHS

    [node, *_] = frequent_nodes(graphs(), 0.2, 1000, 0)
    assert as_row("agreement", node).keys() == CIRCUIT_GRAPHS.tables["nodes.parquet"].keys()
