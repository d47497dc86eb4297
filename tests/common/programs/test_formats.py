"""Covers reading programs for run.py grade: every format, the field that holds the program, and refusals by name."""

import gzip
import json
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from common.errors import ConfigError
from common.problems.datasets import load_problems
from common.programs.formats import read_submissions

ADD = {
    "task_id": "HumanEval/0",
    "prompt": 'from math import inf\n\n\ndef add(a, b):\n    """Sum."""\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(1, 2) == 3\n",
}
SUB = {**ADD, "task_id": "HumanEval/1", "prompt": 'def sub(a, b):\n    """Less."""\n', "entry_point": "sub"}
MBPP = {"task_id": 2, "text": "w", "code": "import re\ndef one(n): return 1", "test_list": ["assert one(2) == 1"]}
PLUS = {**ADD, "task_id": "Mbpp/900", "base_input": [[1, 2]], "plus_input": [[3, 4]], "atol": 0}
ONE = "def one(n):\n    return 1\n"


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def programs(path: Path, problems: Path | None = None, field: str | None = None) -> tuple[str, list]:
    read = read_submissions(path, None if problems is None else str(problems), field)
    first, second = list(read), list(read)
    assert first == second
    return read.format, first


def codes(submissions: Iterable) -> list[str]:
    return [submission.program.code for submission in submissions]


@pytest.mark.parametrize(
    ("fields", "tests", "setup", "entry_point"),
    [
        ({"tests": ["assert one(1)", "assert one(2)"]}, ("assert one(1)", "assert one(2)"), "", "one"),
        ({"tests": "assert one(1) == 1\nassert one(2)"}, ("assert one(1) == 1\nassert one(2)",), "", "one"),
        ({"test_list": ["assert one(x) == 1"], "test_setup_code": "x = 2"}, ("assert one(x) == 1",), "x = 2", "one"),
        (
            {"test_list": ["assert one(e) == 1"], "test_imports": ["from math import e"], "setup": "x = 1"},
            ("assert one(e) == 1",),
            "from math import e\nx = 1",
            "one",
        ),
        ({"test": "def check(f):\n    assert f(1) == 1"}, ("def check(f):\n    assert f(1) == 1",), "", "one"),
        (
            {"test": "def check(f):\n    assert f(1) == 1\n\ncheck(one)"},
            ("def check(f):\n    assert f(1) == 1\n\ncheck(one)",),
            "",
            "one",
        ),
        ({"test": "def check(f):\n    assert f(1)", "entry_point": "g"}, ("def check(f):\n    assert f(1)",), "", "g"),
        (
            {"test_list": ["assert one(1) == 1"], "test": "for n in (1, 2):\n    assert one(n) == 1"},
            ("assert one(1) == 1", "for n in (1, 2):\n    assert one(n) == 1"),
            "",
            "one",
        ),
        ({"tests": ["assert one(1)"], "test_list": ["assert one(1)"]}, ("assert one(1)",), "", "one"),
    ],
)
def test_a_row_brings_its_tests_in_every_spelling(tmp_path, fields, tests, setup, entry_point):
    _, [read] = programs(lines(tmp_path / "in.jsonl", {"id": 1, "code": ONE, **fields}))
    assert (read.program.tests, read.program.setup, read.program.entry_point) == (tests, setup, entry_point)


@pytest.mark.parametrize(
    ("fields", "chosen"),
    [
        ({"code": "a"}, "a"),
        ({"generated_code": "b"}, "b"),
        ({"code": "a", "generated_code": "b"}, "b"),
        ({"code": "a", "generated_code": ""}, ""),
        ({"solution": "c"}, "c"),
        ({"solution": "c", "completion": "d"}, "c"),
        ({"solution": None, "code": "a"}, "a"),
        ({"code": "a", "solution": "a"}, "a"),
    ],
)
def test_the_program_is_what_a_model_wrote_and_not_the_reference(tmp_path, fields, chosen):
    row = {"id": 1, "tests": ["assert one(1)"], "entry_point": "one", **fields}
    assert codes(programs(lines(tmp_path / "in.jsonl", row))[1]) == [chosen]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"code": "a", "solution": "b"}], "'code' and 'solution' both hold a program\nSay which: --field code"),
        ([{"generated_code": "a", "completion": "b"}], "'generated_code' and 'completion' both"),
        ([{"code": "a", "generated_code": None}], "line 1: field 'code' has no 'generated_code'.*\n.*--field code"),
        ([{"code": "a", "generated_code": "b"}, {"code": "a"}], "line 2: field 'code' has no 'generated_code'"),
        ([{"code": "a"}, {"code": "a", "generated_code": "b"}], "line 1: field 'code' has no 'generated_code'"),
        ([{"completion": "a"}], "'completion' continues a prompt, and 1 has none.*\n.*--dataset.*--field completion"),
        ([{"code": "a", "test_list": ["assert one(2)"]}], "'tests' and 'test_list' both stand there, and differ"),
        ([{"code": "a", "test_imports": [1]}], r"field 'test_imports' is \[1\]"),
    ],
)
def test_what_nobody_can_tell_is_refused(tmp_path, rows, message):
    common = {"id": 1, "tests": ["assert one(1)"]}
    with pytest.raises(ConfigError, match=message):
        programs(lines(tmp_path / "in.jsonl", *({**common, **row} for row in rows)))


