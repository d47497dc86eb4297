"""Refuse dangerous system calls with a classic BPF filter, without libseccomp and without root.

A deny-list, because Python's own calls differ between versions and libraries; but a list of what is allowed within
fcntl and ioctl, which are families of calls themselves. Refused calls fail with EPERM, so that a program sees an
ordinary OSError. Source: seccomp(2), linux/filter.h.
"""

import ctypes
import os
import struct

from common.sandbox import libc, syscalls

_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# What a rule asks of an argument: an instruction that compares, and the outcome for which the rule answers.
_IS, _DIFFERS, _HAS_ANY, _LACKS = (_EQUAL, True), (_EQUAL, False), (_ANY_BIT, True), (_ANY_BIT, False)
_Rule = tuple[int, tuple[int, bool], int, int]  # argument, question, operand, result
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = _ERRNO | 1, _ERRNO | 38
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16  # in struct seccomp_data; arguments are 8 bytes each

_CLONE_FILES, _CLONE_VFORK, _CLONE_THREAD = 0x400, 0x4000, 0x10000
_CLOSE_RANGE_UNSHARE = 2
_X32_BIT = 0x40000000
_TMPFILE = 0o20000000  # __O_TMPFILE
_WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | _TMPFILE
_OWN_PID = 0x5A5A5A5A  # replaced in the child: the filter itself is built once, before any fork

# fcntl and ioctl can make the kernel signal any process of the user, or a terminal's foreground group: by an owner
# (F_SETOWN, F_SETSIG, SIOCSPGRP), by O_ASYNC on a terminal, by its size (TIOCSWINSZ). A lease makes others wait.
# Hence what programs need, and nothing else; the numbers are those of both architectures.
_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_SETFL, _F_DUPFD_CLOEXEC = 0, 1, 2, 3, 4, 1030
_LOCKS = (5, 6, 7, 36, 37, 38)  # F_GETLK, F_SETLK, F_SETLKW, and the same for open files (F_OFD_GETLK)
_FCNTL_ALLOWED = (_F_DUPFD, _F_GETFD, _F_SETFD, _F_GETFL, _F_DUPFD_CLOEXEC, *_LOCKS)
_O_ASYNC = 0o20000
_FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX = 0x541B, 0x5421, 0x5450, 0x5451
_TCGETS, _TCGETS2, _TIOCGWINSZ = 0x5401, 0x802C542A, 0x5413  # whether it is a terminal, and how wide
_IOCTL_ALLOWED = (_FIONREAD, _FIONBIO, _FIONCLEX, _FIOCLEX, _TCGETS, _TCGETS2, _TIOCGWINSZ)

_AF_UNIX, _SOCK_STREAM, _SOCK_CLOEXEC, _SOCK_NONBLOCK = 1, 1, 0o2000000, 0o4000
_SEND_FLAGS = 0x40 | 0x4000  # MSG_DONTWAIT, MSG_NOSIGNAL; MSG_OOB would raise SIGURG at the other end


class Filter:
    """A filter under construction. Each rule leaves the call number loaded for the next."""

    def __init__(self, machine: str) -> None:
        self.code: list[tuple[int, int, int, int]] = []
        self.add(_LOAD, 0, 0, _ARCH_AT)
        self.add(_EQUAL, 1, 0, syscalls.AUDIT_ARCH[machine])
        self.add(_RETURN, 0, 0, _KILL_PROCESS)
        self.add(_LOAD, 0, 0, _NUMBER_AT)
        if machine == "x86_64":  # the x32 interface reaches the same calls under other numbers
            self.add(_ANY_BIT, 0, 1, _X32_BIT)
            self.add(_RETURN, 0, 0, _KILL_PROCESS)

    def add(self, operation: int, if_true: int, if_false: int, operand: int) -> None:
        self.code.append((operation, if_true, if_false, operand & 0xFFFFFFFF))

    def answer(self, number: int, result: int) -> None:
        """Always `result` for this call."""
        self.add(_EQUAL, 0, 1, number)
        self.add(_RETURN, 0, 0, result)

    def decide(self, number: int, otherwise: int, *rules: _Rule) -> None:
        """For this call: the result of the first (argument, question, operand, result) that holds.

        Only the lower half of an argument is looked at; every one used here is a C int.
        """
        body: list[tuple[int, int, int, int]] = []
        for argument, (operation, outcome), operand, result in rules:
            body.append((_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument))
            body.append((operation, 0, 1, operand) if outcome else (operation, 1, 0, operand))
            body.append((_RETURN, 0, 0, result))
        body.append((_RETURN, 0, 0, otherwise))
        self.add(_EQUAL, 0, len(body), number)
        for instruction in body:
            self.add(*instruction)

    def finish(self, numbers: list[int]) -> bytes:
        """The filter's bytes, with `numbers` refused and everything unknown answered by ENOSYS."""
        self.add(_GREATER_EQUAL, 0, 1, syscalls.FIRST_UNKNOWN)
        self.add(_RETURN, 0, 0, _ENOSYS)
        for position, number in enumerate(numbers):
            self.add(_EQUAL, len(numbers) - position, 0, number)
        self.add(_RETURN, 0, 0, _ALLOW)
        self.add(_RETURN, 0, 0, _EPERM)
        assert len(numbers) < 256, "a jump is one byte long"
        return b"".join(struct.pack("<HBBI", *instruction) for instruction in self.code)


