"""Covers common/problems/files.py and record.py: every mistake in a file is named with its place."""

import codecs
import gzip
import json
import re

import pytest

from common.errors import ConfigError
from common.problems.datasets import load_problems

ROW = {
    "task_id": 7,
    "text": "Add.",
    "code": "def add(a, b):\n    return a + b\n",
    "test_list": ["assert add(1, 2) == 3"],
}
SANITIZED = {
    "source_file": "x.ipynb",
    "task_id": 2,
    "prompt": "Add.",
    "code": ROW["code"],
    "test_imports": ["import math"],
    "test_list": ["assert add(1, 2) == 3"],
}

# Field, what it holds, what the message must say.
BAD_FIELDS = [
    ("task_id", None, "is None"),
    ("task_id", "7", "is '7'"),
    ("task_id", 7.0, "is 7.0"),
    ("task_id", True, "is True"),
    ("task_id", -1, "is -1"),
    ("task_id", 2**63, "is 9223372036854775808"),
    ("task_id", 10**4000, "is 1000"),
    ("text", 3, r"is 3 \(int\)"),
    ("text", " ", "is ' '"),
    ("text", "\ud800", "half a character"),
    ("code", None, "is None"),
    ("code", "def add(a:\n", "does not parse"),
    ("code", "return 1", "does not parse: 'return'"),
    ("code", "x = 1\0", "does not parse"),
    ("code", "x = " + "(" * 500 + "1" + ")" * 500, "does not parse: .*parentheses"),
    ("test_list", "assert add(1, 2) == 3", "is 'assert add"),
    ("test_list", [], r"is \[\]"),
    ("test_list", None, "is None"),
    ("test_list", [3], r"is 3 \(int\)"),
    ("test_list", ["assert add(1, 2) == 3", "assert add(1,"], "does not parse"),
    ("test_list", ["add(1, 2) == 3"], "is 'add"),
    ("test_list", ["import math; assert add(1, 2)"], "is 'import math"),
    ("test_list", [""], "is ''"),
    ("test_list", ["assert multiply(1, 2) == 2"], "calls nothing .*'code'"),
    ("test_setup_code", ["x = 1"], r"is \['x = 1'\] \(list\)"),
    ("test_setup_code", "x =", "does not parse"),
    ("challenge_test_list", ["x"], "is 'x'"),
    ("entry_point", "multiply", "is 'multiply', .*'code'"),
    ("rarity", "\ud800", "written as JSON"),
]


def _refusal(tmp_path, content: bytes | str, name: str = "own.jsonl") -> str:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        load_problems(str(path))
    message = str(caught.value)
    assert message.startswith(str(path)), "the file comes first"
    assert len(message.splitlines()) == 2, "what and where, then what to do"
    return message


@pytest.mark.parametrize(("field", "value", "found"), BAD_FIELDS)
def test_a_bad_field_is_named_with_line_value_and_advice(tmp_path, field, value, found):
    """A bad field is named with its line, its value and what was expected."""
    row = json.dumps({**ROW, "task_id": 8, field: value})
    message = _refusal(tmp_path, json.dumps(ROW) + "\n\n" + row + "\n")
    assert f", line 3: field '{field}" in message and "\nGive " in message
    assert re.search(found, message)


