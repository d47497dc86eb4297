"""Covers signals: no way of making the kernel signal another process, and none of passing a descriptor on."""

import errno
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from common.sandbox import Limits, landlock
from common.sandbox.confinement import Confinement, Setup
from common.sandbox.probe import in_throw_away_child

BLOCKED = "assert f(1) == 'blocked'"
# `pid` is another process, `r` and `w` a pipe, `a` and `b` a socket pair.
ACT = """
import ctypes, fcntl, os, signal, socket, struct, termios
pid = {pid}
def raw(number, *arguments):
    if ctypes.CDLL(None, use_errno=True).syscall(number, *arguments) < 0: raise OSError(ctypes.get_errno(), 'raw')
def f(n):
    r, w = os.pipe()
    a, b = socket.socketpair()
    try: {act}
    except PermissionError: return 'blocked'
    return 'done'
"""
INFO = "ctypes.create_string_buffer(128)"
ACTS = {
    "F_SETOWN": "fcntl.fcntl(r, fcntl.F_SETOWN, pid)",
    "F_SETOWN of a group": "fcntl.fcntl(r, fcntl.F_SETOWN, -pid)",
    "F_SETOWN_EX": "fcntl.fcntl(r, 15, struct.pack('ii', 1, pid))",
    "F_SETSIG": "fcntl.fcntl(r, 10, 9)",
    "O_ASYNC": "fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)",
    "F_NOTIFY": "fcntl.fcntl(os.open('.', os.O_RDONLY), 1026, 0x80000002)",
    "F_SETLEASE": "fcntl.fcntl(os.open(os.__file__, os.O_RDONLY), 1024, fcntl.F_RDLCK)",
    "F_SETPIPE_SZ": "fcntl.fcntl(r, 1031, 1 << 20)",
    "FIOSETOWN": "fcntl.ioctl(a, 0x8901, struct.pack('i', pid))",
    "SIOCSPGRP": "fcntl.ioctl(a, 0x8902, struct.pack('i', pid))",
    "FIOASYNC": "fcntl.ioctl(r, 0x5452, struct.pack('i', 1))",
    "TIOCSTI": "fcntl.ioctl(0, 0x5412, b'x')",
    "TIOCSPGRP": "fcntl.ioctl(0, termios.TIOCSPGRP, struct.pack('i', pid))",
    "TIOCSCTTY": "fcntl.ioctl(0, termios.TIOCSCTTY, 1)",
    "TIOCSIG": "fcntl.ioctl(0, 0x40045436, 9)",
    "upper half of a request": "raw({ioctl}, a.fileno(), ctypes.c_ulong(0x100008901), ctypes.byref(ctypes.c_int(pid)))",
    "kill": "os.kill(pid, 0)",
    "killpg": "os.killpg(pid, 0)",
    "tkill": "raw({tkill}, pid, 0)",
    "tgkill": "raw({tgkill}, pid, pid, 0)",
    "rt_sigqueueinfo": f"raw({{rt_sigqueueinfo}}, pid, 0, {INFO})",
    "rt_tgsigqueueinfo": f"raw({{rt_tgsigqueueinfo}}, pid, pid, 0, {INFO})",
    "pidfd_send_signal": "raw(424, 0, 0, 0, 0)",
    "SO_PEERPIDFD": "raw(424, a.getsockopt(socket.SOL_SOCKET, 77), 0, 0, 0)",
    "mq_notify": "raw({mq_notify}, 0, 0)",
    "a thread with descriptors of its own": "raw({clone}, 0x10000 | 0x800 | 0x100 | 0x200, 0, 0, 0, 0)",
    "close_range that unshares": "raw(436, 60, 61, 2)",
    "sendmsg": "a.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack('i', r))])",
    "recvmsg": "b.recvmsg(1, 100)",
    "send out of band": "a.send(b'x', socket.MSG_OOB)",
    "another kind of pair": "socket.socketpair(30, socket.SOCK_STREAM)",  # TIPC
}
NUMBERS = {
    "x86_64": dict(
        ioctl=16, tkill=200, tgkill=234, rt_sigqueueinfo=129, rt_tgsigqueueinfo=297, mq_notify=244, clone=56
    ),
    "aarch64": dict(
        ioctl=29, tkill=130, tgkill=131, rt_sigqueueinfo=138, rt_tgsigqueueinfo=240, mq_notify=184, clone=220
    ),
}
KERNEL = tuple(int(part) for part in os.uname().release.split(".")[:2])
if KERNEL < (6, 5):
    del ACTS["SO_PEERPIDFD"]

SIGNAL_AT_INPUT = """
import fcntl, os
def f(target):
    r, w = os.pipe()
    fcntl.fcntl(r, fcntl.F_SETOWN, target)
    fcntl.fcntl(r, 10, 9)  # F_SETSIG
    fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(w, b"x")
"""


@pytest.fixture
def sleeper():
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    yield process
    assert process.poll() is None, "it was signalled"
    process.kill()
    process.wait()


@pytest.mark.parametrize("act", ACTS)
def test_no_act_reaches_another_process(confined, program, sleeper, act):
    numbers = NUMBERS[os.uname().machine]
    code = ACT.format(pid=sleeper.pid, act=ACTS[act].format(**numbers))
    verdict = confined.submit(program(code, BLOCKED)).result()
    assert verdict.label == "correct", verdict