def build_filter(file_changes: bool, machine: str = os.uname().machine) -> bytes:
    """The filter for this machine; with `file_changes`, it also refuses to write, make or remove files."""
    rules = Filter(machine)
    calls = syscalls.conditional(machine)
    rules.answer(syscalls.CLONE3, _ENOSYS)  # its flags lie in memory, out of reach; glibc falls back to clone
    # A thread with descriptors of its own could hold files where nobody counts them.
    needed = [(0, _LACKS, flag, _EPERM) for flag in (_CLONE_THREAD, _CLONE_FILES)]
    # One that its maker waits for leaves it in the state of a process that waits for a disk (monitor.py).
    rules.decide(calls["clone"], _ALLOW, (0, _HAS_ANY, _CLONE_VFORK, _EPERM), *needed)
    rules.decide(calls["close_range"], _ALLOW, (2, _HAS_ANY, _CLOSE_RANGE_UNSHARE, _EPERM))
    for name in ("kill", "tgkill"):
        rules.decide(calls[name], _EPERM, (0, _IS, _OWN_PID, _ALLOW))
    pinned = (libc.PR_SET_PDEATHSIG, libc.PR_SET_DUMPABLE)
    rules.decide(calls["prctl"], _ALLOW, *[(0, _IS, option, _EPERM) for option in pinned])
    rules.decide(calls["fcntl"], _EPERM, *_fcntl_rules())
    rules.decide(calls["ioctl"], _EPERM, *[(1, _IS, request, _ALLOW) for request in _IOCTL_ALLOWED])
    # asyncio needs stream pairs; a datagram socket could send to any socket file of the machine.
    pairs = [(1, _IS, kind, _ALLOW) for kind in _stream_types()]
    rules.decide(calls["socketpair"], _EPERM, (0, _DIFFERS, _AF_UNIX, _EPERM), *pairs)
    rules.decide(calls["sendto"], _ALLOW, (3, _HAS_ANY, ~_SEND_FLAGS, _EPERM))
    rules.answer(syscalls.OPENAT2, _ENOSYS)
    for name, flags in (("open", 1), ("openat", 2)):
        if name in calls:
            rules.decide(calls[name], _ALLOW, *_open_rules(flags, file_changes))
    if not file_changes:  # other modes take room beyond the end of a file, which no limit of its size counts
        rules.decide(calls["fallocate"], _EPERM, (1, _IS, 0, _ALLOW))
    return rules.finish(sorted(syscalls.denied(machine, file_changes).values()))


def _fcntl_rules() -> list[_Rule]:
    plain = [(1, _IS, command, _ALLOW) for command in _FCNTL_ALLOWED]
    return [*plain, (2, _HAS_ANY, _O_ASYNC, _EPERM), (1, _IS, _F_SETFL, _ALLOW)]


def _open_rules(flags: int, file_changes: bool) -> list[_Rule]:
    """Landlock looks at the right to write; before its version 3 it let an open for reading truncate."""
    if file_changes:
        return [(flags, _HAS_ANY, _WRITING_FLAGS, _EPERM)]
    return [(flags, _HAS_ANY, os.O_WRONLY | os.O_RDWR, _ALLOW), (flags, _HAS_ANY, os.O_TRUNC, _EPERM)]


def _stream_types() -> list[int]:
    """SOCK_STREAM with any of the flags that socketpair(2) takes."""
    extras = (0, _SOCK_CLOEXEC, _SOCK_NONBLOCK, _SOCK_CLOEXEC | _SOCK_NONBLOCK)
    return [_SOCK_STREAM | extra for extra in extras]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]


def install(filter_bytes: bytes) -> None:
    """Put this process under the filter, for good. Needs no_new_privs."""
    patched = filter_bytes.replace(struct.pack("<I", _OWN_PID), struct.pack("<I", os.getpid()))
    code = ctypes.create_string_buffer(patched, len(patched))
    program = _Program(len(patched) // 8, ctypes.cast(code, ctypes.c_void_p))
    libc.prctl(libc.PR_SET_SECCOMP, 2, ctypes.addressof(program))
