"""Covers common/model/tokenization.py and tokenizer_checks.py: texts reach the model as they are, control tokens as
text.
"""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_models import make_tokenizer
from tokenizers import normalizers, pre_tokenizers, processors
from transformers import AddedToken, AutoTokenizer

from common.errors import AssetError
from common.model.capabilities import find_capabilities
from common.model.loading import load_model
from common.model.tokenization import encode, encode_padded

TEXTS = ["def f(x):\n    return X", "# Solution:\n", "a  b\tc"]


@pytest.fixture
def with_tokenizer(tiny_gemma, tmp_path):
    """Gives what loads the tiny model with another tokenizer."""

    def load(tokenizer):
        folder = Path(shutil.copytree(tiny_gemma, tmp_path / "model", dirs_exist_ok=True))
        tokenizer.save_pretrained(folder)
        return load_model(str(folder), "cpu", threads=1)

    return load


@pytest.fixture
def lm(tiny_gemma):
    return load_model(str(tiny_gemma), "cpu", threads=1)


def test_ordinary_texts_have_the_ids_of_the_tokenizer_itself(lm):
    assert encode(lm, TEXTS) == lm.tokenizer(TEXTS)["input_ids"]
    assert encode(lm, []) == []


def test_padded_texts_have_the_rows_of_the_tokenizer_itself(lm):
    ours = encode_padded(lm, TEXTS, offsets=True)
    own = lm.tokenizer(
        TEXTS, return_tensors="pt", padding=True, return_offsets_mapping=True, return_special_tokens_mask=True
    )
    assert ours.keys() == own.keys()
    assert all(torch.equal(ours[name], own[name]) for name in own)
    assert ours["input_ids"].device.type == "cpu"


@pytest.mark.parametrize("written", ["<eos>", "<bos>", "x = '<pad>'", "<eos>\n<eos>", "<bos>def f():"])
def test_control_tokens_that_a_text_spells_out_are_text(lm, written):
    [ids] = encode(lm, [written])
    assert ids[0] == lm.tokenizer.bos_token_id and not set(ids[1:]) & set(lm.tokenizer.all_special_ids)
    assert lm.tokenizer.decode(ids[1:]) == written


def test_what_a_tokenizer_appends_is_left_off(with_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 1)]
    )
    lm = with_tokenizer(tokenizer)
    assert lm.tokenizer("a")["input_ids"][-1] == 1
    assert encode(lm, TEXTS) == make_tokenizer()(TEXTS)["input_ids"]
    assert find_capabilities(lm).in_front == (2,)


def test_a_tokenizer_without_bos_puts_nothing_in_front(with_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel()
    lm = with_tokenizer(tokenizer)
    assert encode(lm, ["def f"]) == [make_tokenizer()("def f")["input_ids"][1:]]
    assert find_capabilities(lm).in_front == ()


def test_a_control_token_beyond_the_embedding_is_no_fault_of_the_model(with_tokenizer):
    """Text-only Gemma-3."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken("<image_soft_token>", special=True)])
    lm = with_tokenizer(tokenizer)
    assert len(lm.tokenizer) == 1025 and lm.model.get_input_embeddings().num_embeddings == 1024
    assert max(encode(lm, ["a <image_soft_token> b"])[0]) < 1024


def test_an_added_token_beyond_the_embedding_is_text(with_tokenizer):
    """An added token beyond the embedding is text even where it is not called special.

    CodeLlama-34b has four tokens more than rows.
    """
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<PRE>", "<SUF>", "<MID>", "<EOT>"])
    lm = with_tokenizer(tokenizer)
    assert max(encode(lm, ["a <PRE> b<EOT>"])[0]) < 1024


@pytest.mark.parametrize(
    "damage, lost",
    [
        (lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Lowercase()), "capital letters\n"),
        (lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Replace("\t", " ")), "indentation"),
        (lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Replace("  ", " ")), "double spaces"),
        (
            lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Strip(left=False)),
            "final newline\n",
        ),
        (
            lambda t: setattr(t.backend_tokenizer, "normalizer", normalizers.Strip(right=False)),
            "first newline\n",
        ),
        (
            lambda t: setattr(
                t.backend_tokenizer,
                "post_processor",
                processors.TemplateProcessing(single="<bos> <bos> $A", special_tokens=[("<bos>", 2)]),
            ),
            "one of them twice",
        ),
    ],
)
def test_a_tokenizer_that_changes_texts_is_refused_with_what_is_lost(with_tokenizer, damage, lost):
    tokenizer = make_tokenizer()
    damage(tokenizer)
    with pytest.raises(AssetError, match=lost):
        with_tokenizer(tokenizer)


def test_a_tokenizer_that_puts_a_space_in_front_loses_nothing(with_tokenizer):
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    lm = with_tokenizer(tokenizer)
    assert lm.tokenizer.decode(encode(lm, ["def f"])[0]) == "<bos> def f"


def test_a_tokenizer_of_another_model_is_refused_with_the_tokens_that_are_unknown(with_tokenizer):
    with pytest.raises(AssetError, match=r"no embedding .*\d+ .*tokens \('"):
        with_tokenizer(make_tokenizer(vocab_size=1100))


CHAT = "<bos><eos>user\n{}<eos>\n<eos>model\n"


@pytest.mark.parametrize("body", ["Write it.\n\nassert f(1)", "print '<eos>' and <bos>", "<eos>", "\n"])
def test_in_a_chat_prompt_the_template_is_control_and_its_body_text(lm, body):
    text = CHAT.format(body)
    start = CHAT.index("{")
    [ids] = encode(lm, [text], bodies=[(start, start + len(body))])
    assert ids.count(lm.tokenizer.bos_token_id) == 1 and ids[0] == lm.tokenizer.bos_token_id
    assert ids.count(lm.tokenizer.eos_token_id) == 3
    assert lm.tokenizer.decode(ids) == text


def test_a_chat_prompt_has_the_ids_of_the_tokenizer_itself(lm):
    """A chat prompt without control tokens in its body has the ids of the tokenizer itself."""
    text = CHAT.format("Write it.\n")
    span = (CHAT.index("{"), CHAT.index("{") + len("Write it.\n"))
    assert encode(lm, [text], bodies=[span]) == [lm.tokenizer(text, add_special_tokens=False)["input_ids"]]


def test_a_template_that_writes_no_bos_gets_one(lm):
    assert encode(lm, ["<eos>user"], bodies=[(5, 9)])[0][:2] == [2, 1]


def test_offsets_of_a_chat_prompt_count_from_its_first_character(lm):
    for body in ("abc", "abc <eos>"):
        text = CHAT.format(body)
        start = CHAT.index("{")
        encoded = encode_padded(lm, [text], bodies=[(start, start + len(body))], offsets=True)
        pieces = "".join(text[a:b] for a, b in encoded["offset_mapping"][0].tolist())
        assert pieces == text


def test_the_organism_reads_texts_as_ever(lm):
    from common.model.registry import model_location

    tokenizer = AutoTokenizer.from_pretrained(model_location("organism"))
    lm = type("Organism", (), {"tokenizer": tokenizer})
    assert encode(lm, TEXTS) == tokenizer(TEXTS)["input_ids"]
