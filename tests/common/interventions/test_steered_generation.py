"""Covers common/interventions/steered_generation.py and change_sites: against plain passes without a cache, and by
hand.
"""

from functools import partial

import pytest
import torch
from architectures import small
from tiny_models import make_tokenizer, save_tiny_llama, save_tiny_qwen
from transformers import LlamaConfig, LlamaForCausalLM

from common.errors import UnknownHookError
from common.handoffs import RESID_SITES
from common.interventions import trajectory_kl
from common.interventions.steered_generation import Steering, SteeringVector, generate_steered, trajectory_kls
from common.interventions.trajectory_kl import along_programs, parts
from common.model.forward import new_cache, next_token_logits
from common.model.generation import generate
from common.model.hooks import change_sites, decoder_blocks, read_sites
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.memory import cache_bytes
from common.model.rows import Request
from common.model.sites import resid_site
from common.problems.prompt import Prompt, build_prompt

N_NEW = 6


@pytest.fixture(scope="module", params=["gemma", "llama", "qwen"])
def lm(request, tiny_gemma, tmp_path_factory):
    if request.param == "gemma":
        return load_model(str(tiny_gemma), "cpu", threads=1)
    save = {"llama": save_tiny_llama, "qwen": save_tiny_qwen}[request.param]
    return load_model(str(save(tmp_path_factory.mktemp(request.param))), "cpu", threads=1)


def requests(n: int) -> list[Request]:
    texts = [build_prompt("Write a function " * (i + 1), [f"assert name({i}) == {i}"]) for i in range(n)]
    return [Request({"task_id": i, "entry_point": "name"}, text, seed=0) for i, text in enumerate(texts)]


def vector(lm: LanguageModel, seed: int, length: float) -> torch.Tensor:
    """A random vector, `length` times as long as the output of the first block at some token."""
    direction = torch.randn(lm.d_model, generator=torch.Generator().manual_seed(seed))
    norms = []
    with torch.no_grad(), read_sites(lm.model, [resid_site(0, "resid_post")], lambda _site, x: norms.append(x.norm())):
        lm.model(torch.tensor([[5]]))
    return length * norms[0] * direction / direction.norm()


def tokens_of(results: list) -> list[list[int]]:
    return [result.generation.token_ids for result in results]


def adding(kind: str, block: torch.nn.Module, delta: torch.Tensor) -> list:
    """Hooks that add `delta` [pos, d_model] to the stream of a single unpadded row: nothing of ours is used.

    Between attention and MLP the stream is reached through what attention adds to it.
    """
    if kind == "resid_pre":
        return [block.register_forward_pre_hook(lambda _m, a: (a[0] + delta, *a[1:]))]
    if kind == "resid_post":
        return [block.register_forward_hook(lambda _m, _a, out: out + delta)]
    if hasattr(block, "pre_feedforward_layernorm"):
        return [block.post_attention_layernorm.register_forward_hook(lambda _m, _a, out: out + delta)]
    return [block.self_attn.register_forward_hook(lambda _m, _a, out: (out[0] + delta, *out[1:]))]


def plain_steered(lm, request: Request, kind: str, layer: int, added: torch.Tensor, steer_prompt: bool):
    """Tokens of one prompt: the whole text anew for every token, no cache."""
    ids = lm.tokenizer(request.prompt.text)["input_ids"]
    n_prompt = len(ids)
    for _ in range(N_NEW):
        delta = torch.zeros(len(ids), lm.d_model)
        delta[0 if steer_prompt else n_prompt - 1 :] = added
        handles = adding(kind, decoder_blocks(lm.model)[layer], delta)
        with torch.no_grad():
            logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0, -1]
        for handle in handles:
            handle.remove()
        ids.append(int(logits.argmax()))
        if ids[-1] in lm.end_of_sequence_ids:
            break
    return ids[n_prompt:]


def logprobs_along(lm, request: Request, kind: str, layer: int, added: torch.Tensor, steer_prompt: bool, program):
    """Log-probabilities [token, vocabulary] that the program's tokens are chosen from: one pass, no cache, no batch."""
    prompt = lm.tokenizer(request.prompt.text)["input_ids"]
    ids = [*prompt, *program[:-1]]
    delta = torch.zeros(len(ids), lm.d_model)
    delta[0 if steer_prompt else len(prompt) - 1 :] = added
    handles = adding(kind, decoder_blocks(lm.model)[layer], delta)
    with torch.no_grad():
        logits = lm.model(torch.tensor([ids]), use_cache=False).logits[0, len(prompt) - 1 :]
    for handle in handles:
        handle.remove()
    return torch.log_softmax(logits, -1)


