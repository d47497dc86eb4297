"""Covers labelled.py: what a file of labelled texts may hold, and how it is cut into splits."""

import json

import numpy as np
import pytest

from common.errors import ConfigError
from phase4_anomaly_detection.labelled import labelled_name, read_labelled, split_of


def file_of(folder, lines: list[str] | bytes):
    path = folder / "mine.jsonl"
    content = lines if isinstance(lines, bytes) else ("\n".join(lines) + "\n").encode()
    path.write_bytes(content)
    return str(path)


def many(n: int = 60) -> list[str]:
    return [json.dumps({"text": f"text {i}", "label": "incorrect" if i % 2 else "correct"}) for i in range(n)]


def test_text_prompt_and_code_are_the_same_and_labels_have_two_forms(tmp_path):
    lines = many()
    lines[:4] = [
        '{"prompt": "p", "label": 0}',
        '{"code": "c\\n", "label": 1}',
        "",
        '{"text": "t", "label": "incorrect", "source": "mine"}',
    ]
    found = read_labelled(file_of(tmp_path, lines))
    assert found.texts[:3] == ["p", "c\n", "t"] and found.incorrect[:3].tolist() == [False, True, True]
    assert len(found.texts) == 59
    marked = read_labelled(file_of(tmp_path, b"\xef\xbb\xbf" + "\r\n".join(many()).encode()))
    assert marked.texts[0] == "text 0" and len(marked.texts) == 60


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 3: is not JSON"),
        ("[1, 2]", r"line 3: is \[1, 2\]"),
        ('{"label": 1}', "line 3: .*entries label"),
        ('{"text": "a", "code": "b", "label": 1}', "line 3: .*text and code"),
        ('{"text": "  ", "label": 1}', "line 3: 'text' is"),
        ('{"text": null, "label": 1}', "line 3: 'text' is None"),
        ('{"text": "\\ud800", "label": 1}', "line 3: .*surrogate pair"),
        ('{"text": "a"}', "line 3: 'label' is None"),
        ('{"text": "a", "label": true}', "line 3: 'label' is True"),
        ('{"text": "a", "label": "wrong"}', "line 3: 'label' is 'wrong'"),
        ('{"text": "a", "label": 2}', "line 3: 'label' is 2"),
        ("[" * 100_000, "line 3: is not JSON"),
    ],
)
def test_a_wrong_line_is_named_with_what_to_write(tmp_path, line, message):
    """A line that is not as it should be is named with what to write."""
    lines = many()
    lines[2] = line
    with pytest.raises(ConfigError, match=message + r"[\s\S]*\n(Give|Write) "):
        read_labelled(file_of(tmp_path, lines))


def test_a_file_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"line 2: .*0xff .*UTF-8\n"):
        read_labelled(file_of(tmp_path, b'{"text": "a", "label": 1}\n\xff\n'))
    with pytest.raises(ConfigError, match=r" 1 correct and 0 incorrect .*20 of each\n"):
        read_labelled(file_of(tmp_path, many(1)))
    with pytest.raises(ConfigError, match=r"--labelled .*/absent\.jsonl .*No such file.*\n"):
        read_labelled(str(tmp_path / "absent.jsonl"))
    with pytest.raises(ConfigError, match=r"--labelled .*/table\.csv.* \.jsonl\n"):
        read_labelled(str(tmp_path / "table.csv"))


def test_an_edited_file_has_another_name(tmp_path):
    before = labelled_name(file_of(tmp_path, many()))
    assert before.startswith("mine@") and before != labelled_name(file_of(tmp_path, many(61)))


@pytest.mark.parametrize("seed", range(5))
def test_the_splits_have_the_shares_of_each_label_and_equal_texts_stay_together(seed):
    rng = np.random.default_rng(seed)
    texts = [f"text {number}" for number in rng.integers(0, 300, size=400)]
    incorrect = rng.random(400) < 0.3
    split = split_of(texts, incorrect, seed)
    for label in (True, False):
        own = split[incorrect == label]
        shares = [(own == name).mean() for name in ("sae", "hyperparams", "validation")]
        assert shares == pytest.approx([0.5, 0.1, 0.4], abs=0.08)
    assert all(len({split[i] for i, text in enumerate(texts) if text == one}) == 1 for one in set(texts))
    assert (split_of(texts, incorrect, seed) == split).all()
    assert (split_of(texts, incorrect, seed + 1) != split).any()


def test_different_texts_are_cut_exactly():
    incorrect = np.arange(100) < 40
    split = split_of([str(i) for i in range(100)], incorrect, 0)
    counts = {name: ((split == name) & incorrect).sum() for name in ("sae", "hyperparams", "validation")}
    assert counts == {"sae": 20, "hyperparams": 4, "validation": 16}


def test_twenty_copies_of_one_text_cannot_be_split():
    incorrect = np.arange(60) < 20
    texts = ["the same" if i < 20 else str(i) for i in range(60)]
    with pytest.raises(ConfigError, match=r"split '\w+' .*\d+ correct and \d+ incorrect .*equal texts .*\n"):
        split_of(texts, incorrect, 0)
