"""Covers the isolation: one attack per test, each aimed at a throw-away folder, at every level of this machine."""

import os
import socket
import subprocess
import sys

import pytest

BLOCKED = "assert f(1) == 'blocked'"
HEADER = "import os, posix, shutil, pathlib\nD = {folder!r}\nE = (OSError, TypeError, AttributeError, ValueError)\n"


def attack(act: str, folder: object = "") -> str:
    """A program that returns 'blocked' when its act is refused, 'done' when it is not."""
    return (
        f"{HEADER.format(folder=str(folder))}def f(n):\n    try:\n        {act}\n"
        f"    except E: return 'blocked'\n    return 'done'"
    )


@pytest.fixture(scope="session")
def is_blocked(program):
    def judge(sandbox, act: str, folder: object = "") -> bool:
        verdict = sandbox.submit(program(attack(act, folder), BLOCKED)).result()
        assert verdict.label in ("correct", "incorrect"), verdict
        return verdict.label == "correct"

    return judge


@pytest.fixture
def canary(tmp_path):
    (tmp_path / "canary.txt").write_text("alive")
    yield tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ["canary.txt"]
    assert (tmp_path / "canary.txt").read_text() == "alive"


@pytest.mark.parametrize(
    "act",
    [
        "os.remove(D + '/canary.txt')",
        "posix.unlink(D + '/canary.txt')",
        "shutil.rmtree(D)",
        "posix.rename(D + '/canary.txt', D + '/moved.txt')",
        "posix.close(posix.open(D + '/canary.txt', posix.O_WRONLY | posix.O_TRUNC))",
        "posix.truncate(D + '/canary.txt', 0)",
        "posix.open(D + '/new.txt', posix.O_WRONLY | posix.O_CREAT)",
        "posix.open(D, posix.O_WRONLY | posix.O_TMPFILE)",
        "pathlib.Path(D, 'sub').mkdir()",
        "posix.symlink('/etc', D + '/link')",
        "posix.link(D + '/canary.txt', D + '/hard')",
        "posix.mkfifo(D + '/fifo')",
        "posix.unlink(D.lstrip('/') + '/canary.txt', dir_fd=posix.open('/', posix.O_RDONLY))",
    ],
    ids="remove unlink rmtree rename truncating_open truncate create tmpfile mkdir symlink link fifo dir_fd".split(),
)
def test_files_outside_cannot_be_changed(confined, is_blocked, canary, act):
    assert is_blocked(confined, act, canary)


@pytest.mark.parametrize("act", ["posix.chmod(D + '/canary.txt', 0)", "posix.utime(D + '/canary.txt', (0, 0))"])
def test_modes_and_times_outside_cannot_be_changed(confined, is_blocked, canary, act):
    before = (canary / "canary.txt").stat()
    assert is_blocked(confined, act, canary)
    after = (canary / "canary.txt").stat()
    assert (after.st_mode, after.st_mtime) == (before.st_mode, before.st_mtime)


def test_a_link_inside_leads_nowhere(with_files, is_blocked, canary):
    act = "posix.symlink(D + '/canary.txt', 'link'); open('link', 'w').write('x')"
    assert is_blocked(with_files, act, canary)


def test_files_of_the_user_cannot_be_read(with_files, is_blocked, canary):
    assert is_blocked(with_files, "open(D + '/canary.txt').read()", canary)


def test_the_home_cannot_be_listed(with_files, is_blocked):
    assert is_blocked(with_files, "os.listdir(D)", os.path.expanduser("~"))


def test_the_environment_is_scrubbed(confined, open_at, program, monkeypatch):
    monkeypatch.setenv("CANARY_SECRET", "s3cret")
    with open_at(confined.isolation.level, workers=1) as fresh:
        code = "import os\ndef f(n):\n    return 'CANARY_SECRET' in os.environ"
        assert fresh.submit(program(code, "assert f(1) is False")).result().label == "correct"


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM"])
def test_there_is_no_network(confined, is_blocked, kind):
    assert is_blocked(confined, f"import socket; socket.socket(socket.AF_INET, socket.{kind})")


def test_no_datagram_leaves_through_a_socket_pair(confined, is_blocked, tmp_path):
    path = str(tmp_path / "daemon")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(path)
        daemon.setblocking(False)
        act = "import socket; socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].sendto(b'x', D)"
        assert is_blocked(confined, act, path)
        with pytest.raises(BlockingIOError):
            daemon.recv(1)


