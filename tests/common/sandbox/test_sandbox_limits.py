"""Covers the limits: CPU, blocked time, memory, output, files and threads, also on a loaded machine."""

import multiprocessing
import os
import time

import pytest

from common.errors import SandboxError
from common.sandbox import Limits
from common.sandbox.machine import memory_bytes

RIGHT = "\ndef f(n): return n + 1"
TEST = "assert f(1) == 2"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("while True: pass", "more than 1 s of CPU time"),
        ("def f(n):\n    return 10 ** (3 * 10**8)", "more than 1 s of CPU time"),
        ("import re\ndef f(n): re.match(r'(a+)+$', 'a' * 40 + 'b')", "more than 1 s of CPU time"),
        (
            (
                "import signal\n"
                "for s in ('SIGXCPU', 'SIGPROF', 'SIGALRM'): signal.signal(getattr(signal, s), lambda *a: None)\n"
                "while True: pass"
            ),
            "more than 1 s of CPU time",
        ),
        ("import time\ndef f(n): time.sleep(60)", "blocked for more than 1 s"),
        (
            "import threading\ndef f(n):\n    a = threading.Lock()\n    a.acquire(), a.acquire()",
            "blocked for more than 1 s",
        ),
        ("import os, signal\ndef f(n): os.kill(os.getpid(), signal.SIGSTOP)", "blocked for more than 1 s"),
    ],
    ids="loop power regex signals sleep deadlock stopped".split(),
)
def test_a_hanging_program_is_a_timeout_and_not_a_wrong_answer(judged, code, message):
    verdict = judged(code, TEST)
    assert (verdict.label, verdict.error, verdict.message) == ("incorrect", "timeout", message)
    assert verdict.near_limit


def test_a_wrong_answer_before_the_hang_is_a_wrong_answer(judged):
    code = "def f(n):\n    while n == 2: pass\n    return n"
    verdict = judged(code, "assert f(1) == 5", "assert f(2) == 2")
    assert (verdict.error, verdict.failed_test) == ("wrong_answer", "assert f(1) == 5")


def test_the_hanging_test_is_named(judged):
    verdict = judged("def f(n):\n    while n == 2: pass\n    return n", "assert f(1) == 1", "assert f(2) == 2")
    assert (verdict.error, verdict.failed_test) == ("timeout", "assert f(2) == 2")


def test_time_below_the_limits_is_legal_and_reported(judged):
    code = (
        "import time\ndef f(n):\n    end = time.process_time() + 0.6\n"
        "    while time.process_time() < end: pass\n    return 2"
    )
    verdict = judged(code, TEST)
    assert verdict.label == "correct" and verdict.near_limit and 0.6 <= verdict.cpu_s < 1


def burn(until: float) -> None:
    while time.monotonic() < until:
        pass


def test_a_loaded_machine_changes_no_label(judged):
    hogs = [multiprocessing.get_context("spawn").Process(target=burn, args=(time.monotonic() + 6,)) for _ in range(4)]
    for hog in hogs:
        hog.start()
    code = (
        "import time\ndef f(n):\n    end = time.process_time() + 0.93\n"
        "    while time.process_time() < end: pass\n    return 2"
    )
    verdicts = [judged(code + "\n" * i, TEST) for i in range(3)]
    for hog in hogs:
        hog.join()
    assert [verdict.label for verdict in verdicts] == ["correct"] * 3, verdicts


@pytest.mark.parametrize(
    "code",
    [
        "def f(n): return bytearray(20 << 30)",
        "def f(n):\n    s = 'x'\n    while len(s) < 3 << 30: s += s\n    return 2",
        "def f(n): return [0] * 10**9",
    ],
)
def test_taking_too_much_memory_is_a_memory_error(open_at, best_level, program, code):
    limits = Limits(memory_bytes=256 << 20)  # touching a gigabyte can take longer than the quick limits give
    with open_at(best_level, limits, workers=1) as sandbox:
        assert sandbox.grade([program(code, TEST)])[0].error == "memory"


@pytest.mark.parametrize(
    "value", ["list(range(3 * 10**6))", "10**300000", "{i * (2**61 - 1) for i in range(4000)}", "'x' * (20 << 20)"]
)
def test_a_huge_answer_is_a_wrong_answer(patient, program, value):
    assert patient.submit(program(f"def f(n): return {value}", TEST)).result().error == "wrong_answer"


@pytest.mark.parametrize("test", ["assert 2 ** 10 ** f(1) == 1", "assert set(f(2)) == {1}"])
def test_a_value_that_makes_comparing_costly_cannot_hang_the_judge(sandbox, judged, test):
    code = "def f(n): return 10**9 if n == 1 else [i * (2**61 - 1) for i in range(60_000)]"
    verdict = judged(code, test)
    assert (verdict.label, verdict.error) == ("incorrect", "wrong_answer")
    assert judged(RIGHT + "\n" * len(test), TEST).label == "correct"


def test_flooding_the_output_does_no_harm(judged):
    code = "import os\nfor _ in range(500): os.write(1, b'x' * 65536), os.write(2, b'x' * 65536)" + RIGHT
    assert judged(code, TEST).label == "correct"


def test_flooding_the_judge_is_a_wrong_answer(judged):
    code = (
        "import os\nfor fd in range(3, 64):\n    try:\n"
        "        while True: os.write(fd, b'x' * 65536)\n    except OSError: pass"
    )
    assert judged(code, TEST).error == "wrong_answer"


def test_too_many_threads_are_killed(judged):
    code = (
        "import threading, time\nthreading.stack_size(32768)\n"
        "for _ in range(400): threading.Thread(target=time.sleep, args=(9,)).start()\n"
        "time.sleep(0.8)"
    )
    assert judged(code + RIGHT, TEST).error == "killed"


def test_filling_the_disk_is_stopped(with_files, program):
    code = "import time\nfor i in range(20): open(str(i), 'wb').write(b'x' * (15 << 20))\ntime.sleep(0.9)"
    assert with_files.submit(program(code + RIGHT, TEST)).result().label == "incorrect"


def test_one_file_has_a_largest_size(with_files, program):
    code = "def f(n):\n    try: open('a', 'wb').write(b'x' * (17 << 20))\n    except OSError: return 2"
    assert with_files.submit(program(code, TEST)).result().label == "correct"


def test_impossible_limits_are_refused_with_their_value():
    with pytest.raises(SandboxError, match=r"cpu_s .*above 0.* -1\n.* 10\b"):
        Limits(cpu_s=-1)


def test_the_machines_memory_is_a_sane_number():
    assert 1 << 28 < memory_bytes() <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_workers_take_less_than_half_of_the_memory(open_at):
    huge = Limits(memory_bytes=memory_bytes() // 3)
    with open_at(0, huge, workers=8) as sandbox:
        assert sandbox.workers == 1
