"""Covers phase 5.3's tables on the organism: activations, firing frequencies, examples and logit effects."""

import shutil
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import torch
from circuit_latents_data import (
    BEHAVIOURS,
    N_LAYERS,
    acts_by_saelens,
    document_of,
    plain_model,
    rows_of,
    run_latents,
    saelens_transcoder,
    write_prompts,
)
from toy_phases import content, stop_after
from transformers import AutoTokenizer

from common.model.general_text import first_documents
from common.model.registry import model_location
from common.stopping import Stopped
from phase5_attribution_graphs.latents.chosen import Strongest
from phase5_attribution_graphs.latents.prompts import NO_LATENT, kept_positions

TOP_K, N_EXAMPLES = 20, 5


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("latents")
    write_prompts(folder)
    return folder


@pytest.fixture(scope="module")
def run(data) -> Path:
    return run_latents(data)


@pytest.fixture(scope="module")
def prompts(data) -> list[dict]:
    [table] = data.glob("phase5_1/*/prompts.parquet")
    return pyarrow.parquet.read_table(table).to_pylist()


@pytest.fixture(scope="module")
def acts(prompts) -> list[list[np.ndarray]]:
    """By record and layer, [pos, d_sae] of SAELens' own encode at the true input, the first position left out."""
    found = []
    for prompt in prompts:
        layers = [one.numpy().copy() for one in acts_by_saelens(prompt["token_ids"])]
        for one in layers:
            one[0] = 0
        found.append(layers)
    return found


def test_activations_are_those_of_saelens_at_the_true_input_of_each_mlp(run, prompts, acts):
    by_place = defaultdict(list)
    for row in rows_of(run, "activations"):
        by_place[row["record"], row["layer"], row["pos"]].append(row)
        expected = acts[row["record"]][row["layer"]][row["pos"], row["latent"]]
        assert row["activation"] == pytest.approx(float(expected), rel=1e-4, abs=1e-4)
    for record, prompt in enumerate(prompts):
        n_tokens = len(prompt["token_ids"])
        places = {(record, layer, pos) for layer in range(N_LAYERS) for pos in range(max(1, n_tokens - 5), n_tokens)}
        assert places == {place for place in by_place if place[0] == record}


def test_the_strongest_latents_of_each_position_are_kept_in_their_order(run, acts):
    kept = defaultdict(list)
    for row in rows_of(run, "activations"):
        kept[row["record"], row["layer"], row["pos"]].append(row)
    for (record, layer, pos), rows in kept.items():
        own = acts[record][layer][pos]
        assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) == min(TOP_K, (own > 0).sum())
        strongest = np.sort(own)[::-1][: len(rows)]
        assert [row["activation"] for row in rows] == pytest.approx(strongest.tolist(), rel=1e-4, abs=1e-4)


def test_each_row_names_its_prompt_and_its_token(run, prompts):
    tokenizer = AutoTokenizer.from_pretrained(model_location("organism"))
    for row in rows_of(run, "activations"):
        prompt = prompts[row["record"]]
        assert (row["behaviour"], row["split"]) == (prompt["behaviour"], prompt["split"])
        assert row["token"].replace("␣", " ") == tokenizer.decode([prompt["token_ids"][row["pos"]]])


def test_every_latent_that_fires_is_listed_with_its_largest_activation(run, acts):
    for row in rows_of(run, "fired"):
        listed = defaultdict(dict)
        for layer, latent, *values in zip(*(row[name] for name in list(row)[4:]), strict=True):
            listed[layer][latent] = values
        for layer, own in enumerate(acts[row["record"]]):
            assert set(listed[layer]) == set(np.flatnonzero(own.max(0) > 0).tolist())
            for latent, (largest, position, at_last) in listed[layer].items():
                assert largest == pytest.approx(float(own[position, latent]), rel=1e-4, abs=1e-4)
                assert largest == pytest.approx(float(own[:, latent].max()), rel=1e-4, abs=1e-4)
                assert at_last == pytest.approx(float(own[-1, latent]), rel=1e-4, abs=1e-4)


def test_frequencies_are_those_that_numpy_counts(run, prompts, acts):
    rows = {tuple(row[name] for name in list(row)[:4]): row for row in rows_of(run, "frequencies")}
    expected = set()
    for behaviour in BEHAVIOURS:
        own = [place for place, prompt in enumerate(prompts) if prompt["behaviour"] == behaviour]
        for layer in range(N_LAYERS):
            largest = np.stack([acts[place][layer].max(0) for place in own])
            at_last = np.stack([acts[place][layer][-1] for place in own])
            for latent in np.flatnonzero((largest > 0).mean(0) >= 0.2):
                for split in ("train", "test"):
                    picked = np.array([prompts[place]["split"] == split for place in own])
                    row = rows[behaviour, split, layer, int(latent)]
                    ends, tops = at_last[picked, latent], largest[picked, latent]
                    expected.add((behaviour, split, layer, int(latent)))
                    assert row["n"] == picked.sum()
                    assert row["share_last"] == pytest.approx((ends > 0).mean())
                    assert row["share_anywhere"] == pytest.approx((tops > 0).mean())
                    for name, values in (("mean_last", ends), ("mean_largest", tops)):
                        mean = values[values > 0].mean() if (values > 0).any() else np.nan
                        assert row[name] == pytest.approx(float(mean), rel=1e-4, abs=1e-4, nan_ok=True)
    assert expected == set(rows)


