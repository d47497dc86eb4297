"""Covers the sandbox's processes: restarts, retries, cache, closing, signals, odd parents, nothing left behind."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import pytest
from support import ROOT

from common.errors import SandboxError
from common.sandbox.judge_client import JudgeClient

RIGHT = "def f(n): return n + 1"
TEST = "assert f(1) == 2"
IDLE_BELOW_JUDGE = {0: ["server"], 1: ["server"], 2: ["server"], 3: ["outer server", "server"]}
SLEEPY = "import time\ndef f(n):\n    time.sleep(0.8)\n    return n + 1"


def scratch_folders(pids: list[int]) -> list[Path]:
    """Those that some processes have made: other tests may run sandboxes beside."""
    folder = Path(tempfile.gettempdir())
    return [path for pid in pids for path in folder.glob(f"pva-sandbox-{pid}-*")]


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descendants(pid: int) -> list[int]:
    direct = children_of(pid)
    return direct + [pid for child in direct for pid in descendants(child)]


def judge_and_server(sandbox) -> tuple[int, int]:
    judge = sandbox._clients[0].process.pid
    return judge, children_of(judge)[0]


def wait_until(condition, seconds: float = 15.0) -> bool:
    deadline = time.monotonic() + seconds
    while not (held := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return held


@pytest.fixture
def alone(open_at, best_level):
    """A sandbox with one worker, of the test's own."""
    with open_at(best_level, workers=1) as sandbox:
        yield sandbox


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT"])
@pytest.mark.parametrize("only_the_program", [True, False])
def test_a_cluster_that_signals_every_process_changes_no_label(alone, program, name, only_the_program):
    future = alone.submit(program(SLEEPY, TEST))
    judge, _ = judge_and_server(alone)
    assert wait_until(lambda: len(descendants(judge)) > len(IDLE_BELOW_JUDGE[alone.isolation.level]))
    time.sleep(0.2)  # the program is past its set-up, in its sleep
    targets = descendants(judge)[-1:] if only_the_program else [judge, *descendants(judge)]
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):  # helpers of the program come and go
            os.kill(pid, getattr(signal, name))
    verdict = future.result()
    assert verdict.label == "correct", verdict


@pytest.mark.parametrize("victim", ["judge", "server"])
def test_a_dead_process_is_replaced_and_its_program_run_again(alone, program, victim):
    future = alone.submit(program(SLEEPY, TEST))
    time.sleep(0.3)
    judge, server = judge_and_server(alone)
    os.kill(judge if victim == "judge" else server, signal.SIGKILL)
    assert future.result().label == "correct"
    assert alone.submit(program(RIGHT, TEST)).result().label == "correct"
    assert judge_and_server(alone) != (judge, server)


def test_a_program_whose_server_dies_twice_is_not_run_and_not_remembered(alone, program):
    future = alone.submit(program(SLEEPY, TEST))
    killed: set[int] = set()
    while not future.done():
        try:
            server = judge_and_server(alone)[1]
            if server not in killed and descendants(server):  # it runs the program
                os.kill(server, signal.SIGKILL)
                killed.add(server)
        except (IndexError, OSError, AttributeError):
            pass
        time.sleep(0.02)
    assert future.result().label == "not_run" and future.result().error is None
    assert alone.submit(program(SLEEPY, TEST)).result().label == "correct"


