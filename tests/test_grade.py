"""Covers run.py grade: files in and out, resume, refusals, and the line about the sandbox."""

import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock
from support import ROOT, cold_command, command, prepare_datasets_cache, swept

from common.errors import ConfigError
from common.files import digest_of
from common.programs.formats import read_submissions
from common.programs.grading import Grading
from common.sandbox import Sandbox
from common.stopping import StopRequest

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
    meta = json.loads((tmp_path / "out.jsonl.meta.json").read_text())
    assert "format: JSON lines with code\n" in done.stderr and meta["format"] == "JSON lines with code"
    assert meta["labels"] == {"correct": 2, "incorrect": 1} and meta["sandbox"]["n_programs"] == 3
    assert meta["sandbox"]["limits"]["cpu_s"] == 10 and meta["near_limit_count"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "out.jsonl.meta.json"]


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
    rows = [{**GOOD, "id": i, "code": f"{GOOD['code']} + {i} - {i}"} for i in range(500)]
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
    assert 0 < n_judged < 500 and not out.exists()
    with open(part, "ab") as file:
        file.write(b'{"id": 999, "la')  # torn by a crash
    assert command("run.py", "grade", source, "--out", out).returncode == 0
    assert [row["id"] for row in read(out)] == list(range(500))
    assert {row["label"] for row in read(out)} == {"correct"}
    assert json.loads((tmp_path / "out.jsonl.meta.json").read_text())["sandbox"]["n_programs"] == 500 - n_judged


def test_other_programs_do_not_continue_a_stopped_grading(tmp_path):
    source, out = write(tmp_path / "in.jsonl", GOOD), tmp_path / "out.jsonl"
    stamp = {"programs": "others"}
    write(tmp_path / "out.jsonl.part", f"{digest_of(stamp)[:16]} {json.dumps(stamp)}")
    done = command("run.py", "grade", source, "--out", out)
    assert done.returncode == 2 and re.search(r"out\.jsonl\.part .*other programs.*\n.*--out.*--fresh", done.stderr)
    assert json.dumps(stamp) in (tmp_path / "out.jsonl.part").read_text()


def test_the_input_is_never_replaced_by_whatever_name(tmp_path):
    source = write(tmp_path / "in.jsonl", GOOD)
    (tmp_path / "link.jsonl").symlink_to(source)
    (tmp_path / "hard.jsonl").hardlink_to(source)
    (tmp_path / "folder").mkdir()
    part = write(tmp_path / "x.jsonl.part", GOOD)
    outs = [source, "link.jsonl", "hard.jsonl", "IN.jsonl", "folder/../in.jsonl"]
    before = sorted(tmp_path.rglob("*"))
    for given, out in [*((source, out) for out in outs), (part, "x.jsonl")]:
        for words in ([], ["--fresh"]):
            done = command("run.py", "grade", given, "--out", tmp_path / out, *words)
            assert done.returncode == 2 and re.search("--out is .*the input.*\nGive another --out", done.stderr)
    done = command("run.py", "grade", source, "--dataset", part, "--out", part, "--fresh")
    assert done.returncode == 2 and "which is the input" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before and read(source) == read(part) == [GOOD]


def test_fresh_replaces_verdicts_and_nothing_else(tmp_path):
    source, out = write(tmp_path / "in.jsonl", GOOD), write(tmp_path / "notes.txt", "mine")
    for words in ([], ["--fresh"]):
        done = command("run.py", "grade", source, "--out", out, *words)
        assert done.returncode == 2 and "holds" in done.stderr and out.read_text() == "mine\n"


def test_two_outputs_of_one_stem_have_a_companion_each(tmp_path):
    source = write(tmp_path / "in.jsonl", GOOD)
    for name in ("out.jsonl", "out.txt", "out.jsonl"):
        assert command("run.py", "grade", source, "--out", tmp_path / name).returncode == 0
    assert (tmp_path / "out.jsonl.meta.json").exists() and (tmp_path / "out.txt.meta.json").exists()


def test_programs_that_change_while_they_are_graded_are_refused(tmp_path):
    source, out = write(tmp_path / "in.jsonl", GOOD), tmp_path / "out.jsonl"
    grading = Grading(source, out, read_submissions(source, None), "auto")
    write(source, {**GOOD, "code": "def f(n): return 5"})
    with Sandbox(workers=1) as sandbox, pytest.raises(ConfigError, match="in.jsonl was changed"):
        grading.run(sandbox, logging.getLogger("test"), StopRequest(), fresh=False)
    assert not out.exists()