@pytest.mark.parametrize("steer_prompt", [False, True])
@pytest.mark.parametrize("kind", RESID_SITES)
def test_tokens_and_disturbance_are_those_of_passes_without_cache_or_batch(lm, kind, steer_prompt):
    asked = [request for request in requests(3) for _ in range(3)]
    steering_vectors = [
        SteeringVector(resid_site(i % lm.n_layers, kind), vector(lm, i, 1.0 + i)) if i % 3 else None
        for i in range(len(asked))
    ]
    found = generate_steered(
        lm, asked, steering_vectors, max_new_tokens=N_NEW, steer_prompt=steer_prompt, stop_early=False
    )
    n_changed = 0
    for i, (request, steering, result) in enumerate(zip(asked, steering_vectors, found, strict=True)):
        place = (kind, i % lm.n_layers)
        added = torch.zeros(lm.d_model) if steering is None else steering.vector
        tokens = plain_steered(lm, request, *place, added, steer_prompt)
        assert result.generation.token_ids == tokens
        if steering is None:
            program, unsteered = tokens, logprobs_along(lm, request, *place, added, steer_prompt, tokens)
            assert result.trajectory_kl == 0
        else:
            steered = logprobs_along(lm, request, *place, added, steer_prompt, program)
            expected = torch.nn.functional.kl_div(steered, unsteered, log_target=True, reduction="sum") / len(program)
            assert result.trajectory_kl == pytest.approx(float(expected), rel=1e-3, abs=1e-5)
            n_changed += tokens != program
    assert n_changed >= 3  # the vectors are long enough to matter


def test_a_coefficient_of_zero_gives_the_tokens_of_plain_generation(lm):
    asked = requests(7)
    plain = [result.token_ids for result in generate(lm, asked, max_new_tokens=12)]
    zero = SteeringVector(resid_site(1, "resid_post"), 0.0 * vector(lm, 0, 1.0))
    assert tokens_of(generate_steered(lm, asked, [zero] * 7, max_new_tokens=12)) == plain
    assert tokens_of(generate_steered(lm, asked, [None] * 7, max_new_tokens=12)) == plain
    assert tokens_of(generate_steered(lm, asked, [zero] * 7, max_new_tokens=12, steer_prompt=True)) == plain


