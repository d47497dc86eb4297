"""Covers nodes of dictionaries without splicing (phase6_error_circuits/latents): sums, identities, changes, cuts."""

import pytest
import torch
from architectures import small
from error_circuit_toys import (
    D_SAE,
    DIFFERS,
    ROUNDING,
    linear_decoder,
    null_of,
    planted,
    random_decoder,
    random_dictionaries,
    random_pairs,
)
from error_pairs import made_pairs

from common.errors import ConfigError
from common.model.sites import ATTN_OUT, MLP_OUT, RESID_POST
from phase6_error_circuits.latents.cutting import cut_of, kept, removed
from phase6_error_circuits.latents.exact import denoising, noising, parts_of_layer
from phase6_error_circuits.latents.gradients import (
    TOLERANCE,
    along,
    between,
    corrupted_of,
    first_order,
    gradient,
    integrated,
    midpoints,
)
from phase6_error_circuits.latents.nodes import Importance, Node, mean_of, places_of
from phase6_error_circuits.latents.shares import Bootstrap, rank_correlation
from phase6_error_circuits.latents.split_arms import SplitArms, Values, batches_of, take_latents
from phase6_error_circuits.latents.studied import disjoint_nulls

KINDS = (RESID_POST, ATTN_OUT, MLP_OUT)


def toy(kind: str = RESID_POST, linear: bool = False, n_layers: int = 3) -> SplitArms:
    lm = (linear_decoder if linear else random_decoder)(n_layers)
    [arms] = batches_of(lm, random_dictionaries(lm, kind), random_pairs(), 8)
    return arms


def every_node(arms: SplitArms) -> list[Node]:
    """All that may differ in a run: every latent and error, at all positions."""
    layers, n_pos = arms.dictionaries.layers, arms.n_pos
    return [Node(layer, pos, one) for layer in layers for pos in range(n_pos) for one in [None, *range(D_SAE)]]