@pytest.mark.parametrize(("n_unsupported", "status"), [(1, 0), (2, 1)])
def test_the_last_line_says_when_too_many_were_not_judged(tmp_path, n_unsupported, status):
    rows = [{**GOOD, "id": i} for i in range(100 - n_unsupported)]
    rows += [{**GOOD, "id": f"none {i}", "tests": ["pass"]} for i in range(n_unsupported)]
    source, out = write(tmp_path / "in.jsonl", *rows), tmp_path / "out.jsonl"
    for _ in range(2):  # graded, and graded already
        done = command("run.py", "grade", source, "--out", out)
        last = done.stderr.strip().splitlines()[-1]
        assert done.returncode == status
        assert last.startswith(
            "sandbox: level" if not status else "2.0% of 100 programs were not judged: 2 unsupported"
        )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: is not JSON"),
        ("[1]", r"line 2: is \[1\], no object"),
        ({"code": "x = 1", "tests": ["assert x"]}, "line 2: field 'id or task_id' is missing"),
        ({"id": 1, "tests": ["assert x"]}, "line 2: field 'code or generated_code' is missing"),
        ({"id": 1, "code": 5, "tests": ["assert x"]}, "line 2: field 'code' is 5"),
        ({"id": True, "code": "", "tests": ["assert x"]}, "line 2: field 'id' is True"),
        ({"id": 1, "code": "", "tests": []}, r"line 2: field 'tests' is \[\]"),
        ({"id": 1, "code": "", "tests": [3]}, r"line 2: field 'tests' is \[3\]"),
        ({"id": 1, "code": ""}, "line 2: field 'tests or test_list' is missing"),
        ('{"id": 1, "x": ' + "[" * 100_000 + "]" * 100_000 + "}", r"line 2: is not JSON \(it is nested too deeply\)\n"),
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
        (["requirements.txt", "--out", "x", "--dataset", "humanevil"], "line 1: is not JSON"),
        (["in.jsonl"], "--out"),
        (["in.jsonl", "--out", "x", "--sandbox", "weak"], "--sandbox is 'weak'"),
        (["in.jsonl", "--out", "x", "--workers", "0"], "--workers is 0"),
    ],
)
def test_a_wrong_command_is_one_message(words, message):
    done = command("run.py", "grade", *words)
    assert done.returncode == 2 and re.search(message, done.stderr) and "Traceback" not in done.stderr


INC = {
    "task_id": "Mbpp/900",
    "prompt": '"""Add one."""\n',
    "entry_point": "inc",
    "canonical_solution": "def inc(n):\n    return n + 1\n",
    "base_input": [[1]],
    "plus_input": [[10**20]],
    "atol": 0,
}
PLUS_TEST = """\
import numpy as np

inputs, results = [[1], [5]], [2, 6]
for i, (inp, exp) in enumerate(zip(inputs, results)):
    assert np.allclose(inc(*inp), exp)
"""


def test_samples_of_evalplus_are_judged_by_the_plus_inputs_too(tmp_path):
    problems = write(tmp_path / "MbppPlus.jsonl", INC)
    answers = [
        "def inc(n):\n    return n + 1",
        "def inc(n):\n    return n + 1 if n < 9 else n",
        "def inc(n):\n    return 2",
    ]
    samples = [{"task_id": "Mbpp/900", "solution": answer} for answer in answers]
    source, out = write(tmp_path / "samples.jsonl", *samples), tmp_path / "out.jsonl"
    done = command("run.py", "grade", source, "--out", out, "--dataset", problems)
    assert "format: samples of HumanEval or EvalPlus; EvalPlus' problem file" in done.stderr
    assert [row["label"] for row in read(out)] == ["correct", "incorrect", "incorrect"]


def test_verdicts_beside_another_reference_are_other_verdicts(tmp_path):
    source, stamps = write(tmp_path / "samples.jsonl", {"task_id": 900, "solution": "def inc(n): return n + 1"}), []
    for solution in (INC["canonical_solution"], "def inc(n):\n    return n + 2\n"):
        problems = write(tmp_path / "MbppPlus.jsonl", {**INC, "canonical_solution": solution})
        submissions = read_submissions(source, str(problems))
        stamps.append(Grading(source, tmp_path / "out.jsonl", submissions, "auto").stamp["programs"])
    assert stamps[0] != stamps[1]


