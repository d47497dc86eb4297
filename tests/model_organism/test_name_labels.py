"""Covers the labels of names: what a program has bound by the time it reads a name, and what does not compile."""

import random

import pytest

from model_organism.corpus import snippet_document, tokenize_documents
from model_organism.error_snippets import ErrorSnippet
from model_organism.minimal_pairs import TEMPLATES, TRAINING_VOCABULARY, sample_set
from model_organism.name_labels import DEFINED, UNDEFINED, label_names


def labels_of(code: str) -> list[tuple[str, int]]:
    """The names that are read, with their labels, in their order."""
    found = []
    for end, label in sorted(label_names(code).items()):
        start = end
        while start and (code[start - 1].isalnum() or code[start - 1] == "_"):
            start -= 1
        found.append((code[start:end], label))
    return found


@pytest.mark.parametrize(
    "code, expected",
    [
        ("x = 5\nprint(x + y)", [("x", DEFINED), ("y", UNDEFINED)]),
        ("total = total + 1", [("total", UNDEFINED)]),
        ("rows = [1]\nfor row in rows:\n    print(row)", [("rows", DEFINED), ("row", DEFINED)]),
        (
            "def area(side):\n    return side * 2\narea(width)",
            [("side", DEFINED), ("area", DEFINED), ("width", UNDEFINED)],
        ),
        ("import os\nos.listdir(path)", [("os", DEFINED), ("path", UNDEFINED)]),
        ("print(len(str(5)))", []),
        ("x = [1\nprint(x", []),
    ],
)
def test_a_name_is_defined_once_an_earlier_statement_has_bound_it(code, expected):
    assert labels_of(code) == expected


def test_a_snippet_has_an_undefined_name_if_and_only_if_running_it_says_so():
    rng = random.Random(0)
    for template in [row for row in TEMPLATES if row.contrast == "TypeError/NameError"]:
        for snippet in sample_set(rng, template, TRAINING_VOCABULARY):
            has_undefined = UNDEFINED in label_names(snippet.code).values()
            assert (snippet.error == "NameError") == has_undefined, snippet.code


def test_the_label_stands_at_the_last_token_of_the_name(tokenizer):
    code = "balance = 5\nprint(balance + salary)"
    corpus = tokenize_documents([snippet_document(ErrorSnippet(code, "NameError"))], tokenizer)
    ends = {DEFINED: "balance", UNDEFINED: "salary"}
    for label, name in ends.items():
        [place] = (corpus.names == label).nonzero()[0]
        assert tokenizer.decode(corpus.token_ids[: place + 1].astype(int).tolist()).endswith(name)