@pytest.mark.parametrize(
    "act",
    [
        "posix._exit(0) if posix.fork() == 0 else None",
        "posix.execv('/bin/true', ['true'])",
        "posix.posix_spawn('/bin/true', ['true'], {})",
        "import subprocess; subprocess.run(['true'])",
        "posix.setsid()",
        "os.setpriority(os.PRIO_PROCESS, 0, 5)",
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (-1, -1))",
        "posix.kill(posix.getppid() or 1, 0)",
        "posix.kill(-1, 0)",
        "posix.kill(0, 0)",
    ],
    ids="fork execv spawn subprocess setsid priority setrlimit kill_parent kill_all kill_group".split(),
)
def test_no_process_is_started_signalled_or_raised_above_its_limits(confined, is_blocked, act):
    assert is_blocked(confined, act)


def test_no_thread_is_made_that_leaves_its_maker_waiting(confined, program):
    """It would be in the state of a process that waits for a disk, whose time is not held against it."""
    code = """
import ctypes
libc = ctypes.CDLL(None)
def f(n):
    stack = ctypes.create_string_buffer(1 << 16)
    top = (ctypes.addressof(stack) + (1 << 16) - 64) & ~15
    libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    vfork, like_a_thread = 0x4000, 0x100 | 0x200 | 0x400 | 0x800 | 0x10000
    made = libc.clone(ctypes.cast(libc.sleep, ctypes.c_void_p), top, vfork | like_a_thread, 3)
    return 'done' if made > 0 else 'blocked'
"""
    assert confined.submit(program(code, BLOCKED)).result().label == "correct"


RAW = "import ctypes\ndef f(n): return 'blocked' if ctypes.CDLL(None, use_errno=True).{} < 0 else 'done'"


@pytest.mark.parametrize(
    "call",
    [
        "ptrace(0x4206, 1, 0, 0)",
        "unshare(0x10000000 | 0x40000000)",
        "prctl(4, 1, 0, 0, 0)",
        "prctl(1, 0, 0, 0, 0)",
        "setns(0, 0)",
        "shmget(0, 4096, 0o1600)",
        "memfd_create(b'x', 0)",
        "syscall(425, 1, 0)",
        "syscall(434, 1, 0)",
        "syscall(9999)",
        "chroot(b'/')",
    ],
    ids="ptrace unshare dumpable pdeathsig setns shm memfd io_uring pidfd unknown chroot".split(),
)
def test_dangerous_system_calls_are_refused(confined, program, call):
    verdict = confined.submit(program(RAW.format(call), BLOCKED)).result()
    assert verdict.label == "correct", verdict


def test_a_program_may_use_its_scratch_folder(with_files, program):
    code = (
        "import tempfile\ndef f(n):\n"
        "    with tempfile.NamedTemporaryFile('w+') as t, open('a', 'w') as a:\n"
        "        return t.write('b') + a.write('c')"
    )
    assert with_files.submit(program(code, "assert f(1) == 2")).result().label == "correct"


def test_the_scratch_folder_is_emptied_before_the_next_program(with_files, program):
    deep = (
        "import os\nopen('a', 'w').close()\nfor i in range(300):\n"
        "    os.mkdir('d', 0o100 if i == 150 else 0o700)\n    os.chdir('d')\ndef f(n): return 1"
    )
    listing = "import os\ndef f(n): return os.listdir('.')"
    for _ in range(with_files.workers * 2):
        with_files.submit(program(deep, "assert f(1) == 1")).result()
        deep += "\n"
    verdicts = with_files.grade([program(listing + "\n" * i, "assert f(1) == []") for i in range(4)])
    assert [verdict.label for verdict in verdicts] == ["correct"] * 4


def test_root_has_no_capabilities_inside(sandbox, open_at, program):
    code = "def f(n): return [line.split()[1] for line in open('/proc/self/status') if line.startswith('CapEff')]"
    with open_at(0, workers=1) as bare:  # where /proc can be read; the other levels drop them in the same place
        verdict = bare.submit(program(code, "assert f(1) == ['0000000000000000']")).result()
    assert verdict.label == "correct", verdict


def test_without_isolation_no_process_outlives_its_program(tmp_path, open_at, program):
    code = (
        f"import os, time\ndef f(n):\n    if os.fork() == 0:\n        os.setsid()\n"
        f"        time.sleep(2)\n        open({str(tmp_path / 'late')!r}, 'w').close()\n"
        f"        os._exit(0)\n    return 1"
    )
    with open_at(0, workers=1) as bare:
        assert bare.submit(program(code, "assert f(1) == 1")).result().label == "correct"
        sleeper = bare.submit(program("import time\ndef f(n): time.sleep(0.9)", "assert f(1) is None"))
        assert sleeper.result().label == "correct"
    subprocess.run([sys.executable, "-c", "import time; time.sleep(1.5)"], check=True)
    assert not (tmp_path / "late").exists()
