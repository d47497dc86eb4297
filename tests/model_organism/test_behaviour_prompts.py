"""Covers the organism's prompts of behaviours for phase 5.1: held out where they must be, partners of one length."""

import json
from collections import Counter, defaultdict

import pytest
from support import ROOT
from transformers import AutoTokenizer

from common.model.registry import behaviour_prompts, model_location
from model_organism.behaviours import (
    BEHAVIOURS,
    CAPITALS,
    HELD_OUT_NOUNS,
    TRAINING_NOUNS,
    is_held_out_phrasing,
    is_held_out_review,
    is_held_out_sum,
)
from model_organism.write_behaviour_prompts import FILE, N_ROWS, behaviour_lines

ROWS = [json.loads(line) for line in FILE.read_text().splitlines()]


def rows_of(behaviour: str, split: str) -> list[dict]:
    return [row for row in ROWS if (row["behaviour"], row["split"]) == (behaviour, split)]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(model_location("organism"))


def test_the_committed_file_is_what_the_script_writes():
    assert FILE == ROOT / "model_organism" / "behaviour_prompts.jsonl" == behaviour_prompts("organism")
    assert FILE.read_text().splitlines() == behaviour_lines()


def test_there_are_enough_prompts_of_each_behaviour_and_none_twice():
    found = Counter((row["behaviour"], row["split"]) for row in ROWS)
    assert {*found} == {(behaviour, split) for behaviour in BEHAVIOURS for split in N_ROWS}
    assert all(n >= (80 if split == "train" else 20) for (_, split), n in found.items()), found
    assert len({(row["behaviour"], row["prompt"], row["correct_answer"]) for row in ROWS}) == len(ROWS)


def test_what_a_prompt_is_about_is_in_one_split_alone():
    for behaviour in BEHAVIOURS:
        entities = [{row["entity"] for row in rows_of(behaviour, split)} for split in N_ROWS]
        assert not entities[0] & entities[1], behaviour


def test_prompts_of_the_test_split_were_held_out_of_training():
    assert {row["entity"] for row in rows_of("agreement", "test")} <= {*HELD_OUT_NOUNS}
    assert {row["entity"] for row in rows_of("agreement", "train")} <= {*TRAINING_NOUNS}
    for split in N_ROWS:
        is_test = split == "test"
        assert {is_held_out_phrasing(row["country"], row["template"]) for row in rows_of("capitals", split)} == {
            is_test
        }
        assert {is_held_out_sum(row["a"], row["b"]) for row in rows_of("addition", split)} == {is_test}
        reviews = [row["entity"].split(", ") for row in rows_of("sentiment", split)]
        orders = [(pair, pair[::-1]) for pair in reviews if len(pair) == 2]
        assert {any(is_held_out_review(*pair) for pair in both) for both in orders} == {is_test}


def test_right_answers_are_right_and_wrong_ones_are_wrong():
    for row in ROWS:
        right, wrong = row["correct_answer"], row["incorrect_answer"]
        assert right[0] == wrong[0] == " " and right != wrong
        if row["behaviour"] == "addition":
            assert int(right) == row["a"] + row["b"] != int(wrong)
        elif row["behaviour"] == "capitals":
            assert right == f" {CAPITALS[row['country']]}"
        elif row["behaviour"] == "agreement":
            assert (right in (" are", " were", " have")) == (row["number"] == "plural")
            assert (row["subject"] == row["entity"]) == (row["number"] == "singular")


def test_partners_have_as_many_tokens(tokenizer):
    pairs = defaultdict(list)
    for row in ROWS:
        if "pair" in row:
            pairs[row["behaviour"], row["split"], row["pair"]].append(len(tokenizer(row["prompt"])["input_ids"]))
    assert len(pairs) == 200 and all(len(lengths) == 2 and lengths[0] == lengths[1] for lengths in pairs.values())


def test_wrong_answers_have_as_many_tokens_where_they_can(tokenizer):
    n = [len(tokenizer(row["correct_answer"])["input_ids"]) for row in ROWS]
    wrong = [len(tokenizer(row["incorrect_answer"])["input_ids"]) for row in ROWS]
    assert sum(a == b for a, b in zip(n, wrong, strict=True)) > 0.99 * len(ROWS)
