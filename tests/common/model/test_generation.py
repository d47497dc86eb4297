"""Covers common/model/generation.py and common/model/hooks.py: activations, tokens, stops, sampling, wrong sites."""

import math

import numpy as np
import pytest
import torch
from architectures import small
from tiny_models import save_tiny_llama, save_tiny_qwen

from common.errors import ConfigError, UnknownHookError
from common.model.generation import POSITIONS, check_prompts_fit, generate
from common.model.hooks import read_sites
from common.model.loading import load_model
from common.model.rows import Request
from common.model.sites import resid_post_site
from common.problems.extraction import extract_program
from common.problems.prompt import build_prompt

F = {"task_id": 1, "entry_point": "f"}


@pytest.fixture(scope="module", params=["gemma", "llama", "qwen"])
def lm(request, tiny_gemma, tmp_path_factory):
    if request.param == "gemma":
        return load_model(str(tiny_gemma), "cpu", threads=1)
    save = {"llama": save_tiny_llama, "qwen": save_tiny_qwen}[request.param]
    return load_model(str(save(tmp_path_factory.mktemp(request.param))), "cpu", threads=1)


def requests(n: int = 9, temperature: float = 0.0) -> list[Request]:
    made = []
    for i in range(n):
        prompt = build_prompt("Write a function " * (i + 1), [f"assert name_{j}({j}) == {j}" for j in range(1 + i % 3)])
        made.append(Request({"task_id": i, "entry_point": "name_0"}, prompt, 100 + i, temperature))
    return made


def plain_hidden_states(lm, text: str) -> list[torch.Tensor]:
    """Residual stream after every block at every position, [n_layers][pos, d_model], one prompt, no padding.

    The last block is read as the input of the final norm, since transformers gives only its output.
    """
    before_norm = []
    handle = lm.model.model.norm.register_forward_pre_hook(lambda _m, arguments: before_norm.append(arguments[0]))
    with torch.no_grad():
        output = lm.model(**lm.tokenizer(text, return_tensors="pt"), output_hidden_states=True)
    handle.remove()
    return [state[0] for state in output.hidden_states[1:-1]] + [before_norm[0][0]]


def test_stored_activations_equal_a_plain_pass_of_one_prompt_in_every_layer(lm):
    for request, result in zip(requests(), generate(lm, requests(), max_new_tokens=2), strict=True):
        expected = torch.stack([state[-1] for state in plain_hidden_states(lm, request.prompt.text)]).numpy()
        difference = np.linalg.norm(result.resid_post["last"] - expected, axis=1) / np.linalg.norm(expected, axis=1)
        assert difference.shape == (lm.n_layers,)
        assert difference.max() < 1e-4


def test_named_positions_are_the_last_tokens_of_their_sections(lm):
    results = generate(lm, requests(), max_new_tokens=1, positions=POSITIONS)
    for request, result in zip(requests(), results, strict=True):
        states = plain_hidden_states(lm, request.prompt.text)
        offsets = lm.tokenizer(request.prompt.text, return_offsets_mapping=True)["offset_mapping"]
        for name in ("description_end", "tests_end"):
            end = getattr(request.prompt, name)
            column = next(i for i, (a, b) in enumerate(offsets) if a < end <= b)
            assert np.allclose(result.resid_post[name][-1], states[-1][column], rtol=1e-3, atol=1e-4)


def test_greedy_tokens_equal_those_of_transformers_generate(lm):
    encoded = lm.tokenizer([r.prompt.text for r in requests()], return_tensors="pt", padding=True)
    with torch.no_grad():
        expected = lm.model.generate(**encoded, max_new_tokens=24, do_sample=False)[:, encoded.input_ids.shape[1] :]
    for result, row in zip(generate(lm, requests(), max_new_tokens=24, stop_early=False), expected, strict=True):
        assert result.token_ids == row[: len(result.token_ids)].tolist()
        assert len(result.token_ids) == 24 or result.stop_reason == "end_of_sequence"


def test_batch_of_one_and_batch_of_many_write_the_same_programs(lm):
    together = generate(lm, requests(), max_new_tokens=24)
    alone = [generate(lm, [request], max_new_tokens=24)[0] for request in requests()]
    assert [result.token_ids for result in together] == [result.token_ids for result in alone]


def test_log_probabilities_and_entropy_are_those_of_a_pass_over_prompt_and_answer(lm):
    request = requests()[0]
    result = generate(lm, [request], max_new_tokens=8, stop_early=False)[0]
    prompt = lm.tokenizer(request.prompt.text)["input_ids"]
    with torch.no_grad():
        logits = lm.model(torch.tensor([prompt + result.token_ids])).logits[0, len(prompt) - 1 : -1]
    logprobs = logits.float().log_softmax(-1)
    expected = logprobs[range(len(result.token_ids)), result.token_ids]
    assert result.logprobs == pytest.approx(expected.tolist(), abs=1e-4)
    assert result.first_token_entropy == pytest.approx(-(logprobs[0].exp() * logprobs[0]).sum().item(), abs=1e-4)


def test_samples_depend_on_their_seed_and_not_on_their_batch(lm):
    together = generate(lm, requests(temperature=1.0), max_new_tokens=12)
    apart = [generate(lm, [request], max_new_tokens=12)[0] for request in reversed(requests(temperature=1.0))]
    assert [r.token_ids for r in together] == [r.token_ids for r in reversed(apart)]
    assert together[0].token_ids != generate(lm, requests(1), max_new_tokens=12)[0].token_ids