def test_a_layer_that_fails_inside_the_child_is_not_run(open_at, program, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    with open_at(0, workers=1) as sandbox:
        shutil.rmtree(tmp_path / "temporary")
        verdict = sandbox.submit(program(RIGHT, TEST)).result()
    assert verdict.label == "not_run" and "No such file" in verdict.message


def test_equal_programs_share_one_run(alone, program):
    verdicts = alone.grade([program(RIGHT, TEST)] * 5)
    assert len(set(verdicts)) == 1 and alone.describe()["cache_hits"] == 4
    assert alone.submit(program(RIGHT, TEST, entry_point=None)).result().label == "correct"
    assert alone.describe() | {"n_programs": 6, "cache_hits": 4} == alone.describe()


def test_verdicts_come_in_the_order_of_the_programs(sandbox, program):
    programs = [
        program(f"import time\ntime.sleep({0.2 if n == 0 else 0})\ndef f(x): return {n}", "assert f(0) == -1")
        for n in range(9)
    ]
    assert [verdict.message for verdict in sandbox.grade(programs)] == [f"got {n}" for n in range(9)]


@pytest.mark.parametrize("at_most", [2, 3])
def test_closing_leaves_no_process_and_no_file(open_at, best_level, program, at_most):
    level = min(best_level, at_most)
    sandbox = open_at(level)
    sandbox.grade([program(RIGHT, TEST)])
    pids = [pid for client in sandbox._clients for pid in [client.process.pid, *descendants(client.process.pid)]]
    assert bool(scratch_folders(pids)) == (level < 3)  # there it lies in a file system of the program's own
    sandbox.close()
    sandbox.close()
    assert len(pids) >= (4 if level == 3 else 2) and wait_until(lambda: not any(is_running(pid) for pid in pids))
    assert not scratch_folders(pids)
    with pytest.raises(SandboxError, match="closed"):
        sandbox.submit(program(RIGHT, TEST))


@pytest.mark.parametrize("at_most", [0, 3])
def test_a_judge_that_is_still_starting_is_closed_at_once(open_at, best_level, at_most):
    with open_at(min(best_level, at_most), workers=1) as sandbox:
        client = JudgeClient(sandbox._clients[0].setup)
    client.begin()
    process, began = client.process, time.monotonic()
    client.close()
    assert process.returncode == 0 and time.monotonic() - began < 4
    assert not scratch_folders([process.pid])
    with pytest.raises(SandboxError, match="closed"):
        client.wait_until_ready()


def test_an_error_inside_the_with_block_ends_running_programs_at_once(open_at, best_level, program):
    started = time.monotonic()
    with pytest.raises(KeyError), open_at(best_level) as sandbox:
        futures = [sandbox.submit(program(f"while True: pass\n#{n}", TEST)) for n in range(6)]
        raise KeyError
    assert all(future.done() for future in futures) and time.monotonic() - started < 10


SCRIPT = """
import os, signal, sys, time
sys.path.insert(0, {root!r})
from common.sandbox import Limits, Program, Sandbox
def program(code): return Program(code, ("assert f(1) == 2",), "f")
{prelude}
with Sandbox({isolation!r}, workers=1, limits=Limits(cpu_s=5, blocked_s=5), at_most={level}) as sandbox:
    {body}
"""
GRADE = f"assert sandbox.grade([program({RIGHT!r})])[0].label == 'correct'; os.write(done, b'done')"


@pytest.fixture
def pipeline(best_level):
    """Start a small pipeline in its own process group; it writes on a pipe that the test reads."""
    started = []

    def start(body: str, prelude: str = "", python: str = sys.executable, **options) -> tuple[subprocess.Popen, int]:
        reading, writing = os.pipe()
        isolation = "auto" if best_level else "none"
        prelude = f"done = {writing}\n{prelude}"
        source = SCRIPT.format(root=str(ROOT), prelude=prelude, body=body, isolation=isolation, level=best_level)
        process = subprocess.Popen(
            [python, "-c", textwrap.dedent(source)], pass_fds=[writing], start_new_session=True, **options
        )
        os.close(writing)
        started.append((process, reading))
        return process, reading

    yield start
    for process, reading in started:
        process.kill()
        process.wait()
        os.close(reading)


def test_it_works_from_any_folder_with_standard_input_closed(pipeline, tmp_path):
    process, reading = pipeline(GRADE, cwd=tmp_path, preexec_fn=lambda: os.close(0))
    assert os.read(reading, 10) == b"done" and process.wait() == 0 and not list(tmp_path.iterdir())


def test_a_python_that_is_reached_through_a_link_keeps_its_packages(pipeline, tmp_path):
    pytest.importorskip("numpy")
    (tmp_path / "link").symlink_to(Path(sys.executable).parent.parent)  # level 3 covers where the link lies
    code = "import numpy\ndef f(n): return int(numpy.int64(n)) + 1"
    process, reading = pipeline(GRADE.replace(repr(RIGHT), repr(code)), python=str(tmp_path / "link/bin/python"))
    assert os.read(reading, 10) == b"done" and process.wait() == 0


def test_it_works_in_a_process_that_has_threads_and_much_memory(pipeline):
    prelude = (
        "import threading\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
        "weights = bytearray(1 << 30)"
    )
    process, reading = pipeline(GRADE, prelude)
    assert os.read(reading, 10) == b"done" and process.wait() == 0


def test_the_servers_hold_no_library_of_the_pipeline(alone, program):
    code = (
        "import sys\ndef f(n): return [m for m in ('torch', 'transformers', 'common', 'sandbox') if m in sys.modules]"
    )
    assert alone.submit(program(code, "assert f(1) == []")).result().label == "correct"


def test_a_killed_pipeline_takes_every_process_and_file_with_it(pipeline):
    process, reading = pipeline(
        "future = sandbox.submit(program('while True: pass')); time.sleep(0.3); os.write(done, b'done'); time.sleep(60)"
    )
    assert os.read(reading, 10) == b"done"
    pids = descendants(process.pid)
    process.kill()
    assert len(pids) >= 3 and wait_until(lambda: not any(is_running(pid) for pid in pids))
    assert wait_until(lambda: not scratch_folders(pids))


@pytest.mark.parametrize("after_s", [0, 0.1])
def test_a_pipeline_that_dies_while_judges_start_leaves_none(pipeline, after_s):
    process, reading = pipeline(
        "begun = [JudgeClient(sandbox._clients[0].setup) for _ in range(2)]; [one.begin() for one in begun]\n"
        "    os.write(done, ' '.join(str(one.process.pid) for one in begun).encode()); time.sleep(60)",
        "from common.sandbox.judge_client import JudgeClient",
    )
    judges = [int(pid) for pid in os.read(reading, 100).split()]
    time.sleep(after_s)
    pids = descendants(process.pid)
    process.kill()
    assert {*judges} <= {*pids} and wait_until(lambda: not any(is_running(pid) for pid in pids))
    assert wait_until(lambda: not scratch_folders(pids))


def test_a_process_forked_from_the_pipeline_keeps_no_judge_alive(pipeline):
    process, reading = pipeline(
        "child = os.fork()\n    time.sleep(0.2) if child else None\n"
        "    os.write(done, b'done' if child else b''); time.sleep(60)"
    )
    assert os.read(reading, 10) == b"done"
    forked, *others = sorted(children_of(process.pid), reverse=True)
    process.kill()
    gone = wait_until(lambda: not any(is_running(pid) for pid in others))
    os.kill(forked, signal.SIGKILL)
    assert gone


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_ctrl_c_does_not_reach_a_program_in_the_middle_of_its_run(pipeline):
    prelude = "signal.signal(signal.SIGINT, lambda *a: None)"
    body = (
        f"future = sandbox.submit(program({SLEEPY!r})); os.write(done, b'go')\n"
        "    assert future.result().label == 'correct'; os.write(done, b'done')"
    )
    process, reading = pipeline(body, prelude)
    assert os.read(reading, 2) == b"go"
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    assert os.read(reading, 10) == b"done" and process.wait() == 0