def test_input_on_a_pipe_signals_nobody(confined, program, sleeper):
    verdict = confined.submit(program(SIGNAL_AT_INPUT, f"assert f({sleeper.pid}) is None")).result()
    assert verdict.label == "incorrect" and verdict.message.startswith("PermissionError"), verdict


def test_an_old_landlock_is_no_way_out(monkeypatch, sleeper, tmp_path, best_level):
    if best_level < 2:
        pytest.skip("this machine has no Landlock")
    monkeypatch.setattr(landlock, "version", lambda: 4)
    confinement = Confinement(Setup(2, Limits(), str(Path.home()), str(tmp_path)))

    def signal_the_sleeper():
        confinement.enter(200)
        names: dict = {}
        exec(SIGNAL_AT_INPUT, names)
        names["f"](sleeper.pid)

    assert in_throw_away_child(signal_the_sleeper) == os.strerror(errno.EPERM)


def test_a_landlock_without_truncation_lets_no_reader_truncate(monkeypatch, tmp_path, best_level):
    if best_level < 2:
        pytest.skip("this machine has no Landlock")
    monkeypatch.setattr(landlock, "version", lambda: 2)
    readable, scratch = tmp_path / "readable", tmp_path / "scratch"
    readable.mkdir()
    scratch.mkdir()
    (readable / "library.py").write_text("text")
    monkeypatch.setattr(landlock, "_SYSTEM_READABLE", (*landlock._SYSTEM_READABLE, str(readable)))
    confinement = Confinement(Setup(2, Limits(), str(Path.home()), str(scratch)))

    def truncate():
        confinement.enter(200)
        assert (readable / "library.py").read_text() == "text"
        os.open(readable / "library.py", os.O_RDONLY | os.O_TRUNC)

    assert in_throw_away_child(truncate) == os.strerror(errno.EPERM)
    assert (readable / "library.py").read_text() == "text"


TERMINAL = """
import fcntl, os, struct, time
def f(path):
    try: terminal = os.open(path, os.O_RDONLY | os.O_NOCTTY)
    except OSError: return 'blocked'
    for act in (lambda: fcntl.ioctl(terminal, 0x5414, struct.pack('HHHH', 10, 10, 0, 0)),  # TIOCSWINSZ
                lambda: fcntl.fcntl(terminal, fcntl.F_SETFL, os.O_ASYNC),
                lambda: fcntl.ioctl(terminal, 0x5452, struct.pack('i', 1))):
        try: act()
        except OSError: continue
        return 'done'
    return 'blocked'
"""


def test_the_foreground_group_of_a_terminal_is_out_of_reach(confined, program):
    """A terminal that can be opened for reading signals its foreground group without anybody asking for an owner."""
    script = "import signal; signal.signal(signal.SIGWINCH, signal.SIG_DFL); print('ready', flush=True); signal.pause()"
    child, controller = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", script])
    try:
        assert b"ready" in os.read(controller, 100)
        path = os.readlink(f"/proc/{child}/fd/0")
        assert confined.submit(program(TERMINAL, f"assert f({path!r}) == 'blocked'")).result().label == "correct"
        os.write(controller, b"input")
        assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(controller)


USUAL = """
import asyncio, fcntl, os, socket, sqlite3, sys, threading, time
def locks():
    with open('locked', 'w') as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        fcntl.flock(file, fcntl.LOCK_EX)
def database():
    with sqlite3.connect('data.db') as data:
        data.execute('create table t (a)')
        data.execute('insert into t values (1)')
    return data.execute('select a from t').fetchall()
def room():
    with open('room', 'wb') as file: os.posix_fallocate(file.fileno(), 0, 4096)
    return os.path.getsize('room')
def pair():
    a, b = socket.socketpair()
    a.settimeout(1)
    b.setblocking(False)
    a.send(b'1'), a.sendall(b'2'), os.write(a.fileno(), b'3')
    return b.recv(2) + os.read(b.fileno(), 1)
async def streams():
    a, b = socket.socketpair()
    loop = asyncio.get_running_loop()
    a.setblocking(False), b.setblocking(False)
    await loop.sock_sendall(a, b'x')
    return await loop.sock_recv(b, 1)
def f(what):
    match what:
        case 'descriptors':
            r, w = os.pipe()
            os.set_inheritable(r, True), os.set_inheritable(r, False), os.set_blocking(r, False)
            return [os.get_blocking(r), os.isatty(r), os.isatty(os.dup(0)), os.fdopen(os.dup2(w, 50), 'wb').write(b'x')]
        case 'pair': return pair()
        case 'asyncio': return asyncio.run(streams())
        case 'terminal size':
            try: return os.get_terminal_size(0)
            except OSError as error: return error.errno
        case 'locks': return locks()
        case 'database': return database()
        case 'room': return room()
"""
USUAL_TESTS = (
    "assert f('descriptors') == [False, False, False, 1]",
    "assert f('pair') == b'123'",
    "assert f('asyncio') == b'x'",
    f"assert f('terminal size') == {errno.ENOTTY}",
    "assert f('locks') is None",
    "assert f('database') == [(1,)]",
    "assert f('room') == 4096",
)


@pytest.mark.parametrize("test", USUAL_TESTS)
def test_what_programs_usually_do_with_descriptors_still_works(confined, program, test):
    if confined.isolation.level == 1 and test in USUAL_TESTS[-3:]:
        return  # no files are written there
    verdict = confined.submit(program(USUAL, test)).result()
    assert verdict.label == "correct", verdict
