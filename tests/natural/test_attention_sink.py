"""Covers phase 3.4 on a natural model without BOS: its first word, the attention sink, is not the description's."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from common.problems.prompt import build_prompt

pytestmark = pytest.mark.skipif("NATURAL" not in os.environ, reason="needs a natural model: NATURAL=folder")
FOLDER = Path(os.environ.get("NATURAL", "")).expanduser()


@pytest.fixture(scope="module")
def problems(small_problem_rows) -> list[dict]:
    from support import SHARED_MBPP

    path = SHARED_MBPP / "mbpp.jsonl"
    if path.is_file():
        return [json.loads(line) for line in path.read_text().splitlines()[:12]]
    return small_problem_rows[:12]


def test_the_first_word_s_half_of_all_attention_is_not_the_description_s(problems):
    from common.model.loading import load_model
    from phase3_validation.attention.reading import begins_with_bos, eager_differs_by, read_attention
    from phase3_validation.attention.sections import SECTIONS

    lm = load_model(str(FOLDER / "smollm2"), "cpu", "float32", 1)
    prompts = [build_prompt(problem["text"], problem["test_list"]) for problem in problems]
    assert not begins_with_bos(lm, prompts) and eager_differs_by(lm, prompts[:2]) < 1e-3
    found = read_attention(lm, prompts, [None], range(10, 30))[0]
    of = dict(zip(SECTIONS, found.mean(axis=(0, 1, 2)), strict=True))
    assert np.abs(found.sum(-1) - 1).max() < 1e-6
    assert 0.35 < of["first_token"] < 0.65 and of["description"] < 0.15
    assert of["template"] == of["learned_sink"] == 0
