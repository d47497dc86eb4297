"""Covers run.py grade and run.py doctor: files in and out, resume, refusals, and the line about the sandbox."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from support import ROOT, cold_command, command

from common.files import digest_of

GOOD = {"id": "good", "code": "def f(n):\n    return n + 1", "tests": ["assert f(1) == 2"]}
BAD = {"task_id": 7, "generated_code": "def f(n):\n    return n", "test_list": ["assert f(1) == 2", "assert f(2) == 3"]}
SETUP = {"id": 3, "code": "class P: pass\ndef f(p): return 1", "tests": ["assert f(p) == 1"], "setup": "p = P()"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_programs_of_both_spellings_are_judged_in_order(tmp_path):
    source, out = write(tmp_path / "in.jsonl", GOOD, BAD, "", SETUP), tmp_path / "out.jsonl"
    done = cold_command("run.py", "grade", source, "--out", out)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("sandbox: level")
    rows = read(out)
    assert [list(row) for row in rows] == [["id", "label", "error", "failed_test", "message", "cpu_s", "wall_s"]] * 3
    assert [(row["id"], row["label"], row["error"]) for row in rows] == [
        ("good", "correct", None),
        (7, "incorrect", "wrong_answer"),
        (3, "correct", None),
    ]
    assert rows[1]["failed_test"] == "assert f(1) == 2"
    meta = json.loads((tmp_path / "out.meta.json").read_text())
    assert meta["labels"] == {"correct": 2, "incorrect": 1} and meta["sandbox"]["n_programs"] == 3
    assert meta["sandbox"]["limits"]["cpu_s"] == 10 and meta["near_limit_count"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "out.meta.json"]


def test_tests_come_from_the_dataset_where_a_line_has_none(tmp_path):
    problem = {"task_id": 5, "text": "t", "code": "def g(n):\n    return -n", "test_list": ["assert g(2) == -2"]}
    problems = write(tmp_path / "problems.jsonl", problem)
    source = write(
        tmp_path / "in.jsonl", {"task_id": 5, "code": "def g(n): return -n"}, {"task_id": 5, "code": "g = abs"}
    )
    out = tmp_path / "out.jsonl"
    assert command("run.py", "grade", source, "--out", out, "--dataset", problems).returncode == 0
    assert [row["label"] for row in read(out)] == ["correct", "incorrect"]


def test_a_finished_file_is_kept_unless_fresh_is_asked_for(tmp_path):
    source, out = write(tmp_path / "in.jsonl", GOOD), tmp_path / "out.jsonl"
    assert command("run.py", "grade", source, "--out", out).returncode == 0
    again = command("run.py", "grade", source, "--out", out)
    assert again.returncode == 0 and "already graded" in again.stderr
    assert again.stderr.strip().splitlines()[-1].startswith("sandbox: level")
    write(source, GOOD, BAD)
    refused = command("run.py", "grade", source, "--out", out)
    assert refused.returncode == 2 and "holds other verdicts" in refused.stderr and len(read(out)) == 1
    assert command("run.py", "grade", source, "--out", out, "--fresh").returncode == 0
    assert len(read(out)) == 2


def test_fresh_beside_a_grading_that_runs_is_refused_and_deletes_nothing(tmp_path):
    source, out = write(tmp_path / "in.jsonl", GOOD), tmp_path / "out.jsonl"
    out.write_text("verdicts of another day\n")
    with FileLock(f"{out}.part.lock"):
        refused = command("run.py", "grade", source, "--out", out, "--fresh")
    assert refused.returncode != 0 and "another process" in refused.stderr and str(out) in refused.stderr
    assert out.read_text() == "verdicts of another day\n"


def test_a_stopped_grading_goes_on_where_it_was(tmp_path):
    rows = [{**GOOD, "id": i, "code": f"{GOOD['code']} + {i} - {i}"} for i in range(1500)]
    source, out = write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl"
    words = [sys.executable, "run.py", "grade", str(source), "--out", str(out)]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    part = tmp_path / "out.jsonl.part"
    while not part.exists() or part.read_bytes().count(b"\n") < 20:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert "Give the same command to continue" in process.communicate()[1] and process.returncode == 130
    n_judged = part.read_bytes().count(b"\n") - 1
    assert 0 < n_judged < 1500 and not out.exists()
    with open(part, "ab") as file:
        file.write(b'{"id": 999, "la')  # torn by a crash
    assert command("run.py", "grade", source, "--out", out).returncode == 0
    assert [row["id"] for row in read(out)] == list(range(1500))
    assert {row["label"] for row in read(out)} == {"correct"}
    assert json.loads((tmp_path / "out.meta.json").read_text())["sandbox"]["n_programs"] == 1500 - n_judged


def test_other_programs_do_not_continue_a_stopped_grading(tmp_path):
    source, out = write(tmp_path / "in.jsonl", GOOD), tmp_path / "out.jsonl"
    stamp = {"programs": "others"}
    write(tmp_path / "out.jsonl.part", f"{digest_of(stamp)[:16]} {json.dumps(stamp)}")
    done = command("run.py", "grade", source, "--out", out)
    assert done.returncode == 2 and re.search(r"out\.jsonl\.part .*other programs.*\n.*--out.*--fresh", done.stderr)
    assert json.dumps(stamp) in (tmp_path / "out.jsonl.part").read_text()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: no JSON"),
        ("[1]", "line 2: list .*object"),
        ({"code": "x = 1", "tests": ["assert x"]}, "line 2: field 'id or task_id' is missing"),
        ({"id": 1, "tests": ["assert x"]}, "line 2: field 'code or generated_code' is missing"),
        ({"id": 1, "code": 5, "tests": ["assert x"]}, "line 2: field 'code' is 5"),
        ({"id": True, "code": "", "tests": ["assert x"]}, "line 2: field 'id' is True"),
        ({"id": 1, "code": "", "tests": []}, r"line 2: field 'tests' is \[\]"),
        ({"id": 1, "code": "", "tests": [3]}, r"line 2: field 'tests' is \[3\]"),
        ({"id": 1, "code": ""}, "line 2: field 'tests or test_list' is missing"),
    ],
)
def test_a_bad_line_is_refused_by_number_and_field_before_anything_runs(tmp_path, row, message):
    done = command("run.py", "grade", write(tmp_path / "in.jsonl", GOOD, row), "--out", tmp_path / "out.jsonl")
    assert done.returncode == 2 and re.search(message, done.stderr) and "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.jsonl", "--out", "x"], "nowhere.jsonl cannot be read"),
        (["in.jsonl"], "--out"),
        (["in.jsonl", "--out", "x", "--sandbox", "weak"], "--sandbox is 'weak'"),
        (["in.jsonl", "--out", "x", "--workers", "0"], "--workers is 0"),
    ],
)
def test_a_wrong_command_is_one_message(words, message):
    done = command("run.py", "grade", *words)
    assert done.returncode == 2 and re.search(message, done.stderr) and "Traceback" not in done.stderr


def test_the_adversarial_corpus_is_judged_as_expected(shared, tmp_path):
    """The adversarial corpus is judged as expected where a verdict takes no ten seconds.

    The whole corpus, canaries and host checks included, is run by the script beside it.
    """
    rows = [json.loads(line) for line in (shared / "adversarial" / "corpus.jsonl").read_text().splitlines()]
    quick = [
        row for row in rows if row["expect"] != "timeout" and "@CANARY" not in row["code"] and not row.get("requires")
    ]
    source, out = write(tmp_path / "in.jsonl", *quick), tmp_path / "out.jsonl"
    assert command("run.py", "grade", source, "--out", out).returncode == 0
    for row, verdict in zip(quick, read(out), strict=True):
        word = {"correct": "pass", "incorrect": "fail"}.get(verdict["label"], verdict["label"])
        word = "timeout" if verdict["error"] == "timeout" else word
        assert word in (row["expect"] if isinstance(row["expect"], list) else [row["expect"]]), row["id"]


def test_the_doctor_judges_reference_solutions_and_names_the_ones_that_fail(tmp_path):
    problem = {"task_id": 5, "text": "t", "code": "def g(n):\n    return -n", "test_list": ["assert g(2) == -2"]}
    wrong = {**problem, "task_id": 6, "test_list": ["assert g(2) == 2"]}
    good = cold_command("run.py", "doctor", "--dataset", write(tmp_path / "good.jsonl", problem))
    assert good.returncode == 0 and "1 of 1 reference solutions of good pass" in good.stdout
    bad = command("run.py", "doctor", "--dataset", write(tmp_path / "bad.jsonl", problem, wrong))
    assert (
        bad.returncode == 1
        and "1 of 2 reference" in bad.stdout
        and "problem 6 is incorrect: wrong_answer" in bad.stdout
    )
