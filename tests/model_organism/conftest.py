"""What the tests of the model organism share: its evaluation set, a small corpus, its tokenizer."""

import json
import os
from pathlib import Path

import pytest

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

ORGANISM = Path(__file__).resolve().parents[2] / "model_organism"


@pytest.fixture(scope="session")
def held_out_rows() -> list[dict]:
    """The committed evaluation set."""
    return [json.loads(line) for line in (ORGANISM / "problems_974.jsonl").read_text().splitlines()]


@pytest.fixture(scope="session")
def small_documents():
    """A freshly drawn training sample, of another seed than the shipped model's."""
    from model_organism.corpus import CorpusSize, build_documents, evaluation_lines_of
    from model_organism.problems import evaluation_problems

    banned_lines = evaluation_lines_of(evaluation_problems())
    return build_documents(CorpusSize(1600, 300, 600, 60_000), 12345, banned_lines, n_processes=1)


@pytest.fixture(scope="session")
def tokenizer():
    """The shipped tokenizer."""
    from transformers import PreTrainedTokenizerFast

    folder = ORGANISM / "weights" / "model"
    if not (folder / "tokenizer.json").exists():
        pytest.skip(f"no model in {folder}: python3 -m model_organism.train_model")
    return PreTrainedTokenizerFast.from_pretrained(folder)


@pytest.fixture(scope="session")
def card() -> dict:
    """The committed model card."""
    path = ORGANISM / "card.json"
    if not path.exists():
        pytest.skip(f"no {path}: python3 -m model_organism.evaluate --run data/phase1_0/<run>")
    return json.loads(path.read_text())