def test_the_field_that_the_user_names_holds_the_program(tmp_path):
    row = {"id": 1, "tests": ["assert one(1)"], "code": "a", "generated_code": "b", "src": "c", "completion": "d"}
    source = lines(tmp_path / "in.jsonl", row)
    assert [codes(programs(source, field=name)[1])[0] for name in ("code", "src", "completion")] == ["a", "c", "d"]
    with pytest.raises(ConfigError, match="field 'cod' is missing"):
        programs(source, field="cod")


def test_completions_continue_the_prompt_of_their_problem(tmp_path):
    problems = lines(tmp_path / "HumanEval.jsonl", ADD, SUB)
    samples = [
        {"task_id": "HumanEval/1", "completion": "    return a - b\n"},
        {"task_id": "HumanEval/0", "solution": "add = max"},
        {"task_id": 0, "completion": "    return 3\n"},
    ]
    format, read = programs(lines(tmp_path / "samples.jsonl", *samples), problems)
    assert format.startswith("samples of HumanEval or EvalPlus; HumanEval's problem file")
    assert codes(read) == [SUB["prompt"] + "    return a - b\n", "add = max", ADD["prompt"] + "    return 3\n"]
    assert [one.program.entry_point for one in read] == ["sub", "add", "add"]
    assert [one.program.tests for one in read] == [
        (f"{ADD['test']}\n\ncheck({name})\n",) for name in ("sub", "add", "add")
    ]
    with pytest.raises(ConfigError, match=r"line 1: the dataset has no problem 'HumanEval/7'.*first is 'HumanEval/0'"):
        programs(lines(tmp_path / "other.jsonl", {"task_id": "HumanEval/7", "completion": ""}), problems)
    with pytest.raises(ConfigError, match="no problem 'Mbpp/1'"):
        programs(lines(tmp_path / "other.jsonl", {"task_id": "Mbpp/1", "completion": ""}), problems)
    with pytest.raises(ConfigError, match="samples of HumanEval and EvalPlus.*\nGive .*--dataset"):
        programs(tmp_path / "samples.jsonl")


def test_a_problem_file_holds_no_programs_unless_its_own_are_asked_for(tmp_path):
    for row, name in ((ADD, "HumanEval's problem file"), (PLUS, "EvalPlus' problem file")):
        source = lines(tmp_path / "problems.jsonl", row)
        with pytest.raises(ConfigError, match=f"{name}.*\nGive it beside .*--dataset .*--field canonical_solution"):
            programs(source)
        format, [read] = programs(source, field="canonical_solution")
        assert name in format and read.program.code == ADD["prompt"] + ADD["canonical_solution"]


def test_samples_of_evalplus_are_judged_beside_the_reference(tmp_path):
    problems = lines(tmp_path / "MbppPlus.jsonl", PLUS)
    format, [read] = programs(lines(tmp_path / "s.jsonl", {"task_id": "Mbpp/900", "solution": "add = max"}), problems)
    assert "EvalPlus' problem file" in format and read.program.entry_point == "add"
    assert read.program.reference == ADD["prompt"] + ADD["canonical_solution"]
    assert "reference(*" in read.program.tests[0] and "add(*" in read.program.tests[0]


