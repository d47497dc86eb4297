"""Covers chat prompts of a natural model: the template's words, their tokens, programs that are found in answers."""

import os
from pathlib import Path

import pytest

from common.model.chat import template_of
from common.problems.prompt import build_prompt

FOLDER = Path(os.environ.get("NATURAL", "")).expanduser() / "qwen-coder"
pytestmark = pytest.mark.skipif(
    "NATURAL" not in os.environ, reason="NATURAL does not name the folder of natural models"
)
TESTS = ["assert remove_Occ('hello', 'l') == 'heo'"]


@pytest.fixture(scope="module")
def tokenizer():
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


def test_the_last_prompt_token_is_the_last_of_the_generation_prompt(tokenizer):
    prompt = build_prompt("Write a python function to remove a character.", TESTS, template_of(tokenizer, "qwen"))
    ids = tokenizer(prompt.text)["input_ids"]
    assert tokenizer.decode(ids[-3:]) == "<|im_start|>assistant\n" and ids.count(tokenizer.eos_token_id) == 2
    message = prompt.text[slice(*prompt.body)]
    made = tokenizer.apply_chat_template(
        [{"role": "user", "content": message}], tokenize=False, add_generation_prompt=True
    )
    assert made == prompt.text


def test_an_answer_in_a_chat_holds_a_program_and_stops_with_it():
    from common.model.generation import generate
    from common.model.loading import load_model
    from common.model.rows import Request
    from common.problems.extraction import extract_program

    lm = load_model(str(FOLDER), "cpu", "bfloat16", 1)
    prompt = build_prompt(
        "Write a function to add one to a number.", ["assert f(1) == 2"], template_of(lm.tokenizer, "q")
    )
    requests = [Request({"task_id": 1, "entry_point": "f"}, prompt, 0)]
    stopped, whole = (generate(lm, requests, max_new_tokens=96, stop_early=early)[0] for early in (True, False))
    program = extract_program(stopped.text, "f")
    assert program == extract_program(whole.text, "f") and program.startswith("def f(")
    assert len(stopped.token_ids) <= len(whole.token_ids)