def test_generations_without_a_program_are_refused(tmp_path):
    (tmp_path / "generations.json").write_text("[[]]")
    words = ("run.py", "grade", tmp_path / "generations.json", "--dataset", write(tmp_path / "problems.jsonl", INC))
    done = command(*words, "--out", tmp_path / "out.jsonl")
    assert done.returncode == 2 and "generations.json holds no program" in done.stderr


def test_both_kinds_of_tests_of_mbppplus_count(tmp_path):
    row = {"prompt": "Add one.", "source_file": "x", "test_imports": ["import math"], "test": PLUS_TEST}
    row["test_list"] = ["assert math.isclose(inc(1), 2)"]
    bodies = ["n + 1", "n + 1 if n < 5 else 0", "n + 1 if n > 1 else 0"]
    rows = [{**row, "task_id": i, "code": f"def inc(n):\n    return {body}"} for i, body in enumerate(bodies)]
    source, out = write(tmp_path / "mbppplus.jsonl", *rows), tmp_path / "out.jsonl"
    done = command("run.py", "grade", source, "--out", out)
    assert "format: rows of mbppplus" in done.stderr
    assert [row["label"] for row in read(out)] == ["correct", "incorrect", "incorrect"]


@pytest.mark.sweep
def test_the_published_labels_and_references_come_out_right(shared, tmp_path):
    source = shared / "mbpp" / "gemma_generations.jsonl"
    done = command(
        *("run.py", "grade", source, "--out", tmp_path / "gemma.jsonl", "--dataset", shared / "mbpp" / "mbpp.jsonl")
    )
    published = [row["passed"] for row in read(source)]
    assert done.returncode == 0 and [row["label"] == "correct" for row in read(tmp_path / "gemma.jsonl")] == published
    problems = json.loads((shared / "mbpp" / "sanitized-mbpp.json").read_text())
    chosen = random.Random(0).sample(problems, swept(427, 60))
    (tmp_path / "sanitized-mbpp.json").write_text(json.dumps(chosen))
    done = command("run.py", "grade", tmp_path / "sanitized-mbpp.json", "--out", tmp_path / "sanitized.jsonl")
    assert done.returncode == 0 and {row["label"] for row in read(tmp_path / "sanitized.jsonl")} == {"correct"}
    assert len(read(tmp_path / "sanitized.jsonl")) == len(chosen)


def test_humaneval_is_judged_by_its_name(tmp_path):
    problem = {"task_id": "HumanEval/0", "prompt": 'def f(n):\n    """Next."""\n', "entry_point": "f"}
    problem |= {
        "canonical_solution": "    return n + 1\n",
        "test": "def check(candidate):\n    assert candidate(1) == 2\n",
    }
    prepare_datasets_cache(tmp_path, "openai/openai_humaneval", "openai_humaneval", {"test": [problem]})
    samples = [{"task_id": "HumanEval/0", "completion": text} for text in ("    return n + 1", "    return n")]
    source, out = write(tmp_path / "samples.jsonl", *samples), tmp_path / "out.jsonl"
    done = command("run.py", "grade", source, "--out", out, "--dataset", "humaneval", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [row["label"] for row in read(out)] == ["correct", "incorrect"]


@pytest.mark.sweep
def test_the_adversarial_corpus_is_judged_as_expected(shared, tmp_path):
    """The adversarial corpus is judged as expected where a verdict takes no ten seconds.

    The whole corpus, canaries and host checks included, is run by the script beside it. The sandbox judges all but two
    of these rows in common/sandbox/test_sandbox_mbpp.py, with smaller limits.
    """
    rows = [json.loads(line) for line in (shared / "adversarial" / "corpus.jsonl").read_text().splitlines()]
    quick = [
        row for row in rows if row["expect"] != "timeout" and "@CANARY" not in row["code"] and not row.get("requires")
    ]
    only_here = [row for row in quick if row["id"] in ("g02_cpu1s", "o02_flood_fd")]
    others = [row for row in quick if row not in only_here]
    chosen = only_here + random.Random(0).sample(others, swept(len(others), 16))
    source, out = write(tmp_path / "in.jsonl", *chosen), tmp_path / "out.jsonl"
    assert command("run.py", "grade", source, "--out", out).returncode == 0
    for row, verdict in zip(chosen, read(out), strict=True):
        word = {"correct": "pass", "incorrect": "fail"}.get(verdict["label"], verdict["label"])
        word = "timeout" if verdict["error"] == "timeout" else word
        assert word in (row["expect"] if isinstance(row["expect"], list) else [row["expect"]]), row["id"]
