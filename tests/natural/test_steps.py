"""Covers natural.steps: commands are run once, measured, and go on after a stop; and the pages that tables go into."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import ROOT

from common.errors import ConfigError, PipelineError
from natural.memory import Memory, descendants
from natural.page import fill
from natural.steps import Step, StepLog, costs_table, run_steps

LOG = logging.getLogger("test_steps")
RUNNER = """
import logging, sys
from pathlib import Path
from natural.steps import Step, run_steps
folder = Path(sys.argv[1])
sys.exit(run_steps([Step("slow", ("-c", sys.argv[2], str(folder)), folder / "made")], folder, logging.getLogger()))
"""
SAVES_AND_ENDS = """
import signal, sys, time
from pathlib import Path
made = Path(sys.argv[1], "made")
if made.exists():
    sys.exit(0)
def stop(*_):
    made.write_text("saved")
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
Path(sys.argv[1], "ready").touch()
time.sleep(60)
"""


def step(folder: Path, code: str, name: str = "one") -> Step:
    return Step(name, ("-c", code, str(folder)), folder / "made")


APPEND = "import sys; from pathlib import Path; p = Path(sys.argv[1], 'made'); p.open('a').write('x' * 1000)"


def test_a_finished_command_is_not_run_again_and_another_one_is(tmp_path):
    first = step(tmp_path, APPEND)
    assert run_steps([first], tmp_path, LOG) == run_steps([first], tmp_path, LOG) == 0
    assert len((tmp_path / "made").read_text()) == 1000
    assert run_steps([first, step(tmp_path, APPEND + "; 1")], tmp_path, LOG) == 0
    assert len((tmp_path / "made").read_text()) == 2000


def test_a_command_that_fails_is_named_and_run_again(tmp_path):
    fails = step(tmp_path, APPEND + "; sys.exit(len(p.read_text()) < 2000)")
    with pytest.raises(PipelineError, match=r"step 'one' .*status 1\b"):
        run_steps([fails], tmp_path, LOG)
    assert run_steps([fails], tmp_path, LOG) == 0
    record = StepLog.read(tmp_path).record_of(fails)
    assert record.attempts == 2 and record.finished and record.on_disk == 2000


def test_the_memory_of_a_child_counts(tmp_path):
    fills = "import time; x = b'1' * 200_000_000; time.sleep(2)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {fills!r}])"
    grand = step(tmp_path, code)
    assert run_steps([grand], tmp_path, LOG) == 0
    record = StepLog.read(tmp_path).record_of(grand)
    assert 2e8 < record.largest_process < 2.6e8 and 2e8 < record.all_processes < 3e8
    assert 2 < record.seconds < 60


def test_shared_memory_counts_once_among_all_processes():
    fills = "import os, sys; x = b'1' * 300_000_000; os.fork(); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", fills], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == process.stdout.readline() == b"\n"  # of it and of its copy
    memory = Memory()
    memory.look(process.pid)
    assert len(descendants(process.pid)) == 2
    process.communicate()
    assert 3e8 < memory.largest_process < 3.5e8
    assert 3e8 < memory.all_processes < 1.2 * memory.largest_process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_command_saves_and_the_same_command_goes_on(tmp_path, number):
    words = [sys.executable, "-c", RUNNER, str(tmp_path), SAVES_AND_ENDS]
    # As a shell begins what it puts into the background: SIGINT is ignored.
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "ready").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait(timeout=60) == 130 and (tmp_path / "made").read_text() == "saved"
    before = json.loads((tmp_path / "steps.json").read_text())["steps"][0]
    assert not before["finished"] and before["seconds"] > 0
    again = subprocess.run(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=60)
    after = json.loads((tmp_path / "steps.json").read_text())["steps"][0]
    assert again.returncode == 0 and after["finished"] and after["seconds"] > before["seconds"]
    assert after["attempts"] == 2


def test_two_lists_in_one_folder_each_keep_their_own_records(tmp_path):
    slow = step(tmp_path, "import time; time.sleep(2)", "slow")
    words = [sys.executable, "-c", RUNNER, str(tmp_path), "import time; time.sleep(2)"]
    beside = subprocess.Popen(words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})
    quick = [step(tmp_path, str(number), f"quick {number}") for number in range(3)]
    assert run_steps([slow, *quick], tmp_path, LOG) == beside.wait(timeout=60) == 0
    rows = json.loads((tmp_path / "steps.json").read_text())["steps"]
    assert sorted(row["name"] for row in rows) == ["quick 0", "quick 1", "quick 2", "slow"]
    assert all(row["finished"] for row in rows)


def test_the_table_has_a_line_for_each_finished_step_and_their_sum(tmp_path):
    steps = [step(tmp_path, APPEND, "phase 0"), step(tmp_path, APPEND + "; 2", "phase 1"), step(tmp_path, "0", "later")]
    run_steps(steps[:2], tmp_path, LOG)
    lines = costs_table(steps, tmp_path).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["phase 0", "phase 1", "all"]


def test_a_table_takes_the_place_of_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    other = "<!-- costs of more -->\nkept\n<!-- end of costs of more -->\n"
    page.write_text(f"before\n<!-- costs -->\nold\n<!-- end of costs -->\nafter\n{other}")
    for _ in range(2):
        fill(page, {"costs": "| \\1 |"})
    text = page.read_text()
    assert "old" not in text and text.count("| \\1 |") == 1 and "kept" in text
    assert text.startswith("before\n<!-- costs -->\n\n| ") and " |\n\n<!-- end of costs -->\nafter\n" in text


def test_a_page_without_the_place_is_left_as_it_is(tmp_path):
    (tmp_path / "page.md").write_text("nothing")
    with pytest.raises(ConfigError, match=r"page\.md .*'costs'\n.*<!-- costs -->"):
        fill(tmp_path / "page.md", {"costs": "|"})
    with pytest.raises(ConfigError, match=r"--page .*other\.md does not exist\n.*costs"):
        fill(tmp_path / "other.md", {"costs": "|"})
