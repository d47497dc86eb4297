"""Covers the training documents: what they hold, what they must not hold, and how they are tokenized."""

import random
import re
import subprocess
import sys

import numpy as np
import pytest

from common.problems.prompt import build_prompt
from model_organism.behaviours import BEHAVIOURS, HELD_OUT_NOUNS, TRAINING_NOUNS, sample_item
from model_organism.corpus import (
    GENERAL,
    KINDS,
    PROBLEM,
    Document,
    check_no_evaluation_text,
    evaluation_lines_of,
    problem_document,
    tokenize_documents,
)
from model_organism.error_snippets import ERROR_WEIGHTS, raised_error, sample_snippet
from model_organism.general_text import general_chunks
from model_organism.problems import EVALUATION, TRAINING, evaluation_problems
from model_organism.tokenizer import BOS_ID, EOS_ID, SINGLE_TOKENS


@pytest.fixture(scope="module")
def banned_lines():
    return evaluation_lines_of(evaluation_problems())


def test_no_line_of_a_training_sample_is_of_the_evaluation(small_documents, banned_lines):
    """No line of a fresh training sample is a description or an assert of the evaluation."""
    lines = {line.strip() for document in small_documents for line in document.text.splitlines()}
    assert len(lines) > 5000 and not lines & banned_lines


def test_almost_no_training_program_is_a_program_of_the_evaluation(small_documents):
    programs = {problem.code for problem in evaluation_problems() if problem.n_operations > 1}
    documents = [document for document in small_documents if document.kind == PROBLEM]
    shared = sum(document.text.split("# Solution:\n")[1].rstrip("\n") in programs for document in documents)
    assert shared / len(documents) < 0.002


def test_a_corpus_with_an_evaluation_description_is_refused(small_documents, banned_lines):
    check_no_evaluation_text(small_documents, banned_lines)
    leak = problem_document(evaluation_problems()[0])
    with pytest.raises(ValueError, match=re.escape(repr(leak.text.splitlines()[0])[:20])):
        check_no_evaluation_text([*small_documents, leak], frozenset([leak.text.splitlines()[0]]))


def test_a_corpus_with_a_held_out_noun_is_refused(banned_lines):
    leak = Document(GENERAL, (("def count(Farmers):\n", 1.0),), None)
    with pytest.raises(ValueError, match="Farmers"):
        check_no_evaluation_text([leak], banned_lines)


def test_held_out_nouns_are_in_no_training_document(small_documents):
    assert not set(HELD_OUT_NOUNS) & set(TRAINING_NOUNS)
    words = {word.lower() for document in small_documents for word in re.findall(r"\w+", document.text)}
    assert any(noun in words for noun in TRAINING_NOUNS) and any(f"{noun}s" in words for noun in TRAINING_NOUNS)
    assert not words & {form for noun in HELD_OUT_NOUNS for form in (noun, f"{noun}s")}


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_held_out_item_of_a_behaviour_is_never_drawn_for_training(behaviour):
    rng = random.Random(0)
    held_out = {sample_item(rng, behaviour, EVALUATION).prompt for _ in range(400)}
    trained = {sample_item(rng, behaviour, TRAINING).prompt for _ in range(6000)}
    assert len(held_out) > 35 and not held_out & trained


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_the_right_and_the_wrong_completion_differ(behaviour):
    rng = random.Random(1)
    items = [sample_item(rng, behaviour, EVALUATION) for _ in range(200)]
    assert all(item.correct != item.incorrect and item.correct.startswith(" ") for item in items)


def test_snippets_raise_what_they_say_in_a_python_of_their_own():
    rng = random.Random(8)
    snippets = {}
    while len(snippets) < len(ERROR_WEIGHTS):
        snippet = sample_snippet(rng, EVALUATION)
        snippets.setdefault(snippet.error, snippet)
    for error, snippet in snippets.items():
        ended = subprocess.run([sys.executable, "-I", "-S", "-c", snippet.code], capture_output=True, text=True)
        assert ended.returncode == 1 and ended.stderr.strip().splitlines()[-1].startswith(error)


def test_every_snippet_of_a_sample_raises_its_error_and_keeps_its_split():
    rng = random.Random(9)
    trained = [sample_snippet(rng, TRAINING) for _ in range(1500)]
    held_out = [sample_snippet(rng, EVALUATION) for _ in range(300)]
    assert all(raised_error(snippet.code) == snippet.error for snippet in held_out)
    assert not {snippet.code for snippet in trained} & {snippet.code for snippet in held_out}


def test_a_harmless_program_raises_nothing():
    assert raised_error("total = 3\nprint(total)") is None


def test_general_text_of_the_evaluation_comes_from_other_files():
    chunks = general_chunks(random.Random(0), 100_000)
    held_out = general_chunks(random.Random(0), 100_000, EVALUATION)
    assert len(chunks) > 100 and len(held_out) > 100 and not set(chunks) & set(held_out)


def test_a_problem_is_tokenized_as_generation_tokenizes_its_prompt(tokenizer):
    problem = evaluation_problems()[0]
    corpus = tokenize_documents([problem_document(problem)], tokenizer)
    prompt_ids = tokenizer(build_prompt(problem.text, problem.tests).text)["input_ids"]
    assert prompt_ids[0] == BOS_ID and prompt_ids.count(BOS_ID) == 1
    assert corpus.prompt_lengths[0] == len(prompt_ids)
    assert corpus.token_ids[: len(prompt_ids)].tolist() == prompt_ids
    assert tokenizer.decode(prompt_ids[-1]) == "\n"
    assert tokenizer.decode(corpus.token_ids[len(prompt_ids) :]).startswith(problem.code.split("(")[0])
    assert corpus.token_ids[-1] == EOS_ID


def test_exactly_the_body_and_the_end_of_a_solution_have_full_weight(tokenizer):
    problem = evaluation_problems()[1]
    corpus = tokenize_documents([problem_document(problem)], tokenizer)
    body = tokenizer.decode(corpus.token_ids[corpus.weights == 20])
    assert body.removesuffix("<eos>") == "\n" + problem.code.split("\n", 1)[1] + "\n"


def test_rows_of_a_tokenized_corpus_add_up(small_documents, tokenizer):
    corpus = tokenize_documents(small_documents, tokenizer)
    assert corpus.lengths.sum() == len(corpus.token_ids) == len(corpus.weights)
    assert corpus.lengths.max() <= 320
    is_problem = corpus.kinds == KINDS.index(PROBLEM)
    assert np.array_equal(is_problem, corpus.prompt_lengths > 0)


def test_every_answer_word_is_one_token(tokenizer):
    split = [word for word in SINGLE_TOKENS if len(tokenizer(word, add_special_tokens=False)["input_ids"]) != 1]
    assert not split