def test_the_strongest_contexts_of_a_latent_are_its_examples(run, prompts):
    by_latent = defaultdict(list)
    for row in rows_of(run, "examples"):
        by_latent[row["layer"], row["latent"]].append(row)
    tokenizer = AutoTokenizer.from_pretrained(model_location("organism"))
    texts = [tokenizer(text).input_ids[:24] for text in first_documents("organism", 64)]
    read = {("text", n): ids for n, ids in enumerate(texts)} | {
        ("prompt", p["record"]): p["token_ids"] for p in prompts
    }
    of_all = {place: acts_by_saelens(ids) for place, ids in read.items()}
    for (layer, latent), rows in list(by_latent.items())[::5]:
        contexts = {}
        for place, own in of_all.items():
            values = own[layer][1:, latent]
            pos = int(values.argmax()) + 1
            if values.max() > 0:
                before = tuple(read[place][max(1, pos - 20) : pos + 1])
                contexts[before] = max(float(values.max()), contexts.get(before, 0))
        expected = sorted(contexts.values(), reverse=True)[:N_EXAMPLES]
        assert [row["activation"] for row in rows] == pytest.approx(expected, rel=1e-4, abs=1e-4)
        for row in rows:
            ids, pos = read[row["source"], row["item"]], row["pos"]
            assert row["before"] == tokenizer.decode(ids[max(1, pos - 20) : pos])
            assert row["token"].replace("␣", " ").replace("↵", "\n") == tokenizer.decode([ids[pos]])
            assert row["after"] == tokenizer.decode(ids[pos + 1 : pos + 21])


def test_effects_are_the_tokens_that_the_decoder_row_moves_most(run):
    model = plain_model()
    W_U, gain = model.lm_head.weight, 1 + model.model.norm.weight
    by_latent = defaultdict(list)
    for row in rows_of(run, "effects"):
        by_latent[row["layer"], row["latent"], row["side"]].append(row)
    for (layer, latent, side), rows in by_latent.items():
        moved = W_U @ (gain * saelens_transcoder(layer).W_dec[latent].detach())
        moved = (moved - moved.mean()).detach()
        expected = moved.sort(descending=side == "promotes").values[:N_EXAMPLES]
        torch.testing.assert_close(torch.tensor([row["effect"] for row in rows]), expected, rtol=1e-3, atol=1e-3)
        assert [float(moved[row["token_id"]]) for row in rows] == pytest.approx(expected.tolist(), rel=1e-3, abs=1e-3)


def test_every_described_latent_is_among_the_strongest_and_every_layer_has_as_many(run):
    strongest = {(row["layer"], row["latent"]) for row in rows_of(run, "activations")}
    told = {table: {(row["layer"], row["latent"]) for row in rows_of(run, table)} for table in ("examples", "effects")}
    assert told["examples"] == told["effects"] <= strongest
    assert document_of(run)["n_described"] == len(told["effects"]) == 30
    assert {sum(layer == one for one, _ in told["effects"]) for layer in range(N_LAYERS)} == {5}


def test_latents_of_most_prompts_come_first_and_a_layer_without_many_leaves_its_places():
    latents = np.full((3, 2, 1, 2), NO_LATENT, np.int32)
    latents[:, 0, 0, :] = [[7, 4], [4, 9], [4, 7]]
    latents[0, 1, 0, 0] = 3
    strongest = Strongest([0, 5], latents, (latents > 0).astype(np.float32), np.zeros((3, 1), np.int32))
    assert strongest.most_frequent(2) == [(0, 4), (5, 3)]
    assert strongest.most_frequent(3) == [(0, 4), (0, 7), (5, 3)]
    assert strongest.most_frequent(99) == [(0, 4), (0, 7), (0, 9), (5, 3)]
    assert strongest.most_frequent(0) == []


def test_positions_are_the_last_five_or_all_and_never_the_first():
    assert kept_positions(9, "last5") == [4, 5, 6, 7, 8] and kept_positions(3, "last5") == [1, 2]
    assert kept_positions(9, "all") == list(range(1, 9))


def test_all_positions_hold_what_the_last_five_do(run, data, tmp_path, prompts):
    shutil.copytree(data / "phase5_1", tmp_path / "phase5_1")
    everywhere = rows_of(run_latents(tmp_path, positions="all", described=0), "activations")
    of_the_last = [row for row in everywhere if row["pos"] >= len(prompts[row["record"]]["token_ids"]) - 5]
    assert of_the_last == rows_of(run, "activations") and len(everywhere) > len(of_the_last)


def test_a_stopped_run_resumes_to_the_same_bytes(run, data, tmp_path):
    shutil.copytree(data / "phase5_1", tmp_path / "phase5_1")
    with pytest.raises(Stopped):
        run_latents(tmp_path, stop=stop_after(1))
    assert content(run_latents(tmp_path)) == content(run)


def test_slices_and_who_joins_them_give_the_same_bytes(run, data, tmp_path):
    shutil.copytree(data / "phase5_1", tmp_path / "phase5_1")
    run_latents(tmp_path, start=5, end=11)
    assert content(run_latents(tmp_path, start=0, end=4, batch_size=3)) == content(run)