def test_the_asserts_of_mbpp_plus_are_shown_and_evalplus_inputs_are_run(tmp_path):
    row = {**PLUS, "prompt": '"""Sum.\nassert add(1, 2) == 3\n"""', "canonical_solution": "add = lambda a, b: a + b"}
    problems = tmp_path / "MbppPlus.jsonl.gz"
    problems.write_bytes(gzip.compress(json.dumps(row).encode()))
    _, [read] = programs(lines(tmp_path / "s.jsonl", {"task_id": "Mbpp/900", "solution": "add = max"}), problems)
    assert len(load_problems(str(problems)).problems[0].test_list) == 2
    assert len(read.program.tests) == 1 and "reference(*" in read.program.tests[0]


def test_the_dataset_tells_the_tested_function_and_its_setup(tmp_path):
    problem = {**MBPP, "test_imports": ["import math"], "test_list": ["assert math.ceil(one(2)) == 1"]}
    problems = lines(tmp_path / "mbpp.jsonl", problem)
    _, [read] = programs(lines(tmp_path / "in.jsonl", {"id": "x", "task_id": "Mbpp/2", "code": ""}), problems)
    assert (read.id, read.program.entry_point, read.program.setup) == ("x", "one", "import math")


def test_generations_are_programs_by_the_index_of_their_problem(tmp_path):
    generations = tmp_path / "generations.json"
    generations.write_text(json.dumps([["def add(a, b): return 1", "add = 2"], ["def sub(a, b): return 3"]]))
    format, read = programs(generations, lines(tmp_path / "HumanEval.jsonl", ADD, SUB))
    assert "bigcode-evaluation-harness" in format
    assert [(one.id, one.program.entry_point) for one in read] == [
        ("HumanEval/0", "add"),
        ("HumanEval/0", "add"),
        ("HumanEval/1", "sub"),
    ]
    with pytest.raises(ConfigError, match=r"mentions the tested function(.|\n)*sed -n 11,510p"):
        programs(generations, lines(tmp_path / "turned.jsonl", SUB, ADD))
    with pytest.raises(ConfigError, match="programs of 2 problems, and .* only 1"):
        programs(generations, lines(tmp_path / "few.jsonl", ADD))
    with pytest.raises(ConfigError, match="generations of bigcode-evaluation-harness.*\nGive .*--dataset FILE"):
        programs(generations)
    with pytest.raises(ConfigError, match="--field is 'code'"):
        programs(generations, tmp_path / "few.jsonl", field="code")


def sample(doc: dict, resps: list, filtered: list) -> dict:
    return {"doc_id": 7, "doc": doc, "target": "", "arguments": {}, "resps": resps, "filtered_resps": filtered}


@pytest.mark.parametrize(
    ("doc", "resps", "filtered", "read"),
    [
        (ADD, [["    return 1", "    return 2"]], [["whole 1", "whole 2"]], ["whole 1", "whole 2"]),
        (ADD, [["    return 1"]], ["    return 1"], [ADD["prompt"] + "    return 1"]),
        (
            ADD,
            [["def add(a, b): return inf"]],
            ["def add(a, b): return inf"],
            [ADD["prompt"] + "\ndef add(a, b): return inf"],
        ),
        (MBPP, [[f"```python\n{ONE}```"]], [[ONE]], [ONE]),
        (MBPP, [[ONE]], [ONE], [ONE]),
    ],
)
def test_samples_of_lm_eval_are_what_the_harness_judged(tmp_path, doc, resps, filtered, read):
    format, found = programs(lines(tmp_path / "samples_x.jsonl", sample(doc, resps, filtered)))
    assert "lm-evaluation-harness" in format and codes(found) == read and found[0].id == doc["task_id"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (sample({"question": "1 + 1"}, [["2"]], ["2"]), "without tests: question"),
        (sample(MBPP, [[[-1.5, False]]], [[-1.5, False]]), "-1.5 in samples of lm-evaluation-harness is no text"),
        (sample(MBPP, [[ONE]], [[[[[ONE]]]]]), "is no text"),
    ],
)
def test_samples_of_another_task_are_refused(tmp_path, row, message):
    with pytest.raises(ConfigError, match=message):
        programs(lines(tmp_path / "samples_x.jsonl", row))


def log(*samples: dict) -> str:
    return json.dumps({"version": 2, "status": "success", "eval": {"task": "t"}, "samples": samples}, indent=2)


def answered(sample_id: str | int, metadata: dict, *contents: object) -> dict:
    choices = [{"message": {"role": "assistant", "content": content}} for content in contents]
    return {"id": sample_id, "epoch": 1, "metadata": metadata, "output": {"choices": choices}}


