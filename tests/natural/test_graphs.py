"""Covers attribution graphs of natural models: exact with transcoders on some layers, whatever these are worth."""

import pytest
import torch

PROMPT = "def is_even(n):\n    return n % 2 =="
N_LATENTS, ACTIVE = 512, 0.02


@pytest.fixture(scope="module")
def explained(loaded):
    """A graph with random transcoders on three layers: everything else is an error node."""
    from common.model.hooks import embeddings_of
    from phase5_attribution_graphs.graphs.explaining import Explainer, Limits
    from phase5_attribution_graphs.prompts.token_lists import TokenLists

    lists = TokenLists(loaded.tokenizer, embeddings_of(loaded.model).num_embeddings, loaded.name)
    explainer = Explainer(loaded, [None] * loaded.n_layers, Limits(n_verified=20))
    token_ids = lists.of(PROMPT)
    run = explainer.run(token_ids)
    for layer in (1, loaded.n_layers // 2, loaded.n_layers - 2):
        explainer.transcoders[layer] = random_transcoder(run.blocks[layer], seed=layer)
    return explainer.logits(token_ids), lists


def random_transcoder(block, seed: int):
    """Random directions that are active at a fiftieth of places; the decoder by least squares on these rows."""
    from phase5_attribution_graphs.replacement.transcoders import Transcoder

    generator = torch.Generator().manual_seed(seed)
    x, y = block.mlp_input(with_gain=True), block.mlp_out
    W_enc = torch.randn(x.shape[1], N_LATENTS, generator=generator) / x.shape[1] ** 0.5
    b_enc = -(x @ W_enc)[1:].quantile(1 - ACTIVE, dim=0)
    acts = (x @ W_enc + b_enc).relu()[1:]
    centred = y[1:] - y[1:].mean(0)
    noise = 1e-3 * torch.randn(acts.shape, generator=generator)
    W_dec = 0.7 * torch.linalg.lstsq(acts + noise, centred).solution
    return Transcoder(W_enc, b_enc, W_dec, y[1:].mean(0), torch.zeros(N_LATENTS), with_gain=True)


def test_a_graph_of_a_natural_model_is_exact(explained):
    found, _ = explained
    assert found.graph.n_latents > 20
    assert found.verification.exact, found.verification
    assert found.verification.rows < 1e-5


def test_a_token_stands_in_front_where_the_model_has_no_bos(explained, loaded):
    found, lists = explained
    assert lists.sink is not None, "neither of the two models puts a BOS in front"
    assert found.run.tokens[0] == lists.sink.id
    own = loaded.tokenizer(PROMPT, add_special_tokens=False)["input_ids"]
    assert found.run.tokens[1:].tolist() == own


def test_the_first_position_has_no_latents_and_no_errors(explained):
    found, _ = explained
    assert int(found.graph.pos.min()) >= 1
    assert not found.model.errors[:, 0].any()
