"""Covers how phase 3.4 reads attention: sections of tokens, heads by hand and by a plain pass, steering, refusals."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_tokenizer, save_tiny_llama, save_tiny_qwen
from transformers import AttentionInterface
from transformers.models.llama.modeling_llama import eager_attention_forward

from common.errors import ArtifactMismatchError
from common.interventions.steered_generation import SteeringVector
from common.model.hooks import decoder_blocks
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.sites import resid_site
from common.problems.prompt import Prompt, build_prompt
from phase3_validation.attention.heads import eager
from phase3_validation.attention.reading import eager_differs_by, normalised, read_attention
from phase3_validation.attention.sections import PADDING, SECTIONS, section_of_tokens

FIRST, TEMPLATE, DESCRIPTION, TESTS, MARKER, SINK = range(6)
N_SECTIONS = len(SECTIONS)


def prompts(n: int = 5) -> list[Prompt]:
    """Of different lengths, some with characters of several bytes."""
    texts = ["Grüße 🎉 finden.", "Write a function to add numbers.", "日本語 の 問題", "a", "Write " * 12]
    return [build_prompt(texts[i % 5], [f"assert f_{j}({i}) == 'é{j}'" for j in range(1 + i % 3)]) for i in range(n)]


# --- sections


def test_each_token_belongs_to_the_section_of_its_first_character_that_is_no_space():
    prompt = build_prompt("Add it.", ["assert f(1)"])
    assert prompt.text == "Add it.\n\nassert f(1)\n\n# Solution:\n"
    spans = [  # padding, BOS, then tokens as some tokenizer might cut them; ' it.\n' ends the description
        ((0, 0), PADDING),
        ((0, 0), FIRST),
        ((0, 3), DESCRIPTION),
        ((3, 8), DESCRIPTION),
        ((8, 9), TESTS),
        ((9, 15), TESTS),
        ((15, 21), TESTS),  # '\n', 'assert', ' f(1)\n'
        ((21, 23), MARKER),
        ((23, 33), MARKER),
        ((33, 34), MARKER),
    ]
    encoded = {
        "offset_mapping": np.array([[span for span, _ in spans]]),
        "special_tokens_mask": np.array([[1, 1, *[0] * 8]]),
        "attention_mask": np.array([[0, *[1] * 9]]),
    }
    assert section_of_tokens(encoded, [prompt])[0].tolist() == [section for _, section in spans]


@pytest.mark.parametrize(
    ("span", "section"),
    [
        ((5, 12), DESCRIPTION),
        ((7, 12), TESTS),
        ((7, 9), TESTS),
        ((18, 24), TESTS),
        ((20, 24), MARKER),
        ((0, 0), DESCRIPTION),
    ],
)
def test_a_token_across_a_border_belongs_where_its_first_word_stands(span, section):
    prompt = build_prompt("Add it.", ["assert f(1)"])
    encoded = {
        "offset_mapping": np.array([[(0, 0), span]]),
        "special_tokens_mask": np.array([[1, 0]]),
        "attention_mask": np.ones((1, 2)),
    }
    assert section_of_tokens(encoded, [prompt]).tolist() == [[FIRST, section]]


def test_without_a_bos_token_the_first_word_is_no_part_of_the_description():
    prompt = build_prompt("Add it.", ["assert f(1)"])
    spans = [(0, 0), (0, 3), (3, 6), (6, 9)]  # padding, 'Add', ' it', '.\n\n'
    encoded = {
        "offset_mapping": np.array([spans]),
        "special_tokens_mask": np.array([[1, 0, 0, 0]]),
        "attention_mask": np.array([[0, 1, 1, 1]]),
    }
    assert section_of_tokens(encoded, [prompt]).tolist() == [[PADDING, FIRST, DESCRIPTION, DESCRIPTION]]


def test_what_a_chat_template_writes_and_what_a_tokenizer_adds_behind_the_first_token_is_no_content():
    text = "<s>user\nAdd it.\n\nassert f(1)\n\nWrite it.<e>\n<s>model\n"
    prompt = Prompt(text, 15, 28, body=(8, 39))
    assert [text[8:15], text[17:28], text[30:39]] == ["Add it.", "assert f(1)", "Write it."]
    spans = [
        ((0, 0), FIRST),
        ((0, 0), TEMPLATE),
        ((0, 3), TEMPLATE),
        ((3, 8), TEMPLATE),
        ((8, 11), DESCRIPTION),
        ((11, 17), DESCRIPTION),
        ((17, 28), TESTS),
        ((28, 35), MARKER),
        ((35, 39), MARKER),
        ((39, 43), TEMPLATE),
        ((43, len(text)), TEMPLATE),
    ]
    encoded = {
        "offset_mapping": np.array([[span for span, _ in spans]]),
        "special_tokens_mask": np.array([[1, 1, *[0] * 9]]),
        "attention_mask": np.ones((1, 11)),
    }
    assert section_of_tokens(encoded, [prompt])[0].tolist() == [section for _, section in spans]


def test_the_tokens_of_a_section_spell_it_whatever_its_characters():
    tokenizer = make_tokenizer()
    made = prompts()
    encoded = tokenizer(
        [p.text for p in made],
        return_tensors="pt",
        padding=True,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
    )
    sections = section_of_tokens(encoded, made)
    for prompt, ids, row, mask in zip(made, encoded["input_ids"], sections, encoded["attention_mask"], strict=True):
        assert ((row == PADDING) == (mask.numpy() == 0)).all()
        assert np.flatnonzero(row == FIRST).tolist() == [int((mask == 0).sum())] and row[-1] == MARKER
        assert (np.diff(row[row != PADDING]) >= 0).all()
        spelt = [tokenizer.decode(ids[torch.from_numpy(row == number)]) for number in (DESCRIPTION, TESTS, MARKER)]
        ends = (0, prompt.description_end, prompt.tests_end, len(prompt.text))
        expected = [prompt.text[a:b] for a, b in zip(ends, ends[1:], strict=False)]
        assert [text.strip() for text in spelt] == [text.strip() for text in expected]
        assert "".join(spelt) == prompt.text


# --- attention


@pytest.fixture(scope="module", params=["gemma", "llama", "qwen"])
def lm(request, tiny_gemma, tmp_path_factory) -> LanguageModel:
    return load(request.param, tiny_gemma, tmp_path_factory)


def load(family: str, tiny_gemma: Path, tmp_path_factory) -> LanguageModel:
    if family == "gemma":
        return load_model(str(tiny_gemma), "cpu", threads=1)
    save = {"llama": save_tiny_llama, "qwen": save_tiny_qwen}[family]
    model = load_model(str(save(tmp_path_factory.mktemp(family))), "cpu", threads=1)
    difference = eager_differs_by(model, prompts())
    assert difference is not None and difference < 1e-3
    return model


def some_steering(lm: LanguageModel, site: str, length: float = 5.0) -> SteeringVector:
    vector = torch.from_numpy(np.random.default_rng(3).normal(size=lm.d_model)).float()
    return SteeringVector(site, length * vector / vector.norm())


def plain_attention(lm: LanguageModel, prompt: Prompt, layers: list[int]) -> np.ndarray:
    """Attention by section of one prompt, [layers, heads, sections], from a plain pass without padding or cache."""
    encoded = lm.tokenizer(
        [prompt.text], return_tensors="pt", return_offsets_mapping=True, return_special_tokens_mask=True
    )
    with torch.no_grad(), eager(lm):
        maps = lm.model(input_ids=encoded["input_ids"], output_attentions=True, use_cache=False).attentions
    sections = section_of_tokens(encoded, [prompt])[0]
    last = np.stack([maps[layer][0, :, -1].numpy() for layer in layers])
    return np.stack([last[:, :, sections == number].sum(-1) for number in range(N_SECTIONS)], axis=-1)


def test_the_sections_of_every_head_add_up_to_one(lm):
    found = read_attention(lm, prompts(), [None, some_steering(lm, resid_site(0, "resid_post"))], range(lm.n_layers))
    assert found.shape == (2, 5, lm.n_layers, 4, N_SECTIONS) and found.min() >= 0
    assert np.abs(found.sum(-1) - 1).max() < 1e-4


def test_in_bfloat16_the_sections_add_up_to_one_too(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", "bfloat16", threads=1)
    exact = load_model(str(tiny_gemma), "cpu", threads=1)
    found, expected = (read_attention(one, prompts(), [None], range(4)) for one in (lm, exact))
    assert np.abs(found.sum(-1) - 1).max() < 1e-9 and np.abs(found - expected).mean() < 0.02


def test_attention_is_that_of_a_plain_pass_of_one_prompt(lm):
    layers = list(range(lm.n_layers))
    found = read_attention(lm, prompts(), [None], layers)[0]
    for prompt, own in zip(prompts(), found, strict=True):
        assert np.abs(own - plain_attention(lm, prompt, layers)).max() < 1e-5


@pytest.mark.parametrize("steer_prompt", [False, True])
@pytest.mark.parametrize("kind", ["resid_pre", "resid_post"])
def test_steered_attention_is_that_of_a_plain_pass_in_which_the_vector_is_added(lm, kind, steer_prompt):
    layers, steering = list(range(1, lm.n_layers)), some_steering(lm, resid_site(1, kind))
    found = read_attention(lm, prompts(), [None, steering, None], layers, steer_prompt=steer_prompt)
    assert (found[0] == found[2]).all()  # nothing is left behind
    first = slice(None) if steer_prompt else slice(-1, None)

    def add(resid: torch.Tensor) -> torch.Tensor:
        changed = resid.clone()
        changed[:, first] += steering.vector
        return changed

    block = decoder_blocks(lm.model)[1]
    if kind == "resid_pre":
        handle = block.register_forward_pre_hook(lambda _m, arguments: (add(arguments[0]), *arguments[1:]))
    else:
        handle = block.register_forward_hook(lambda _m, _a, output: add(output))
    try:
        for prompt, own in zip(prompts(), found[1], strict=True):
            assert np.abs(own - plain_attention(lm, prompt, layers)).max() < 1e-5
    finally:
        handle.remove()
    moved = np.abs(found[1] - found[0]).max(axis=(0, 2, 3))
    assert moved[-1] > 1e-3 and (moved[0] > 1e-3) == (kind == "resid_pre")


def test_a_vector_of_length_zero_changes_nothing_at_all(lm):
    found = read_attention(
        lm, prompts(), [None, some_steering(lm, resid_site(0, "resid_pre"), 0.0)], range(lm.n_layers)
    )
    assert (found[0] == found[1]).all()


def test_a_head_that_looks_everywhere_alike_looks_at_sections_by_their_number_of_tokens(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    for block in decoder_blocks(lm.model):
        block.self_attn.q_proj.weight.zero_()
    found = read_attention(lm, prompts(), [None], range(4))[0]
    for prompt, own in zip(prompts(), found, strict=True):
        encoded = lm.tokenizer([prompt.text], return_offsets_mapping=True, return_special_tokens_mask=True)
        sections = section_of_tokens(encoded, [prompt])[0]
        for layer, kind in enumerate(lm.model.config.layer_types):
            seen = sections[-16:] if kind == "sliding_attention" else sections  # the window of tiny_gemma
            expected = [(seen == number).sum() / len(seen) for number in range(N_SECTIONS)]
            assert own[layer] == pytest.approx(np.tile(expected, (4, 1)), abs=1e-6)


def first_layer_by_hand(lm: LanguageModel, prompt: Prompt, added: np.ndarray) -> np.ndarray:
    """Attention of the last token in block 0 of a Llama, [heads, pos], from its weights alone."""
    weights = {name: tensor.double().numpy() for name, tensor in lm.model.model.state_dict().items()}
    stream = weights["embed_tokens.weight"][lm.tokenizer(prompt.text)["input_ids"]]
    stream[-1] += added
    size = np.sqrt((stream**2).mean(axis=1, keepdims=True) + lm.model.config.rms_norm_eps)
    x = stream / size * weights["layers.0.input_layernorm.weight"]
    q, k = (x @ weights[f"layers.0.self_attn.{name}_proj.weight"].T for name in "qk")
    angle = np.outer(np.arange(len(x)), 10000.0 ** (-np.arange(0, 16, 2) / 16))
    cos, sin = np.tile(np.cos(angle), 2), np.tile(np.sin(angle), 2)
    rows = []
    for head in range(4):
        queries, keys = q[:, 16 * head :][:, :16], k[:, 16 * (head // 2) :][:, :16]
        turned = [z * cos + np.concatenate([-z[:, 8:], z[:, :8]], axis=1) * sin for z in (queries, keys)]
        scores = turned[0][-1] @ turned[1].T / 4
        rows.append(np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum())
    return np.stack(rows)


def test_the_first_layer_s_heads_by_hand_with_and_without_a_vector(tiny_gemma, tmp_path_factory):
    lm = load("llama", tiny_gemma, tmp_path_factory)
    steering = some_steering(lm, resid_site(0, "resid_pre"), 3.0)
    found = read_attention(lm, prompts(), [None, steering], [0])
    for number, prompt in enumerate(prompts()):
        encoded = lm.tokenizer([prompt.text], return_offsets_mapping=True, return_special_tokens_mask=True)
        sections = section_of_tokens(encoded, [prompt])[0]
        for condition, added in enumerate((np.zeros(64), steering.vector.double().numpy())):
            rows = first_layer_by_hand(lm, prompt, added)
            expected = np.stack([rows[:, sections == section].sum(-1) for section in range(N_SECTIONS)], axis=-1)
            assert found[condition, number, 0] == pytest.approx(expected, abs=1e-5)
    assert np.abs(found[1] - found[0]).max() > 0.01


def test_gemma_s_own_attention_is_eager_attention(tiny_gemma):
    lm = load_model(str(tiny_gemma), "cpu", threads=1)
    difference = eager_differs_by(lm, prompts())
    assert difference is not None and difference < 1e-5
    lm.model.set_attn_implementation("eager")
    assert eager_differs_by(lm, prompts()) is None


def halved(*arguments, **options):
    output, weights = eager_attention_forward(*arguments, **options)
    return output / 2, weights


def test_a_model_that_computes_something_else_than_eager_attention_is_refused(tiny_gemma, tmp_path_factory):
    AttentionInterface.register("halved", halved)
    lm = load("llama", tiny_gemma, tmp_path_factory)
    lm.model.set_attn_implementation("halved")
    with pytest.raises(ArtifactMismatchError, match="eager attention is not what .* computes.*'halved'"):
        eager_differs_by(lm, prompts())


def test_attention_that_does_not_add_up_to_one_is_refused():
    attention = np.full((2, 3, 4), 0.25)
    assert normalised(attention * 1.00005, "float32").sum(-1) == pytest.approx(np.ones((2, 3)), abs=1e-9)
    assert normalised(attention * 1.005, "bfloat16").sum(-1) == pytest.approx(np.ones((2, 3)), abs=1e-9)
    for broken in (attention * 0.999, attention * np.nan):
        with pytest.raises(ArtifactMismatchError, match="of an attention head's weight, not 1"):
            normalised(broken, "float32")