def test_sampling_follows_the_distribution(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    prompt = requests(1)[0].prompt
    with torch.no_grad():
        logits = lm.model(**lm.tokenizer(prompt.text, return_tensors="pt")).logits[0, -1].double()
    expected = torch.softmax(logits / 2.0, -1)
    many = [Request(F, prompt, seed, 2.0) for seed in range(2000)]
    first = [r.token_ids[0] for i in range(0, 2000, 200) for r in generate(lm, many[i : i + 200], max_new_tokens=1)]
    observed = torch.bincount(torch.tensor(first), minlength=len(expected)) / len(first)
    likeliest = expected.topk(5).indices
    error = (expected[likeliest] * (1 - expected[likeliest]) / 2000).sqrt()
    assert ((observed[likeliest] - expected[likeliest]).abs() < 4 * error).all()


def test_generation_stops_at_the_token_limit_and_says_so(lm):
    results = generate(lm, requests(3), max_new_tokens=3, stop_early=False)
    assert all(len(r.token_ids) <= 3 for r in results)
    assert {r.stop_reason for r in results} <= {"max_new_tokens", "end_of_sequence"}
    assert "max_new_tokens" in {r.stop_reason for r in results}


def test_a_prompt_longer_than_the_context_is_refused_by_name(lm):
    long = [Request({**F, "task_id": n}, build_prompt("word " * 900, ["assert f(1) == 1"]), 0) for n in (77, 78)]
    with pytest.raises(ConfigError, match=r"2 prompts .*problem 77 has \d+ tokens, problem 78 has \d+.*\n.*--model"):
        check_prompts_fit(lm, [*requests(), *long])
    check_prompts_fit(lm, requests())


def test_generation_ends_where_the_context_ends(lm):
    words = 480
    request = Request(F, build_prompt("a " * words, ["assert f(1) == 1"]), 0)
    n_prompt = len(lm.tokenizer(request.prompt.text)["input_ids"])
    assert n_prompt < lm.context_length
    result = generate(lm, [request], max_new_tokens=2000, stop_early=False)[0]
    assert result.stop_reason in ("context_length", "end_of_sequence")
    assert n_prompt + len(result.token_ids) <= lm.context_length


def test_every_prompt_begins_with_one_bos_token(lm):
    for request in requests():
        assert lm.tokenizer(request.prompt.text)["input_ids"].count(lm.tokenizer.bos_token_id) == 1


def test_stopping_early_leaves_the_program_as_it_is(organism):
    lm, made = organism
    stopped = generate(lm, made, max_new_tokens=160)
    free = generate(lm, made, max_new_tokens=160, stop_early=False)
    for request, early, late in zip(made, stopped, free, strict=True):
        name = request.problem["entry_point"]
        assert extract_program(early.text, name) == extract_program(late.text, name)
        assert late.token_ids[: len(early.token_ids)] == early.token_ids


@pytest.fixture(scope="module")
def organism():
    """The model organism with end-of-sequence taken away, so that it writes on after a solution."""
    import dataclasses

    from common.problems.datasets import load_problems

    class NeverEnds(type(load_model("organism", "cpu", threads=1))):
        end_of_sequence_ids = frozenset()

    lm = load_model("organism", "cpu", threads=1)
    lm = NeverEnds(**{field.name: getattr(lm, field.name) for field in dataclasses.fields(lm)})
    problems = load_problems("organism").problems[:12]
    made = [Request(p.row(), build_prompt(p.text, p.test_list), 0) for p in problems]
    return lm, made


def test_the_hook_is_removed_when_the_pass_fails(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    with pytest.raises(RuntimeError), read_sites(lm.model, [resid_post_site(0)], lambda site, resid: None):
        raise RuntimeError("the pass failed")
    assert not lm.model.model.layers[0]._forward_hooks


@pytest.mark.parametrize("site", ["blocks.4.hook_resid_post", "blocks.0.hook_resid_pots", "blocks.-1.hook_resid_post"])
def test_a_misspelt_site_is_an_error_that_lists_the_sites(tiny_gemma, site):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    with pytest.raises(UnknownHookError, match=r"blocks\.0 to blocks\.3"), read_sites(lm.model, [site], print):
        pass


def test_a_model_without_a_resid_mid_gets_no_hook_at_all():
    lm = small("gptj")
    site = "blocks.1.hook_resid_mid"
    with pytest.raises(UnknownHookError, match=site), read_sites(lm.model, [resid_post_site(0), site], print):
        pass
    assert not lm.model.transformer.h[0]._forward_hooks


def test_the_output_of_a_block_is_the_input_of_the_next(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    seen = {}
    with (
        torch.no_grad(),
        read_sites(
            lm.model,
            ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"],
            lambda site, resid: seen.update({site: resid}),
        ),
    ):
        lm.model(**lm.tokenizer("def f(x):", return_tensors="pt"))
    assert torch.equal(seen["blocks.1.hook_resid_post"], seen["blocks.2.hook_resid_pre"])


def test_the_residual_stream_is_the_one_transformer_lens_names(tiny_gemma):
    from transformer_lens.model_bridge import TransformerBridge

    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    bridge = TransformerBridge.boot_transformers(
        str(tiny_gemma), device="cpu", hf_model=lm.model, tokenizer=lm.tokenizer
    )
    request = requests(1)[0]
    with torch.no_grad():
        _, cache = bridge.run_with_cache(torch.tensor([lm.tokenizer(request.prompt.text)["input_ids"]]))
    ours = generate(lm, [request], max_new_tokens=1)[0].resid_post["last"]
    for layer in range(lm.n_layers):
        assert np.allclose(ours[layer], cache[resid_post_site(layer)][0, -1], atol=1e-5)
    assert not math.isnan(ours.sum())