@pytest.mark.parametrize("steer_prompt", [False, True])
def test_the_change_is_exactly_the_vector_at_the_positions_asked_and_nothing_elsewhere(lm, steer_prompt, monkeypatch):
    """The stream leaves block 1 and enters block 2; between the two it is steered."""
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", [])  # so that no row leaves
    before, after = [], []

    def take(site: str, resid: torch.Tensor) -> None:
        (before if site.endswith("post") else after).append(resid.clone())

    steering = SteeringVector("blocks.1.hook_resid_post", vector(lm, 5, 2.0))
    with read_sites(lm.model, ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"], take):
        generate_steered(
            lm,
            [*requests(2), *requests(2)],
            [steering, None, None, steering],
            max_new_tokens=3,
            steer_prompt=steer_prompt,
            stop_early=False,
        )
    passes = list(zip(before, after, strict=True))
    n = 3 if steer_prompt else 4  # to write the programs; as many but one to read the unsteered ones again
    assert len(passes) == n + n - 1
    # Of the rows asked for the first and the last; then the two that are steered, and each prompt unsteered.
    for (prompt, *steps), touched in ((passes[:n], [0, 3]), (passes[n:], [0, 1])):
        if steer_prompt:
            lengths = [len(lm.tokenizer(request.prompt.text)["input_ids"]) for request in requests(2)] * 2
            real = torch.arange(max(lengths)) >= (max(lengths) - torch.tensor(lengths))[:, None]
            expected = prompt[0].clone()
            expected[touched] += steering.vector * real[touched][:, :, None]
            assert torch.equal(prompt[1], expected)
        else:
            assert torch.equal(prompt[0], prompt[1]) and prompt[0].shape[0] == 2  # each prompt once, untouched
        for plain, steered in steps:
            expected = plain.clone()
            expected[touched] += steering.vector
            assert torch.equal(steered, expected)
    assert [step[0].shape[1] for step in passes[-1:]] == [2]  # a program of three tokens, without its last


def test_a_row_does_not_depend_on_the_rows_beside_it(lm):
    asked = [request for request in requests(3) for _ in range(4)]
    steering_vectors = [
        None if i % 4 == 0 else SteeringVector(resid_site(i % 3, "resid_post"), vector(lm, i, 2.0)) for i in range(12)
    ]
    together = generate_steered(lm, asked, steering_vectors, max_new_tokens=10)
    alone = [generate_steered(lm, [r], [p], max_new_tokens=10)[0] for r, p in zip(asked, steering_vectors, strict=True)]
    assert tokens_of(together) == tokens_of(alone)
    assert [r.trajectory_kl for r in together] == pytest.approx([r.trajectory_kl for r in alone], rel=1e-3, abs=1e-6)


def test_the_disturbance_is_the_same_however_little_fits_in_memory(lm, monkeypatch):
    asked = [request for request in requests(2) for _ in range(2)]
    steering_vectors = [SteeringVector(resid_site(i % 3, "resid_post"), vector(lm, i, 2.0)) for i in range(4)]
    whole = [r.trajectory_kl for r in generate_steered(lm, asked, steering_vectors, max_new_tokens=5)]
    monkeypatch.setattr(trajectory_kl, "NUMBERS_AT_ONCE", 1)  # a row and a token at a time
    parts = [r.trajectory_kl for r in generate_steered(lm, asked, steering_vectors, max_new_tokens=5)]
    assert parts == pytest.approx(whole, rel=1e-3, abs=1e-6) and min(whole) > 0


@pytest.mark.parametrize(
    "kinds", [("resid_mid", "resid_mid"), ("resid_mid", "resid_post"), ("resid_post", "resid_mid")]
)
def test_the_disturbance_is_the_same_among_hooks_that_pause(lm, kinds):
    """Programs of other vectors are in flight while it is measured."""
    earlier, later = (SteeringVector(resid_site(i, kind), vector(lm, i, 2.0)) for i, kind in enumerate(kinds, start=1))
    asked = [request.prompt for request in requests(2) for _ in range(3)]
    measure = partial(trajectory_kls, lm, asked, [later, earlier, later] * 2, [[9, 8, 7]] * 6)
    steering = Steering(lm, [earlier, later, None], max_new_tokens=2)
    with steering.hooks(), steering.paused():
        paused = measure()
        only_later = trajectory_kls(lm, asked, [later] * 6, [[9, 8, 7]] * 6)
    assert measure() == pytest.approx(paused, rel=1e-4) and min(paused) > 0
    assert trajectory_kls(lm, asked, [later] * 6, [[9, 8, 7]] * 6) == pytest.approx(only_later, rel=1e-4)


def test_rows_that_are_read_together_are_of_like_length_and_fit_in_memory(lm, monkeypatch):
    monkeypatch.setattr(trajectory_kl, "NUMBERS_AT_ONCE", 24 * lm.model.config.vocab_size)  # three rows, eight tokens
    monkeypatch.setattr(trajectory_kl, "HELD_BYTES", 200 * cache_bytes(lm.model))  # a hundred tokens, twice
    n_programs, n_prompts = [9, 2, 8, 2, 3, 9, 2], [20, 20, 20, 20, 20, 95, 20]
    found = list(parts(lm, n_prompts, [[0] * n for n in n_programs]))
    assert found == [[1, 3, 6], [4, 2, 0], [5]]
    assert list(parts(lm, [], [])) == []


@pytest.mark.parametrize("architecture", ["mamba", "jamba", "mamba2", "lfm2", "gpt2", "qwen2"])
def test_what_is_read_behind_a_cache_is_what_one_pass_reads(architecture):
    """A recurrence goes on from its state one token at a time alone."""
    lm = small(architecture)
    prompt, program = torch.arange(5, 17)[None], list(range(20, 40))
    cache, mask = new_cache(lm), torch.ones_like(prompt)
    with torch.inference_mode():
        first = next_token_logits(lm, prompt, mask, cache)
        found = torch.cat(list(along_programs(lm, [program], first, cache, mask)), dim=1)[0]
        whole = lm.model(input_ids=torch.cat([prompt, torch.tensor([program])], dim=1)).logits[0]
    expected = torch.log_softmax(whole[prompt.shape[1] - 1 : -1], dim=-1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_a_planted_direction_flips_the_output_as_computed_by_hand(tmp_path):
    """A model whose blocks write nothing: logits are the unembedding of the normalised embedding of the last token."""
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=64,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight[:, 0] = 1.0  # every token embeds as the first basis vector
        model.lm_head.weight[300, 0] = 1.0
        model.lm_head.weight[400, 3] = 1.0
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    lm = load_model(str(tmp_path), "cpu", threads=1)
    # x = e0 + c e3 is normalised to x sqrt(8 / (1 + c^2)): token 400 wins where c > 1.
    steering = [SteeringVector("blocks.0.hook_resid_post", c * torch.eye(8)[3]) for c in (0.9, 1.1)]
    request = Request({"task_id": 0, "entry_point": "f"}, Prompt("x = 1\n", 0, 0), seed=0)
    found = generate_steered(lm, [request] * 3, [None, *steering], max_new_tokens=4, stop_early=False)
    assert tokens_of(found) == [[300] * 4, [300] * 4, [400] * 4]

    def logprobs(c: float) -> torch.Tensor:
        scale = (8 / (1 + c * c + 8e-6)) ** 0.5  # epsilon of the norm: 1e-6
        logits = torch.zeros(len(tokenizer), dtype=torch.float64)
        logits[300], logits[400] = scale, c * scale
        return torch.log_softmax(logits, 0)

    for c, result in zip((0.9, 1.1), found[1:], strict=True):
        expected = float((logprobs(0.0).exp() * (logprobs(0.0) - logprobs(c))).sum())
        assert result.trajectory_kl == pytest.approx(expected, abs=1e-5)  # 1,024 log-probabilities of 1e-6 each


def n_hooks(lm) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in lm.model.modules())


def test_a_misspelt_site_is_an_error(lm):
    before = n_hooks(lm)
    with pytest.raises(UnknownHookError, match=r"'blocks\.1\.hook_resid'.*\n.*hook_resid_pre"):
        generate_steered(lm, requests(1), [SteeringVector("blocks.1.hook_resid", vector(lm, 0, 1.0))], max_new_tokens=1)
    with pytest.raises(UnknownHookError), change_sites(lm.model, {"blocks.99.hook_resid_post": lambda resid: resid}):
        pass
    assert n_hooks(lm) == before
