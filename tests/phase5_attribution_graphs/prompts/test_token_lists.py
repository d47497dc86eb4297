"""Covers the one token list of phase 5: what stands in front, where answers differ, what is refused, partners."""

import pytest
from behaviour_rows import tokenizer_without_bos
from tiny_models import make_tokenizer

from common.errors import AssetError
from phase5_attribution_graphs.prompts.candidates import Candidate
from phase5_attribution_graphs.prompts.drawing import NO_PARTNER, SHOWN, UNEQUAL, draw, named, partners
from phase5_attribution_graphs.prompts.token_lists import NO_DIFFERENCE, TOKENS_CHANGE, Reading, TokenLists

PAD, EOS, BOS = 0, 1, 2
N_KNOWN = 1024


def candidate(prompt: str, correct: str = " is", *distractors: str, **given) -> Candidate:
    usual = {"behaviour": "own", "split": "train", "entity": prompt}
    return Candidate(prompt=prompt, correct=correct, distractors=distractors or (" are",), **{**usual, **given})


@pytest.fixture(scope="module")
def tokens() -> TokenLists:
    return TokenLists(make_tokenizer(), N_KNOWN, "tiny")


def ids(text: str) -> list[int]:
    return make_tokenizer()(text, add_special_tokens=False)["input_ids"]


def test_bos_stands_in_front_once(tokens):
    assert tokens.of("the parser") == [BOS, *ids("the parser")] and tokens.sink is None
    assert [(token.id, token.text) for token in tokens.front] == [(BOS, "<bos>")]


def test_a_text_that_spells_control_tokens_is_read_as_text(tokens):
    assert tokens.of("<bos>a").count(BOS) == 1 and len(tokens.of("<bos>a")) > 4


@pytest.mark.parametrize(
    ("names", "first", "text"),
    [
        ({"pad_token": "<pad>", "eos_token": "<eos>"}, PAD, "<pad>"),
        ({"eos_token": "<eos>"}, EOS, "<eos>"),
        ({"bos_token": "<bos>", "pad_token": "<pad>"}, BOS, "<bos>"),
    ],
)
def test_where_the_tokenizer_puts_nothing_in_front_a_sink_is_added_and_named(names, first, text):
    tokens = TokenLists(tokenizer_without_bos(**names), N_KNOWN, "tiny")
    assert tokens.of("the parser") == [first, *ids("the parser")]
    assert tokens.sink is not None and (tokens.sink.id, tokens.sink.text) == (first, text)
    assert tokens.front == [tokens.sink]


def test_a_token_that_the_model_does_not_know_is_no_sink():
    tokenizer = tokenizer_without_bos(eos_token="<eos>")
    tokenizer.add_special_tokens({"pad_token": "<new pad>"})
    assert tokenizer.pad_token_id >= N_KNOWN
    assert TokenLists(tokenizer, N_KNOWN, "tiny").sink.id == EOS


def test_a_tokenizer_with_nothing_that_could_stand_in_front_is_refused():
    with pytest.raises(AssetError, match="the tokenizer of tiny has no BOS, and no pad .*\nGive a --model"):
        TokenLists(tokenizer_without_bos(), N_KNOWN, "tiny")


def test_tokens_that_both_answers_begin_with_belong_to_the_list(tokens):
    reading = tokens.read(candidate("x =", " 1234567", " 1234987"))
    assert isinstance(reading, Reading)
    right, wrong = ids("x = 1234567"), ids("x = 1234987")
    n = next(place for place, (a, b) in enumerate(zip(right, wrong, strict=False)) if a != b)
    assert reading.token_ids == [BOS, *right[:n]] and reading.next_tokens == (right[n], wrong[n])
    assert reading.n_prompt == 1 + len(ids("x =")) < len(reading.token_ids)
    assert [BOS, *right] == reading.token_ids[: reading.n_prompt] + reading.correct_ids
    assert [BOS, *wrong] == reading.token_ids[: reading.n_prompt] + reading.incorrect_ids


def test_of_several_wrong_answers_the_first_with_as_many_tokens_is_taken(tokens):
    lengths = {word: len(ids(f"the{word}")) - len(ids("the")) for word in (" is", " zxqvwk", " are", " not")}
    assert lengths[" is"] == lengths[" are"] == lengths[" not"] < lengths[" zxqvwk"]
    reading = tokens.read(candidate("the", " is", " zxqvwk", " not", " are"))
    assert isinstance(reading, Reading) and reading.incorrect == " not"
    nearest = tokens.read(candidate("the", " is", " zxqvwkzxqvwk", " zxqvwk"))
    assert isinstance(nearest, Reading) and nearest.incorrect == " zxqvwk"


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (candidate("the pars", "er", "ing"), TOKENS_CHANGE),
        (candidate("the pars", " is", "er"), TOKENS_CHANGE),
        (candidate("x =", " 1", " 12"), NO_DIFFERENCE),
    ],
)
def test_a_prompt_that_cannot_be_asked_is_refused_with_the_reason(one, reason, tokens):
    assert tokens.read(one) == reason
    drawn = draw([(candidate("the"),), (one,), (candidate("if"),)], 3, tokens)
    assert drawn.refused == {reason: [one.prompt]}
    assert [each.candidate.prompt for each in drawn.prompts] == ["the", "if"]


def test_partners_of_unequal_length_are_refused_together_and_named(tokens):
    unequal = (candidate("the", pair="a"), candidate("the zxqvwk", pair="a"))
    equal = (candidate("the name", pair="b"), candidate("the self", pair="b"))
    drawn = draw([unequal, equal], 4, tokens)
    assert drawn.refused == {UNEQUAL: ["the", "the zxqvwk"]} and len(drawn.prompts) == 2
    assert partners(drawn.prompts) == [1, 0]


def test_a_pair_is_taken_whole_or_not_at_all(tokens):
    pairs = [(candidate(f"the {a}", pair=a), candidate(f"for {a}", pair=a)) for a in ("name", "self")]
    assert len(draw(pairs, 3, tokens).prompts) == 2 and len(draw(pairs, 4, tokens).prompts) == 4


def test_the_next_prompt_of_a_template_and_length_with_another_answer_is_the_partner(tokens):
    words = [("name", " is"), ("self", " is"), ("zxqvwk", " is"), ("text", " not"), ("list", " in")]
    drawn = draw([(candidate(f"the {word}", answer, template="the {word}"),) for word, answer in words], 9, tokens)
    lengths = [one.length for one in drawn.prompts]
    assert lengths[2] > lengths[0] == lengths[1] == lengths[3] == lengths[4]
    assert partners(drawn.prompts) == [3, 3, NO_PARTNER, 4, 0]


def test_prompts_without_a_pair_or_a_template_have_no_partner(tokens):
    drawn = draw([(candidate("the name"),), (candidate("the self", " not"),)], 9, tokens)
    assert partners(drawn.prompts) == [NO_PARTNER, NO_PARTNER]


def test_of_many_that_were_refused_the_first_are_named():
    many = named([str(number) for number in range(9)])
    assert many.n == 9 and many.named == list("01234") and SHOWN == 5
