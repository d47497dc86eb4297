"""Covers the text that dictionaries are trained on: its files, and that nothing of the evaluation is in it."""

import json

import pytest

from model_organism import write_dictionary_text
from model_organism.corpus import CorpusSize, evaluation_lines_of
from model_organism.problems import evaluation_problems
from model_organism.write_dictionary_text import write_texts


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write_dictionary_text, "WHOLE", {"problem": 20, "snippet": 12, "behaviour": 24})
        write_texts(folder, CorpusSize(40, 10, 48, 4_000, 8))
    return folder


def test_documents_and_prompts_of_every_kind_are_written(folder):
    kinds = [path.stem.split("_")[1] for path in (folder / "text").glob("*.txt")]
    assert (kinds.count("problem"), kinds.count("snippet"), kinds.count("behaviour")) == (20, 12, 24)
    assert kinds.count("general") > 0
    for name, n in (("prompts", 40), ("behaviours", 48)):
        assert len((folder / f"{name}.jsonl").read_text().splitlines()) == n
    assert len((folder / "errors.jsonl").read_text().splitlines()) >= 10 + 2 * 8


def test_no_line_is_of_the_evaluation(folder):
    banned = evaluation_lines_of(evaluation_problems())
    texts = [path.read_text() for path in (folder / "text").glob("*.txt")]
    for name in ("prompts", "behaviours", "errors"):
        texts += [json.loads(line)["prompt"] for line in (folder / f"{name}.jsonl").read_text().splitlines()]
    assert banned.isdisjoint(line.strip() for text in texts for line in text.splitlines())