def test_latents_and_error_make_the_value():
    arms = toy()
    values = arms.clean.values
    for layer, sae in arms.dictionaries.by_layer.items():
        rows = sae.W_dec[arms.columns[layer]]
        again = values.latents[layer] @ rows + sae.b_dec + values.errors[layer]
        assert torch.allclose(again, values.whole[layer], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_nodes_of_a_layer_sum_to_what_the_layer_is_worth(kind):
    arms = toy(kind)
    found = integrated([arms], corrupted_of([arms]))
    effect = abs(float(arms.effect.mean()))
    for layer in arms.dictionaries.layers:
        worth = float(parts_of_layer(arms, layer)[2].mean())
        assert abs(found.importance.sum_of(layer) - worth) <= TOLERANCE * max(effect, abs(worth)) * 1.001


def test_a_layer_of_the_residual_stream_is_worth_the_whole_effect():
    arms = toy()
    for layer in arms.dictionaries.layers:
        assert torch.allclose(parts_of_layer(arms, layer)[2], arms.effect, atol=1e-5)


def test_more_points_are_taken_where_a_layer_does_not_add_up():
    arms = toy()
    coarse = integrated([arms], corrupted_of([arms]), n_points=1)
    assert max(coarse.n_points.values()) > 1
    assert sorted([*midpoints(4), *between(4)]) == pytest.approx(midpoints(12))
    again = along([arms], corrupted_of([arms]), coarse.n_points)
    assert again.sum_of(0) == pytest.approx(coarse.importance.sum_of(0), rel=1e-4)


def test_leaves_spliced_beside_an_identity_path_have_the_same_gradients():
    """x + [decode(f) + e] - [the same, detached]: the stream is as it was, and latents and errors have gradients."""
    arms = toy()
    dictionaries, stream, leaves = arms.dictionaries, arms.entering(0), {}
    for layer in range(arms.replay.n_layers):
        stream = arms.replay.block(layer, stream)
        latents, error = dictionaries.split(layer, stream.detach())
        leaves[layer] = latents.clone().requires_grad_(True), error.clone().requires_grad_(True)
        made = dictionaries.by_layer[layer].decode(leaves[layer][0]) + leaves[layer][1]
        stream = stream + made - made.detach()
    arms.metric(stream).sum().backward()
    for layer, (latents, error) in leaves.items():
        plain = gradient(arms, layer, arms.corrupted.values.whole[layer], [0.0])
        assert torch.allclose(error.grad, plain, atol=1e-5)
        assert torch.allclose(latents.grad, plain @ dictionaries.by_layer[layer].W_dec.T, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_linear_decoder_every_method_is_exact(kind):
    arms = toy(kind, linear=True)
    others = corrupted_of([arms])
    methods = [
        first_order([arms], others, 0.0),
        first_order([arms], others, 1.0),
        integrated([arms], others).importance,
    ]
    top = [*methods[0].nodes()][:20]
    assert top or kind == MLP_OUT  # whose output is nothing here
    for node in top:
        exact = float(noising(arms, node).mean()), float(denoising(arms, node).mean())
        assert [*exact, *[found.of(node) for found in methods]] == pytest.approx(
            [methods[0].of(node)] * 5, abs=ROUNDING
        )


@pytest.mark.parametrize("kind", KINDS)
def test_everything_kept_is_the_clean_run(kind):
    arms = toy(kind)
    cut = cut_of(every_node(arms), arms.dictionaries.layers, arms.n_pos, "cpu")
    with torch.no_grad():
        assert torch.allclose(kept(arms, cut, arms.corrupted.values), arms.clean.metric, atol=1e-4)
        nothing = cut_of([], arms.dictionaries.layers, arms.n_pos, "cpu")
        assert torch.allclose(removed(arms, nothing, arms.corrupted.values), arms.clean.metric, atol=1e-4)


def test_nothing_kept_is_the_corrupted_run():
    arms = toy()
    nothing = cut_of([], arms.dictionaries.layers, arms.n_pos, "cpu")
    with torch.no_grad():
        assert torch.allclose(kept(arms, nothing, arms.corrupted.values), arms.corrupted.metric, atol=1e-4)


def test_keeping_a_circuit_is_removing_all_the_rest():
    arms = toy()
    nodes = every_node(arms)
    one, rest = nodes[::2], nodes[1::2]
    layers, n_pos = arms.dictionaries.layers, arms.n_pos
    with torch.no_grad():
        left = kept(arms, cut_of(one, layers, n_pos, "cpu"), arms.corrupted.values)
        same = removed(arms, cut_of(rest, layers, n_pos, "cpu"), arms.corrupted.values)
    assert torch.allclose(left, same, atol=1e-4)


def test_a_cut_of_one_layer_leaves_the_others_alone():
    arms = toy()
    with torch.no_grad():
        only = kept(arms, cut_of([], [1], arms.n_pos, "cpu"), arms.corrupted.values)
        everything = kept(arms, cut_of(every_node(arms), [1], arms.n_pos, "cpu"), arms.corrupted.values)
    assert torch.allclose(only, arms.corrupted.metric, atol=1e-4)
    assert torch.allclose(everything, arms.clean.metric, atol=1e-4)


def test_errors_kept_are_those_of_all_positions():
    arms = toy()
    cut = cut_of([], [0, 1], arms.n_pos, "cpu", every_error=True)
    assert {layer: one.errors.tolist() for layer, one in cut.items()} == dict.fromkeys((0, 1), [*range(arms.n_pos)])


def test_noising_one_node_is_a_change_of_its_decoder_row():
    arms = toy()
    node = next(node for node in integrated([arms], corrupted_of([arms])).importance.nodes() if not node.is_error)
    layer, pos, latent = node
    old, new = (arms.dictionaries.split(layer, one.values.whole[layer])[0] for one in (arms.clean, arms.corrupted))
    value = arms.clean.values.whole[layer].clone()
    value[:, pos] += (new - old)[:, pos, latent, None] * arms.dictionaries.by_layer[layer].W_dec[latent]
    assert torch.allclose(noising(arms, node), arms.clean.metric - arms.metric_with(layer, value), atol=ROUNDING)


def test_nothing_before_the_first_difference_is_a_node():
    found = integrated([arms := toy()], corrupted_of([arms])).importance
    assert min(node.pos for node in found.nodes()) == DIFFERS - 1  # streams begin where the code does


def test_a_model_whose_streams_do_not_begin_with_the_code_is_refused():
    """Layers that hand on more than keys and values: positions of nodes would be those of other tokens."""
    lm = small("lfm2")
    with pytest.raises(ConfigError, match=r"tiny lfm2 .* token 0 .*\n.*6\.4b"):
        batches_of(lm, random_dictionaries(lm), made_pairs(2), 8)


def test_a_mean_over_batches_is_that_over_all_pairs():
    lm = random_decoder()
    dictionaries, pairs = random_dictionaries(lm), random_pairs(5)
    whole, apart = (batches_of(lm, dictionaries, pairs, size) for size in (8, 2))
    one, other = (first_order(batches, corrupted_of(batches), 0.0) for batches in (whole, apart))
    for layer in dictionaries.layers:
        assert torch.allclose(one.latents[layer], other.latents[layer], atol=1e-5)
        assert torch.allclose(one.errors[layer], other.errors[layer], atol=1e-5)


def test_the_planted_circuit_is_found_and_is_all_there_is():
    lm, dictionaries, pairs = planted()
    [arms] = batches_of(lm, dictionaries, pairs, 8)
    found = integrated([arms], corrupted_of([arms])).importance.nodes()
    circuit = [node for node, value in found.items() if value > 1e-6]
    end = arms.n_pos - 1
    assert {*circuit} == {Node(0, DIFFERS - 1, 0), Node(1, end, 1)}
    with torch.no_grad():
        cut = cut_of(circuit, dictionaries.layers, arms.n_pos, "cpu")
        assert torch.allclose(kept(arms, cut, arms.corrupted.values), arms.clean.metric, atol=ROUNDING)
        assert torch.allclose(removed(arms, cut, arms.corrupted.values), arms.corrupted.metric, atol=ROUNDING)


def test_null_pairs_share_no_program():
    apart = disjoint_nulls(null_of(random_pairs(7)))
    programs = [tuple(ids) for pair in apart for ids in (pair.clean_ids, pair.corrupted_ids)]
    assert len(apart) == 3 and len({*programs}) == len(programs)


def test_places_are_named_positions_or_numbered_roles():
    [pair] = random_pairs(1)
    assert places_of(pair) == ["front", "call", "left", "diff_first", "after_diff", "raise", "end"]


def test_a_latent_without_a_column_is_zero():
    columns, values = torch.tensor([2, 5]), torch.tensor([[1.0, 3.0]])
    assert take_latents(columns, values, torch.tensor([5, 4, 2, 9])).tolist() == [[3.0, 0.0, 1.0, 0.0]]
    assert take_latents(torch.tensor([], dtype=torch.long), torch.zeros(1, 0), torch.tensor([3])).tolist() == [[0.0]]


def test_a_mean_of_means_weighs_by_pairs():
    one = Importance({0: torch.ones(1, 2)}, {0: torch.zeros(1)})
    other = Importance({0: torch.full((1, 2), 4.0)}, {0: torch.full((1,), 3.0)})
    found = mean_of([(one, 2), (other, 1)])
    assert found.of(Node(0, 0, 1)) == pytest.approx(2.0) and found.of(Node(0, 0, None)) == pytest.approx(1.0)
    assert found.largest() == pytest.approx(2.0)


def test_a_share_is_a_ratio_of_means_and_not_a_mean_of_ratios():
    part, whole = torch.tensor([1.0, 9.0]), torch.tensor([1.0, 99.0])
    found = Bootstrap(2, 1000, 0).ratio(part, whole)
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(9 / 99) and found.high == pytest.approx(1.0)


def test_a_rank_correlation_knows_no_constant():
    assert rank_correlation([1.0, 2.0, 3.0], [1.0, 4.0, 9.0]) == pytest.approx(1.0)
    assert rank_correlation([1.0, 1.0, 1.0], [1.0, 4.0, 9.0]) is None


def test_other_values_can_stand_for_the_corrupted_ones():
    arms = toy()
    both = arms.clean.values, arms.corrupted.values

    def mean(part: str) -> dict[int, torch.Tensor]:
        values = [getattr(one, part) for one in both]
        return {layer: torch.cat([one[layer] for one in values]).mean(0, keepdim=True) for layer in values[0]}

    middle = Values(mean("whole"), mean("latents"), mean("errors"))
    found, nothing = integrated([arms], [middle]), cut_of([], [0], arms.n_pos, "cpu")
    with torch.no_grad():
        lost = float((arms.clean.metric - kept(arms, nothing, middle)).mean())
    assert found.importance.sum_of(0) == pytest.approx(
        lost, abs=TOLERANCE * max(abs(lost), float(arms.effect.mean().abs()))
    )
