"""Covers what phase 5.5 changes in a run: effects beside plain transformers with hooks of the tests, and claims."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from small_circuits import LOG, PROMPTS, asked, circuit_of, meter_of

from phase5_attribution_graphs.interventions.ablations import ablated, null_effects, ranked
from phase5_attribution_graphs.interventions.circuits import Latents
from phase5_attribution_graphs.interventions.importance import importance
from phase5_attribution_graphs.interventions.means import MeanActivations
from phase5_attribution_graphs.interventions.measuring import FROZEN
from phase5_attribution_graphs.interventions.patching import Partner, patched, state_of_pair
from phase5_attribution_graphs.interventions.steering import steered
from phase5_attribution_graphs.replacement.interventions import Change

PROMPT, OTHER, CAPITAL = PROMPTS
CLOSE = {"rel": 1e-3, "abs": 2e-4}
INHIBIT = 0.5


@pytest.fixture(scope="module")
def rows(circuit, meter) -> list[dict]:
    means = {name: torch.full((len(index),), 0.25) for name, index in circuit.named.items()}
    return ablated(circuit, meter, means, INHIBIT)


def effect(rows: list[dict], **which) -> dict:
    [row] = [row for row in rows if which.items() <= row.items()]
    return row


@pytest.mark.parametrize("named", ["top_signed_effect", "top_influence"])
@pytest.mark.parametrize("intervention", ["zero", "mean", "inhibit"])
def test_an_effect_is_what_plain_hooks_find(organism, plain, circuit, rows, named, intervention):
    token_ids, answers = asked(organism, PROMPT)
    acts, places = plain.activations(token_ids), circuit.latents[circuit.named[named]].places()
    to = {"zero": lambda _: 0.0, "mean": lambda _: 0.25, "inhibit": lambda place: -INHIBIT * acts[place]}[intervention]
    values = [(place, to(place)) for place in places]
    found = effect(rows, set=named, intervention=intervention, fixed="nothing")
    for name, capped in (("effect", True), ("effect_before_cap", False)):
        before, after = (plain.difference(token_ids, answers, own, capped=capped) for own in ((), values))
        assert found[name] == pytest.approx(before - after, **CLOSE)
    assert found["whole"] == pytest.approx(plain.difference(token_ids, answers), rel=1e-4)
    assert found["share"] == pytest.approx(found["effect"] / found["whole"]) and found["n_latents"] == 10


def test_the_active_latents_are_those_of_plain_transformers(organism, plain, circuit):
    acts = plain.activations(asked(organism, PROMPT)[0])
    ours = dict(zip(circuit.active.places(), circuit.active.activation.tolist(), strict=True))
    assert len(ours.keys() ^ acts.keys()) <= 3  # at the threshold rounding decides
    assert all(ours[place] == pytest.approx(acts[place], rel=1e-3, abs=1e-4) for place in ours.keys() & acts.keys())


@pytest.mark.parametrize("named", ["kept", "others", "all"])
def test_the_pruned_graph_and_the_rest_are_set_to_zero_as_plain_hooks_do(organism, plain, circuit, rows, named):
    token_ids, answers = asked(organism, PROMPT)
    acts, kept = plain.activations(token_ids), {*circuit.latents[circuit.kept].places()}
    places = [place for place in acts if named == "all" or (place in kept) == (named == "kept")]
    after = plain.difference(token_ids, answers, [(place, 0.0) for place in places])
    found = effect(rows, set=named, fixed="nothing")
    assert found["effect"] == pytest.approx(plain.difference(token_ids, answers) - after, rel=5e-3, abs=2e-3)


def test_frozen_effects_of_the_last_layer_are_what_the_graph_claims(circuit, meter):
    """Nothing is between them and the logits but the final norm, which is as recorded."""
    last = (circuit.graph.layer == circuit.graph.n_layers - 1).nonzero()[:, 0]
    strongest = last[circuit.signed_effect[last].abs().argsort(descending=True)[:20]]
    found = meter.effects([circuit.latents[one[None]].set_to(0.0) for one in strongest], FROZEN).before_cap
    assert found == pytest.approx(circuit.signed_effect[strongest].tolist(), rel=1e-4, abs=1e-5)


def test_all_signed_effects_and_roots_explain_the_baseline_before_the_cap(circuit, plain, organism):
    token_ids, answers = asked(organism, PROMPT)
    value = float(circuit.graph.values[circuit.graph.n_latents])
    assert value == pytest.approx(plain.difference(token_ids, answers, capped=False), rel=1e-4)


def test_a_change_of_nothing_has_no_effect_at_all(meter):
    found = meter.effects([Change(), Change()])
    assert found.capped.tolist() == found.before_cap.tolist() == [0.0, 0.0]


def test_batches_of_another_size_give_the_same_effects(organism, transcoders, circuit, meter):
    changes = [circuit.latents[one[None]].set_to(0.0) for one in circuit.kept[:9]]
    found = [meter_of(organism, transcoders, circuit, size).effects(changes).capped for size in (1, 4, 64)]
    assert all(one == pytest.approx(found[0], rel=1e-3, abs=2e-5) for one in found[1:])


def test_where_memory_is_short_batches_are_halved(organism, transcoders, circuit, meter, monkeypatch):
    small, changes = meter_of(organism, transcoders, circuit), [circuit.latents[circuit.kept[:5]].set_to(0.0)] * 6
    usual, sizes = small._runner.outcomes, []

    def outcomes(batch, *arguments, **named):
        sizes.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError
        return usual(batch, *arguments, **named)

    monkeypatch.setattr(small._runner, "outcomes", outcomes)
    assert small.effects(changes).capped == pytest.approx(meter.effects(changes).capped, abs=2e-5)
    assert max(sizes) == 7 and sizes.count(3) >= 2


def test_the_named_set_has_the_rank_that_its_null_sets_give_it(organism, plain, circuit, meter, rows):
    nulls = null_effects(circuit, meter, 19, 456, 0)
    found = ranked(circuit, meter, rows, nulls)
    own = effect(found, set="top_signed_effect", intervention="zero", fixed="nothing")
    each = effect(found, intervention="zero_each")
    assert own["rank"] == 1 + sum(null >= own["effect"] for null in nulls.effects) and own["n_nulls"] == 19
    assert own["p"] == own["rank"] / 20 and each["rank"] == 1 + sum(null >= each["effect"] for null in nulls.each)
    token_ids, answers = asked(organism, PROMPT)
    before = plain.difference(token_ids, answers)

    def lost(index: torch.Tensor) -> float:
        return before - plain.difference(
            token_ids, answers, [(place, 0.0) for place in circuit.latents[index].places()]
        )

    for number in (0, 7, 18):
        assert nulls.effects[number] == pytest.approx(lost(nulls.drawn["top_signed_effect"].sets[number]), **CLOSE)
    singles = [abs(lost(one[None])) for one in nulls.drawn["top_influence"].sets[4]]
    assert nulls.each[4] == pytest.approx(np.mean(singles), **CLOSE)
    assert each["effect"] == pytest.approx(np.mean([abs(lost(one[None])) for one in circuit.top_influence]), **CLOSE)


def test_importance_has_p_and_q_that_numpy_gives(circuit, meter):
    found = importance(circuit, meter, 30, seed=3)
    kept, others = ([row for row in found.rows if row["kept"] == is_kept] for is_kept in (True, False))
    most = circuit.influence[circuit.kept].sort(descending=True).values[:30].tolist()
    assert sorted((row["influence"] for row in kept), reverse=True) == pytest.approx(most)
    assert len(others) > 60 and all(math.isnan(row["p"]) and math.isnan(row["q"]) for row in others)
    last = circuit.graph.n_pos - 1
    for row in kept:
        null = [abs(one["effect"]) for one in others if (one["pos"] == last) == (row["pos"] == last)]
        assert row["p"] == pytest.approx((1 + sum(one >= abs(row["effect"]) for one in null)) / (1 + len(null)))
    ordered = sorted(row["p"] for row in kept)
    for row in kept:
        assert row["q"] == pytest.approx(min(p * 30 / k for k, p in enumerate(ordered, 1) if p >= row["p"]))
    columns = {name: np.array([row[name] for row in kept]) for name in kept[0]}
    expected = spearmanr(columns["signed_effect"], columns["frozen_before_cap"]).statistic
    assert found.correlations["signed_and_frozen"] == pytest.approx(expected)
    everything = spearmanr(*([row[n] for row in found.rows] for n in ("signed_effect", "effect"))).statistic
    assert found.correlations["signed_and_effect"] == pytest.approx(everything)


def test_latents_are_patched_as_plain_hooks_do(organism, transcoders, plain, circuit, meter):
    (own, answers), (other, _) = asked(organism, PROMPT), asked(organism, OTHER)
    rows = patched(organism, transcoders, circuit, meter, 5, Partner(6, other), 64, LOG)
    here, there = plain.activations(own), plain.activations(other)
    differences = [plain.difference(ids, answers) for ids in (own, other)]
    kept = circuit.latents[circuit.kept].places()
    layers = sorted({layer for layer, _, _ in kept})
    sets = {
        "all": here.keys() | there.keys(),
        "kept": kept,
        "top_signed_effect": circuit.latents[circuit.top_signed].places(),
    }
    sets |= {f"kept, layer {layer}": [place for place in kept if place[0] == layer] for layer in layers}
    assert [row["set"] for row in rows] == [*sets, "kept"]
    for name, places in sets.items():
        after = plain.difference(own, answers, [(place, there.get(place, 0.0)) for place in places])
        row = effect(rows, set=name, intervention="patch")
        assert row["effect"] == pytest.approx(differences[0] - after, rel=5e-3, abs=2e-3)
        assert row["share"] == pytest.approx((differences[0] - after) / (differences[0] - differences[1]), abs=2e-3)
        assert row["source_record"] == 6
    back = plain.difference(other, answers, [(place, here[place]) for place in kept])
    row = effect(rows, intervention="patch_back")
    assert row["share"] == pytest.approx((back - differences[1]) / (differences[0] - differences[1]), abs=2e-3)
    assert row["source_record"] == 5 and effect(rows, set="all")["share"] > 0.5


def test_a_prompt_patched_with_itself_stays_what_it_is(organism, transcoders, circuit, meter):
    rows = patched(organism, transcoders, circuit, meter, 5, Partner(5, asked(organism, PROMPT)[0]), 64, LOG)
    assert max(abs(row["effect"]) for row in rows) < 1e-4 and all(math.isnan(row["share"]) for row in rows)


def test_only_partners_of_as_many_tokens_are_patched():
    assert state_of_pair([2, 3], Partner(0, [2, 4])) == "paired"
    assert state_of_pair([2, 3], Partner(0, [2, 4, 5])) == "unequal length" and state_of_pair([2], None) == "no partner"


def test_steering_adds_the_decoder_direction_at_the_last_position(organism, transcoders, plain, circuit, meter):
    token_ids, answers = asked(organism, PROMPT)
    rows = steered(circuit, meter, transcoders, (-2.0, 0.0, 3.0))
    top = int(circuit.signed_effect.argmax())
    layer, latent = int(circuit.graph.layer[top]), int(circuit.graph.latent[top])
    vector = float(circuit.graph.activation[top]) * plain.weights[layer]["W_dec"][latent]
    for row, factor in zip(rows, (-2.0, 0.0, 3.0), strict=True):
        after = plain.difference(token_ids, answers, added=[(layer, len(token_ids) - 1, factor * vector)])
        assert row["effect"] == pytest.approx(plain.difference(token_ids, answers) - after, **CLOSE)
        assert (row["coefficient"], row["layer"], row["latent"]) == (factor, layer, latent)
    assert rows[1]["effect"] == 0


def test_means_are_those_over_train_prompts_at_the_last_and_at_other_positions(organism, transcoders, plain, circuit):
    used = [("train", "number", PROMPT), ("train", "number", OTHER)]
    others = [("test", "number", CAPITAL), ("train", "capitals", CAPITAL)]
    prompts = [
        {"split": split, "behaviour": behaviour, "token_ids": asked(organism, prompt)[0]}
        for split, behaviour, prompt in [*used, *others]
    ]
    means = MeanActivations(organism, transcoders, prompts)
    acts = [(len(prompt["token_ids"]), plain.activations(prompt["token_ids"])) for prompt in prompts[:2]]
    latents = circuit.latents[circuit.kept]
    found = means.of("number", latents, circuit.graph.n_pos)
    for place, mean in list(zip(latents.places(), found.tolist(), strict=True))[::7]:
        layer, pos, latent = place
        is_last, total, n = pos == circuit.graph.n_pos - 1, 0.0, 0
        for length, own in acts:
            positions = [length - 1] if is_last else range(1, length - 1)
            total += sum(own.get((layer, p, latent), 0.0) for p in positions)
            n += len(positions)
        assert mean == pytest.approx(total / n, rel=1e-3, abs=1e-4)
    assert means.of("unknown", latents, circuit.graph.n_pos) is None


def test_a_capped_graph_counts_what_it_left_out_among_the_others(organism, transcoders):
    whole, capped = (
        circuit_of(organism, transcoders, PROMPT),
        circuit_of(organism, transcoders, PROMPT, max_latents=400),
    )
    kept = {*capped.latents[capped.kept].places()}
    assert capped.graph.is_capped and len(capped.active) == len(whole.active) == capped.graph.n_active
    others = capped.others()
    assert isinstance(others, Latents) and {*others.places()} == {*whole.active.places()} - kept


def test_without_errors_is_the_model_with_transcoders_in_the_place_of_mlps(
    organism, transcoders, plain, circuit, meter
):
    token_ids, answers = asked(organism, PROMPT)
    handles, streams = [], {}
    for layer, block in enumerate(plain.model.model.layers):

        def replaced(_m, _a, out, layer=layer):
            w, acts = plain.weights[layer], plain._acts(layer, streams[layer])
            out = out.clone()
            out[0, 1:] = (acts @ w["W_dec"] + w["b_dec"])[1:]
            return out

        keep = lambda _m, a, layer=layer: streams.update({layer: a[0][0]})  # noqa: E731
        handles += [block.pre_feedforward_layernorm.register_forward_pre_hook(keep)]
        handles += [block.post_feedforward_layernorm.register_forward_hook(replaced)]
    with torch.no_grad():
        logits = plain.model(torch.tensor([token_ids])).logits[0, -1]
    for handle in handles:
        handle.remove()
    difference, same = meter.without_errors()
    assert difference == pytest.approx(float(logits[answers[0]] - logits[answers[1]]), **CLOSE)
    assert same == bool(logits.argmax() == circuit.run.logits.argmax())