@pytest.mark.parametrize("field", ["task_id", "text", "code", "test_list"])
def test_a_missing_field_is_named_with_its_item(tmp_path, field):
    row = {name: value for name, value in ROW.items() if name != field}
    assert f", item 1: field '{field}' is missing" in _refusal(tmp_path, json.dumps([row]), "own.json")


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "holds no problem"),
        (" \n\n", "holds no problem"),
        (codecs.BOM_UTF8, "holds no problem"),
        ("{", "line 1: .*not JSON"),
        (json.dumps(ROW) + "\nnot json\n", "line 2: .*not JSON"),
        ("[1, 2]\n", r"line 1: is \[1, 2\]"),
        ("7\n", "line 1: is 7"),
        ('{"task_id": NaN}\n', "NaN .*JSON"),
        ('{"rarity": -Infinity}\n', "-Infinity .*JSON"),
        ('{"task_id": ' + "9" * 5000 + "}\n", "line 1: .*not JSON"),
        ("[" * 100_000, "line 1: .*not JSON"),
        (b'{"task_id": 1}\n{"text": "\xff"}\n', "line 2: .*0xff .*UTF-8"),
        (json.dumps(ROW).encode("utf-16"), "line 1: .*0xff .*UTF-8"),
        (json.dumps(ROW) + "\n" + json.dumps(ROW), "line 2: field 'task_id' is 7, .*line 1"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, content, found):
    assert re.search(found, _refusal(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("{}", "holds {}"),
        ("[]", r"holds \[\]"),
        ("[7]", "item 1: is 7"),
        ("[\n1,\n", r"not JSON .*line 3 column 1"),
    ],
)
def test_a_bad_list_is_named_with_its_item(tmp_path, content, found):
    assert re.search(found, _refusal(tmp_path, content, "own.json"))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("none.jsonl", "no such file"),
        ("folder.jsonl", "cannot be read"),
        ("own.csv", r"\.jsonl or \.json"),
        ("own.csv.gz", r"\.jsonl or \.json"),
        ("plain.jsonl.gz", "cannot be read .*gzip"),
    ],
)
def test_a_path_that_is_no_file_of_problems_is_refused(tmp_path, name, found):
    (tmp_path / "folder.jsonl").mkdir()
    for own in ("own.csv", "own.csv.gz", "plain.jsonl.gz"):
        (tmp_path / own).write_text("task_id,text\n")
    with pytest.raises(ConfigError, match=found):
        load_problems(str(tmp_path / name))


def test_a_byte_order_mark_windows_line_ends_and_blank_lines_are_accepted(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_bytes(
        codecs.BOM_UTF8 + (json.dumps(ROW) + "\r\n\r\n" + json.dumps({**ROW, "task_id": 8}) + "\r\n").encode()
    )
    assert [problem.task_id for problem in load_problems(str(path)).problems] == [7, 8]


@pytest.mark.parametrize(("name", "content"), [("own.jsonl", json.dumps(ROW)), ("own.json", json.dumps([ROW]))])
def test_a_gzipped_file_is_the_dataset_that_it_holds(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content.encode()))
    plain, packed = load_problems(str(tmp_path / name)), load_problems(str(tmp_path / f"{name}.gz"))
    assert (packed.name, packed.sha256) == (plain.name, plain.sha256)


def test_sanitized_mbpps_schema_is_read_with_its_imports_as_setup(tmp_path):
    path = tmp_path / "own.json"
    path.write_text(json.dumps([SANITIZED]))
    (problem,) = load_problems(str(path)).problems
    assert (problem.text, problem.test_setup_code, problem.attributes) == (
        "Add.",
        "import math",
        {"source_file": "x.ipynb"},
    )


@pytest.mark.parametrize("imports", ["import math", [3], ["import"]])
def test_bad_imports_of_the_sanitized_schema_are_refused(tmp_path, imports):
    assert "item 1: field 'test_imports'" in _refusal(
        tmp_path, json.dumps([{**SANITIZED, "test_imports": imports}]), "own.json"
    )


def test_a_test_over_several_lines_becomes_one_line(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({**ROW, "test_list": ["assert add(\r\n  1,\r\n  2) == 3\n", " assert add(0, 0) == 0 "]}))
    assert load_problems(str(path)).problems[0].test_list == ("assert add(1, 2) == 3", "assert add(0, 0) == 0")


def test_optional_fields_may_be_missing_or_null(tmp_path):
    path = tmp_path / "own.jsonl"
    optional = {"test_setup_code": None, "challenge_test_list": None, "entry_point": None, "test_imports": None}
    path.write_text(json.dumps(ROW) + "\n" + json.dumps({**ROW, **optional, "task_id": 8}))
    for problem in load_problems(str(path)).problems:
        assert (problem.test_setup_code, problem.challenge_test_list, problem.entry_point) == ("", (), "add")
