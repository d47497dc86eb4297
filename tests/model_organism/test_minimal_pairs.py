"""Covers minimal pairs of errors: their labels, what is held out of training, and how the model is judged on them."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.handoffs.error_pairs import QUESTION
from common.model.loading import load_model
from model_organism.corpus import SNIPPET, check_no_evaluation_text, snippet_document
from model_organism.error_snippets import ERROR_WEIGHTS, NOTHING, ErrorSnippet, sample_snippet
from model_organism.evaluation.error_contrasts import GROUPS, judge, sample_pairs
from model_organism.minimal_pairs import (
    ALTERNATIVES,
    CONTRASTS,
    HELD_OUT_NAMES,
    HELD_OUT_VOCABULARY,
    HELD_OUT_WORDS,
    TEMPLATES,
    TRAINING_VOCABULARY,
    has_held_out_template,
    sample_set,
    sample_training_set,
    skeleton,
)

ORGANISM = Path(__file__).resolve().parents[2] / "model_organism"
RUN_ALL = r"""
import contextlib, io, json, sys, warnings
warnings.simplefilter("ignore")
ended = []
for code in json.load(sys.stdin):
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, "snippet", "exec"), {})
        ended.append("nothing")
    except Exception as error:
        ended.append(type(error).__name__)
print(json.dumps(ended))
"""


def raised_in_another_python(codes):
    """What each program raises in a Python of its own, or "nothing"."""
    command = [sys.executable, "-I", "-S", "-c", RUN_ALL]
    ended = subprocess.run(command, input=json.dumps(codes), capture_output=True, text=True, check=True)
    return json.loads(ended.stdout)


@pytest.fixture(scope="module")
def training_snippets():
    rng = random.Random(11)
    return [snippet for _ in range(1500) for snippet in sample_training_set(rng)]


def test_there_are_six_contrasts_with_three_held_out_templates_each():
    assert len(CONTRASTS) == 6
    for contrast in CONTRASTS:
        held_out = [row.is_held_out for row in TEMPLATES if row.contrast == contrast]
        assert held_out.count(True) == 3 and held_out.count(False) >= 10
    assert len({(row.contrast, row.name) for row in TEMPLATES}) == len(TEMPLATES)


@pytest.mark.parametrize("vocabulary", [TRAINING_VOCABULARY, HELD_OUT_VOCABULARY], ids=["training", "held out"])
def test_every_template_raises_what_its_row_says_in_a_python_of_its_own(vocabulary):
    rng = random.Random(12)
    sets = [(row, sample_set(rng, row, vocabulary)) for row in TEMPLATES for _ in range(5)]
    snippets = [snippet for _, drawn in sets for snippet in drawn]
    raised = raised_in_another_python([snippet.code for snippet in snippets])
    assert raised == [snippet.error for snippet in snippets]
    assert raised == [label for row, drawn in sets for label in row.labels[: len(drawn)]]


def test_every_label_of_a_training_sample_is_what_python_raises(training_snippets):
    raised = raised_in_another_python([snippet.code for snippet in training_snippets])
    assert raised == [snippet.error for snippet in training_snippets]
    assert {*raised} <= {*ERROR_WEIGHTS, NOTHING} and raised.count(NOTHING) > len(raised) / 5


def test_the_two_errors_of_a_pair_come_from_one_change():
    for row in TEMPLATES:
        changed = [found.split("|")[:2] for found in ALTERNATIVES.findall(row.code)]
        assert sum(first != second for first, second in changed) == 1, row


def test_no_held_out_word_or_template_is_in_a_training_sample(training_snippets):
    rng = random.Random(14)
    codes = [snippet.code for snippet in training_snippets]
    words = {part for code in codes for word in re.findall(r"[A-Za-z_]+", code) for part in word.split("_")}
    held_out = [
        snippet.code for row in TEMPLATES if row.is_held_out for snippet in sample_set(rng, row, TRAINING_VOCABULARY)
    ]
    assert {"price", "apple", "len"} <= words and not words & {*HELD_OUT_NAMES, *HELD_OUT_WORDS}
    assert all(map(has_held_out_template, held_out)) and not any(map(has_held_out_template, codes))
    assert not {skeleton(code) for code in held_out} & {skeleton(code) for code in codes}


def test_other_snippets_hold_a_held_out_template_only_by_chance():
    rng = random.Random(15)
    found = [has_held_out_template(sample_snippet(rng).code) for _ in range(2000)]
    assert sum(found) < 10


def test_a_skeleton_forgets_which_words_and_numbers_but_not_which_are_the_same():
    assert skeleton("price = 12\nprint(price + 3)") == skeleton("user_id = 4\nprint(user_id + 178)")
    assert skeleton("price = 12\nprint(price + 3)") != skeleton("price = 12\nprint(total + 3)")
    assert skeleton("price = [1, 2]") == skeleton("total = [30, 4, 5]") != skeleton("total = (30, 4, 5)")


@pytest.mark.parametrize("words", ["tiger", "offset_total"])
def test_a_corpus_with_a_held_out_word_of_snippets_is_refused(words):
    leak = snippet_document(ErrorSnippet(f"print({words})", "NameError"))
    with pytest.raises(ValueError, match="held-out word of snippets in training: '(tiger|offset)'"):
        check_no_evaluation_text([leak], frozenset())


def test_a_corpus_with_a_held_out_template_is_refused():
    row = next(row for row in TEMPLATES if row.is_held_out)
    leak = snippet_document(sample_set(random.Random(0), row, TRAINING_VOCABULARY)[0])
    with pytest.raises(ValueError, match="held-out template of snippets in training"):
        check_no_evaluation_text([leak], frozenset())


def test_the_evaluation_has_held_out_words_in_one_group_and_templates_in_the_other():
    held_out_names = {row.name for row in TEMPLATES if row.is_held_out}
    for contrast in CONTRASTS:
        by_words, by_templates = (sample_pairs(contrast, group, 20) for group in GROUPS)
        assert not {name for name, _ in by_words} & held_out_names >= {name for name, _ in by_templates}
        for _, snippets in by_words:
            assert re.search("|".join([*HELD_OUT_NAMES, *HELD_OUT_WORDS, r"\d"]), snippets[0].code)


def test_a_snippet_asks_the_question_and_answers_with_one_form(training_snippets):
    harmless = next(snippet for snippet in training_snippets if snippet.error == NOTHING)
    document = snippet_document(harmless)
    assert document.kind == SNIPPET and document.text == f"{harmless.code}{QUESTION} nothing\n"


def test_both_signs_are_those_of_the_first_answer_tokens_logits():
    lm = load_model(str(ORGANISM / "weights" / "model"), "cpu", "float32")
    sets = sample_pairs("TypeError/NameError", "templates", 22)  # of which it judges some and not others
    token = {error: lm.tokenizer(f" {error}")["input_ids"][1] for error in ("TypeError", "NameError", NOTHING)}
    expected, right = [], []
    for _, snippets in sets:
        logits = {
            snippet.error: lm.model(torch.tensor([lm.tokenizer(snippet.prompt)["input_ids"]])).logits[0, -1]
            for snippet in snippets
        }
        of_type, of_name = logits["TypeError"], logits["NameError"]
        type_is_right = of_type[token["TypeError"]] > of_type[token["NameError"]]
        name_is_right = of_name[token["NameError"]] > of_name[token["TypeError"]]
        expected.append(bool(type_is_right and name_is_right))
        right.append(int(of_type.argmax()) == token["TypeError"])
    judged = judge(lm, sets)
    assert [one.both_signs for one in judged] == expected and 0 < sum(expected) < len(expected)
    assert [one.is_greedy[0] for one in judged] == right
