"""Covers natural.text and natural.prose: what is prose, what is said twice, and the folder that phase 1.1 reads."""

import json

import pytest
from support import cold_command

from common.errors import ConfigError
from natural.prose import docstrings, paragraphs
from natural.text import Document, Duplicates, join, main, write_folder

PROSE = "This function returns the sum of all of its arguments, and it does so in the order in which they were given."
NUMPY_STYLE = f"""Add numbers.

{PROSE}

Parameters
----------
numbers : sequence of int
    The numbers that are to be added, which may be of any length, and of which each has to be an integer.

>>> add(1, 2)
3

Example::

    total = add(1, 2)

.. note:: This is a directive and not what we would like to be read as a part of the text.

- This is an item of a list, and as such it is not a paragraph of the text that we are looking for.
"""


def test_of_a_docstring_only_the_prose_stays():
    assert paragraphs(NUMPY_STYLE) == [PROSE]


def test_code_fences_tables_and_html_are_no_prose():
    fence = "```python\nWith this is a code block that would be read as a sentence of the text.\n```"
    text = f"{fence}\n\n{PROSE}\n\n| a | b |\n|---|---|"
    assert paragraphs(text) == [PROSE]


@pytest.mark.parametrize(
    "marked, plain",
    [
        ("the ``sum`` of", "the sum of"),
        ("the :class:`~a.Sum` of", "the a.Sum of"),
        ("the `sum <docs.html>`_ of", "the sum of"),
        ("the [sum](docs.html) of", "the sum of"),
        ("the **sum** of", "the sum of"),
        ("the <b>sum</b> of", "the sum of"),
        ("the sum [1]_ of", "the sum of"),
    ],
)
def test_markup_is_taken_off_and_its_words_stay(marked, plain):
    assert paragraphs(PROSE.replace("the sum of", marked)) == [PROSE.replace("the sum of", plain)]


@pytest.mark.parametrize(
    "text",
    [
        "for item in items: total += item.value; print(total, end='') if total > 3 else None.",
        "Alpha Beta Gamma Delta Epsilon Zeta Eta Theta Iota Kappa Lambda Mu.",
        "Short, but this is prose.",
        "and this begins in the middle of a sentence that is of no use to anybody at all.",
    ],
)
def test_what_does_not_read_like_english_is_left_out(text):
    assert paragraphs(text) == []


def test_docstrings_of_all_levels_are_found_and_broken_files_passed_over():
    source = '"""Module."""\nclass A:\n    """Class."""\n    def f(self):\n        """Method."""\n'
    assert docstrings(source) == ["Module.", "Class.", "Method."]
    assert docstrings("def f(:") == docstrings("\0") == []


def test_a_paragraph_that_says_nearly_the_same_is_a_duplicate():
    duplicates = Duplicates()
    assert duplicates.is_new(PROSE)
    assert not duplicates.is_new(PROSE)
    assert not duplicates.is_new(PROSE.replace("were given", "arrived"))
    assert duplicates.is_new("Whether the result is exact depends on the numbers and on nothing else that we know of.")


def test_paragraphs_are_joined_until_a_document_is_long_enough():
    documents = list(join([PROSE] * 7, min_words=60))
    assert [text.count(PROSE) for text in documents] == [3, 3]


def test_phase_1_1_reads_the_folder_which_names_its_sources(tmp_path):
    """The folder is what phase 1.1 reads and says where each document comes from."""
    from common.model.general_text import load_text

    documents = [Document(f"{PROSE} {n}\n", "package", "1.0", "MIT", "a.py") for n in range(3)]
    write_folder(documents, 5, 42, tmp_path / "text")
    assert load_text(str(tmp_path / "text")).documents == tuple(document.text for document in documents)
    sources = json.loads((tmp_path / "text" / "sources.json").read_text())
    assert sources["files"]["00001.txt"] == ["package", "1.0", "MIT", "a.py"] and sources["found"] == 5


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty"):
        main(["--out", str(tmp_path)])


@pytest.mark.parametrize("module", ["text", "pca", "run", "pilot", "probes"])
def test_every_command_has_help_that_needs_no_torch(module):
    done = cold_command("-X", "importtime", "-m", f"natural.{module}", "--help")
    assert done.returncode == 0 and "usage:" in done.stdout
    assert not {"torch", "transformers", "sklearn"} & {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
