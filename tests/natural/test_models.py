"""Covers natural models against plain transformers: tokens, activations, batches, number types, memory."""

import json
import subprocess
import sys

import numpy as np
import pytest
from support import ROOT

N_TOKENS = 8  # generated for each problem
BATCH, GB = 64, 10**9
POSITIONS = ("last", "description_end", "tests_end")


@pytest.fixture(scope="module")
def generated(loaded, twenty_requests) -> list:
    """One batch of twenty, in float32, with no early stop."""
    from common.model.generation import generate

    return generate(loaded, twenty_requests, max_new_tokens=N_TOKENS, positions=POSITIONS, stop_early=False)


def plain_passes(folder, dtype: str, texts: list[str], continuations: list[list[int]]) -> list[tuple]:
    """What transformers alone makes of each text and its continuation, one at a time, without a cache.

    Per text: its number of tokens, hidden states [layer, pos, d_model], the likeliest next token at every position.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()
    found = []
    for text, continuation in zip(texts, continuations, strict=True):
        ids = tokenizer(text)["input_ids"]
        with torch.no_grad():
            output = model(torch.tensor([ids + continuation]), output_hidden_states=True, use_cache=False)
        hidden = torch.stack([states[0].float() for states in output.hidden_states]).numpy()
        found.append((len(ids), hidden, output.logits[0].argmax(-1).tolist()))
    return found


@pytest.fixture(scope="module")
def plain(natural_model, twenty_requests, generated) -> list[tuple]:
    texts = [request.prompt.text for request in twenty_requests]
    return plain_passes(natural_model, "float32", texts, [one.token_ids for one in generated])


def off(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Relative distance of each vector."""
    return np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)


def test_every_token_is_the_one_that_plain_transformers_would_write(generated, plain):
    for one, (n_prompt, _, likeliest) in zip(generated, plain, strict=True):
        assert one.token_ids == likeliest[n_prompt - 1 : n_prompt - 1 + len(one.token_ids)]
        assert 0 < len(one.token_ids) <= N_TOKENS


def test_activations_at_the_last_prompt_token_are_those_of_plain_transformers(generated, plain):
    for one, (n_prompt, hidden, _) in zip(generated, plain, strict=True):
        blocks = hidden[1:-1, n_prompt - 1]  # the last entry is after the final norm
        assert off(one.resid_post["last"][:-1], blocks).max() < 1e-4


def test_the_output_of_the_last_block_is_what_the_final_norm_reads(loaded, generated, plain):
    import torch

    norm = loaded.model.get_decoder().norm
    for one, (n_prompt, hidden, _) in zip(generated, plain, strict=True):
        normed = norm(torch.from_numpy(one.resid_post["last"][-1])).numpy()
        assert off(normed, hidden[-1, n_prompt - 1]) < 1e-4


def test_named_positions_are_the_tokens_that_hold_the_last_character_of_their_section(
    loaded, twenty_requests, generated, plain
):
    for request, one, (_, hidden, _) in zip(twenty_requests, generated, plain, strict=True):
        spans = loaded.tokenizer(request.prompt.text, return_offsets_mapping=True)["offset_mapping"]
        for name in ("description_end", "tests_end"):
            end = getattr(request.prompt, name)
            at = next(place for place, (first, after) in enumerate(spans) if first < end <= after)
            assert off(one.resid_post[name][:-1], hidden[1:-1, at]).max() < 1e-4


@pytest.mark.parametrize("number", [0, 10, 19])
def test_a_batch_changes_nothing(loaded, twenty_requests, generated, number):
    """The shortest prompt, which is padded most, one in the middle, and the longest."""
    from common.model.generation import generate

    (alone,) = generate(
        loaded, [twenty_requests[number]], max_new_tokens=N_TOKENS, positions=POSITIONS, stop_early=False
    )
    together = generated[number]
    assert alone.token_ids == together.token_ids
    assert alone.logprobs == pytest.approx(together.logprobs, abs=1e-3)
    for name in POSITIONS:
        assert off(together.resid_post[name], alone.resid_post[name]).max() < 1e-4


def test_bfloat16_is_off_by_no_more_than_plain_transformers_is_in_bfloat16(natural_model, twenty_requests, plain):
    """Measured, at each layer, on four problems: as far from float32, by half as much again, as without us."""
    from common.model.generation import generate
    from common.model.loading import load_model

    some = twenty_requests[::5]
    texts = [request.prompt.text for request in some]
    theirs = plain_passes(natural_model, "bfloat16", texts, [[] for _ in some])
    ours = generate(load_model(str(natural_model), "cpu", "bfloat16", threads=1), some, max_new_tokens=1)
    exact = [hidden[1:-1, n_prompt - 1] for n_prompt, hidden, _ in plain[::5]]
    noise = np.median([off(hidden[1:-1, -1], right) for (_, hidden, _), right in zip(theirs, exact, strict=True)], 0)
    found = np.median([off(one.resid_post["last"][:-1], right) for one, right in zip(ours, exact, strict=True)], 0)
    assert (found <= 1.5 * noise).all() and noise.max() < 0.1


PEAK = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (12 * 10**9, 12 * 10**9))  # rather an error than a machine without memory
from common.model.generation import generate
from common.model.loading import load_model
from common.problems.datasets import load_problems
from common.programs.solutions import request_for
lm = load_model(sys.argv[1], "cpu", "bfloat16", threads=1)
problems = load_problems("organism").problems[:64]
names = ("task_id", "text", "test_list", "entry_point")
requests = [request_for({name: getattr(problem, name) for name in names}, 42) for problem in problems]
generate(lm, requests, max_new_tokens=2, stop_early=False)
status = open("/proc/self/status").read()  # ru_maxrss would count what the process was that started this one
peak = 1024 * int(status.partition("VmHWM:")[2].split()[0])
print(json.dumps({"peak": peak, "weights": lm.model.get_memory_footprint()}))
"""


def test_a_large_vocabulary_takes_no_copies_of_the_head(qwen_coder):
    """A batch of 64 with a vocabulary of 152k takes no copies of the head.

    Weights of 1.3 GB, what torch and transformers take, and the logits of one batch: not 17 GB more.
    """
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(qwen_coder)], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["peak"] < 3 * GB, found