def test_logs_of_inspect_ai_are_read_answer_by_answer(tmp_path):
    source = tmp_path / "log.json"
    parts = [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": f"Here:\n```python\n{ONE}```\nDone."}]
    whole = "```python\ndef add(a, b):\n    return inf\n```"
    source.write_text(
        log(answered("HumanEval/0", ADD, "    return 1", whole, "```\n    return 2\n```"), answered(2, MBPP, parts))
    )
    format, read = programs(source)
    prompt = ADD["prompt"]
    assert format == "a log of inspect_ai" and [one.id for one in read] == [*["HumanEval/0"] * 3, 2]
    assert codes(read) == [
        prompt + "    return 1",
        prompt + "\ndef add(a, b):\n    return inf\n",
        prompt + "    return 2\n",
        ONE,
    ]


def test_an_answer_that_never_came_is_no_wrong_program(tmp_path):
    source = tmp_path / "log.json"
    source.write_text(log({**answered(5, MBPP), "error": {"message": "lost"}}))
    with pytest.raises(ConfigError, match="5 was not answered.*lost.*\nFinish .*inspect eval-retry"):
        programs(source)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04", r"a log of inspect_ai in its .eval format(.|\n)*inspect log convert"),
        (b"PAR1", r"is a Parquet file\nConvert it with: python3"),
        ('{"id": 1}'.encode("utf-16"), "line 1: byte 0xff is not UTF-8\nConvert"),
        (b"\x1f\x8bno gzip", "cannot be read"),
        (b'{"date": 1, "hash": 2, "eval": {}}', "results of EvalPlus, no programs.*\nGive the samples"),
        (b'{"results": {}, "configs": {}}', "results of lm-evaluation-harness.*\nGive"),
        (b"", "holds no program"),
        (b"[]", "holds no program"),
        (b"null", "line 1: is None, no object"),
        (b'[{"id": 1}]\n{"id": 2}', "follows the end of a list"),
        (b'{"id": 1, "code": }', "line 1: is not JSON"),
        (b"[" * 100_000, r"line 1: is not JSON \(it is nested too deeply\)"),
        (
            b'{"id": 1, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
            r"line 1: is not JSON \(it is nested too deeply\)",
        ),
        (b'{"id": 1, "code": "", "tests": ' + b"[" * 900 + b"]" * 900 + b"}", "line 1: field 'tests' is "),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, content, message):
    source = tmp_path / "programs.eval"
    source.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        programs(source)


ROW = {"id": 1, "code": ONE, "tests": ["assert one(1) == 1"]}


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROW) + "\n\n" + json.dumps(ROW),
        "\ufeff" + json.dumps(ROW) + "\r\n" + json.dumps(ROW) + "\r\n",
        json.dumps([ROW, ROW]),
        json.dumps([ROW, ROW], indent=2),
    ],
)
def test_lines_and_lists_are_read_plain_or_gzipped(tmp_path, content):
    source = tmp_path / "in.jsonl"
    for data in (content.encode(), gzip.compress(content.encode())):
        source.write_bytes(data)
        assert codes(programs(source)[1]) == [ONE, ONE]


@pytest.mark.parametrize("mark", ["\u0085", "\u2028", "\x1c", "\x0b", "\x0c", "\x7f"])
def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path, mark):
    source = tmp_path / "in.jsonl"
    text = json.dumps({**ROW, "code": "a?b"}).replace("?", mark if ord(mark) > 0x1F else f"\\u{ord(mark):04x}")
    source.write_text(text + "\n", encoding="utf-8", newline="\n")
    assert codes(programs(source)[1]) == [f"a{mark}b"]


def test_what_can_be_read_only_once_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="is no file.*\nGive a file"):
            programs(path)


def test_a_check_without_an_entry_point_needs_one_function(tmp_path):
    row = {"id": 1, "code": ONE + "def two(n): return 2\n", "test": ADD["test"]}
    with pytest.raises(ConfigError, match="'entry_point' is missing.*check.candidate.* one, two\nAdd entry_point"):
        programs(lines(tmp_path / "in.jsonl", row))


def test_a_problem_that_stands_twice_is_refused(tmp_path):
    source = lines(tmp_path / "in.jsonl", {"task_id": 0, "code": "x"})
    with pytest.raises(ConfigError, match="HumanEval.jsonl, line 2: field 'task_id' is 0, already used by .*line 1"):
        programs(source, lines(tmp_path / "HumanEval.jsonl", ADD, ADD))
