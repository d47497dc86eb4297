"""Covers whether phase 5.5 finds latents that were planted to carry an answer, and nothing where names mean nothing."""

import numpy as np
import pytest
import torch
from small_circuits import LOG
from tiny_models import save_tiny_gemma

from common.model.loading import load_model
from phase5_attribution_graphs.interventions.ablations import ablated, null_effects, ranked
from phase5_attribution_graphs.interventions.circuits import TOP_INFLUENCE, TOP_SIGNED, find_circuit
from phase5_attribution_graphs.interventions.importance import importance
from phase5_attribution_graphs.interventions.measuring import Meter
from phase5_attribution_graphs.interventions.nulls import p_of_means
from phase5_attribution_graphs.replacement.targets import contrast
from phase5_attribution_graphs.replacement.transcoders import Transcoder

ANSWERS, PLANTED = (300, 400), ((2, 7), (3, 11))  # layer, latent
D_SAE, N_NULLS = 256, 19
PROMPTS = [[2, *row] for row in torch.randint(10, 250, (6, 6), generator=torch.Generator().manual_seed(0)).tolist()]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(str(save_tiny_gemma(tmp_path_factory.mktemp("tiny") / "gemma")), "cpu", threads=1)


@pytest.fixture(scope="module")
def transcoders(model) -> list[Transcoder]:
    """Random ones, but for two latents that are always active and write along the answers' difference."""
    generator, found = torch.Generator().manual_seed(1), []
    W_U, norm = model.model.get_output_embeddings().weight, model.model.model.norm
    along = (W_U[ANSWERS[0]] - W_U[ANSWERS[1]]).detach() * (1 + norm.weight.detach())
    for layer in range(model.n_layers):
        W_enc, W_dec = (torch.randn(*size, generator=generator) for size in ((64, D_SAE), (D_SAE, 64)))
        W_enc, b_enc, W_dec = W_enc / 8, torch.full((D_SAE,), -0.5), 0.3 * W_dec / 8
        for where, latent in PLANTED:
            if where == layer:
                W_enc[:, latent], b_enc[latent], W_dec[latent] = 0, 0.5, along / along.norm()
        found.append(Transcoder(W_enc, b_enc, W_dec, torch.zeros(64), torch.zeros(D_SAE)))
    return found


def tried(model, transcoders, token_ids, named_for, measured_on=ANSWERS):
    """The circuit of one pair of tokens, measured on the difference of another; the null sets; ranked rows."""
    sizes = {"set_size": 10, "max_latents": 7500, "max_memory_mb": 32.0}
    circuit = find_circuit(model, transcoders, token_ids, named_for, **sizes)
    meter = Meter(model, circuit.run, transcoders, contrast(circuit.run, model, *measured_on), 64, LOG)
    nulls = null_effects(circuit, meter, N_NULLS, 456, 0)
    rows = ranked(circuit, meter, ablated(circuit, meter, {TOP_SIGNED: None, TOP_INFLUENCE: None}, 1.0), nulls)
    return circuit, meter, nulls, rows


def of_top(rows: list[dict]) -> dict:
    [own] = [row for row in rows if row["set"] == TOP_SIGNED and row["rank"] > 0]
    return own


def test_planted_latents_are_named_and_rank_first_in_every_prompt(model, transcoders):
    effects, null = [], []
    for token_ids in PROMPTS:
        circuit, _, nulls, rows = tried(model, transcoders, token_ids, ANSWERS)
        own = of_top(rows)
        last = len(token_ids) - 1
        first = circuit.latents[circuit.top_signed[:2]].places()
        assert {*first} == {(layer, last, latent) for layer, latent in PLANTED}
        assert own["rank"] == 1
        effects.append(own["effect"])
        null.append(nulls.effects)
    assert p_of_means(np.array(effects), np.array(null)) == 1 / (1 + N_NULLS)


def test_a_planted_latent_matters_most_of_all_that_nothing_follows(model, transcoders):
    """In the last layer: before it, a random model makes something of every small change.

    What is always active has no inputs, so the pruned graph leaves it out: it stands among the partners.
    """
    circuit, meter, _, _ = tried(model, transcoders, PROMPTS[0], ANSWERS)
    rows = [row for row in importance(circuit, meter, 0, seed=0).rows if row["layer"] == model.n_layers - 1]
    strongest = max(rows, key=lambda row: abs(row["effect"]))
    assert (strongest["layer"], strongest["latent"]) == PLANTED[1] and strongest["pos"] == len(PROMPTS[0]) - 1


def test_latents_named_for_two_random_tokens_do_not_carry_the_answer(model, transcoders):
    drawn = torch.randint(420, 900, (len(PROMPTS), 2), generator=torch.Generator().manual_seed(3)).tolist()
    effects, null, ranks = [], [], []
    for token_ids, (one, other) in zip(PROMPTS, drawn, strict=True):
        _, _, nulls, rows = tried(model, transcoders, token_ids, (one, other))
        own = of_top(rows)
        effects.append(own["effect"])
        null.append(nulls.effects)
        ranks.append(own["rank"])
    assert p_of_means(np.array(effects), np.array(null)) > 0.05
    assert ranks.count(1) <= 2 and max(ranks) > 10


def test_tokens_that_no_latent_speaks_for_leave_an_effect_of_nothing_in_last_place(model, transcoders):
    """The same token twice: the difference is 0 whatever is changed, and a tie counts against the named set."""
    *_, rows = tried(model, transcoders, PROMPTS[0], ANSWERS, measured_on=(300, 300))
    assert [row["rank"] for row in rows if row["rank"] > 0] == [1 + N_NULLS] * 2
    assert all(np.isnan(row["share"]) for row in rows)
